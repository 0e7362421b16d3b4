// dapple.h: models, text and plans.

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "capi/c_handles.h"
#include "capi/c_options.h"
#include "capi/c_status.h"
#include "capi/c_struct.h"
#include "dapple/chat.h"

using dapple::ChatPrompt;
using dapple::Engine;
using dapple::InvalidArgument;
using dapple::Status;
using dapple::TokenId;
using dapple::Tokenizer;
using dapple::capi::Guarded;
using dapple::capi::Wanted;

namespace {

// Hands out ids as dapple_encode promises.
Status CopyIds(const std::vector<TokenId>& found, int32_t* ids, size_t capacity,
               size_t* count) {
  *count = found.size();
  if (ids == nullptr) return Status::Ok();
  if (found.size() > capacity)
    return dapple::DoesNotFit("the text has " + std::to_string(found.size()) +
                              " tokens, the buffer holds " +
                              std::to_string(capacity));
  std::copy(found.begin(), found.end(), ids);
  return Status::Ok();
}

}  // namespace

const char* dapple_version(void) { return DAPPLE_VERSION; }

dapple_code dapple_open(const dapple_model_options* options,
                        dapple_model** model, dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(model, "model"));
    DAPPLE_ASSIGN_OR_RETURN(const auto read,
                            dapple::capi::ToEngineOptions(options));
    DAPPLE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Open(read));
    auto opened = std::make_unique<dapple_model>();
    opened->name = engine->model_name();
    opened->engine = std::move(engine);
    *model = opened.release();
    return Status::Ok();
  });
}

void dapple_close(dapple_model* model) { delete model; }

dapple_code dapple_describe(const dapple_model* model, dapple_model_info* info,
                            dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(model, "model"));
    DAPPLE_RETURN_IF_ERROR(
        dapple::capi::CheckStruct(info, "dapple_model_info"));
    dapple_model_info known{};
    known.name = model->name.c_str();
    known.context = model->engine->context();
    known.vocab = model->engine->tokenizer().vocab_size();
    known.threads = model->engine->threads();
    dapple::capi::WriteStruct(known, info);
    return Status::Ok();
  });
}

dapple_code dapple_encode(const dapple_model* model, const char* text,
                          size_t bytes, uint32_t flags, int32_t* ids,
                          size_t capacity, size_t* count, dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(model, "model"));
    DAPPLE_RETURN_IF_ERROR(Wanted(count, "count"));
    if (bytes != 0) DAPPLE_RETURN_IF_ERROR(Wanted(text, "text"));
    if ((flags & ~uint32_t{DAPPLE_ADD_BOS | DAPPLE_PARSE_SPECIAL}) != 0)
      return InvalidArgument("dapple_encode: unknown flags");
    Tokenizer::EncodeOptions how;
    how.add_bos = (flags & DAPPLE_ADD_BOS) != 0;
    how.parse_special = (flags & DAPPLE_PARSE_SPECIAL) != 0;
    DAPPLE_ASSIGN_OR_RETURN(
        const std::vector<TokenId> found,
        model->engine->tokenizer().Encode(
            bytes == 0 ? std::string_view() : std::string_view(text, bytes),
            how));
    return CopyIds(found, ids, capacity, count);
  });
}

dapple_code dapple_encode_chat(const dapple_model* model,
                               const dapple_chat* chat, int32_t* ids,
                               size_t capacity, size_t* count,
                               dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(model, "model"));
    DAPPLE_RETURN_IF_ERROR(Wanted(count, "count"));
    DAPPLE_ASSIGN_OR_RETURN(const dapple_chat read,
                            dapple::capi::ReadStruct(chat, "dapple_chat"));
    DAPPLE_RETURN_IF_ERROR(Wanted(read.user, "dapple_chat: user"));
    ChatPrompt prompt;
    prompt.user = read.user;
    if (read.system != nullptr) prompt.system = read.system;
    if (read.lead_in != nullptr) prompt.lead_in = read.lead_in;
    if (read.chat_template != nullptr)
      prompt.chat_template = read.chat_template;
    if (read.think != 0) prompt.think = read.think > 0;
    DAPPLE_ASSIGN_OR_RETURN(
        const std::vector<TokenId> found,
        dapple::EncodeChat(model->engine->tokenizer(), prompt,
                           /*parse_special=*/false));
    return CopyIds(found, ids, capacity, count);
  });
}

dapple_code dapple_plan_session(const dapple_model* model,
                                const dapple_session_options* options,
                                dapple_plan* plan, dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(model, "model"));
    DAPPLE_RETURN_IF_ERROR(dapple::capi::CheckStruct(plan, "dapple_plan"));
    DAPPLE_ASSIGN_OR_RETURN(const auto read,
                            dapple::capi::ToSessionOptions(options));
    DAPPLE_ASSIGN_OR_RETURN(const dapple::PlanReport report,
                            model->engine->Plan(read));
    dapple::capi::WriteStruct(dapple::capi::ToPlan(report), plan);
    return Status::Ok();
  });
}

dapple_code dapple_plan_file(const dapple_model_options* model,
                             const dapple_session_options* options,
                             dapple_plan* plan, dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(dapple::capi::CheckStruct(plan, "dapple_plan"));
    DAPPLE_ASSIGN_OR_RETURN(const auto engine,
                            dapple::capi::ToEngineOptions(model));
    DAPPLE_ASSIGN_OR_RETURN(const auto session,
                            dapple::capi::ToSessionOptions(options));
    DAPPLE_ASSIGN_OR_RETURN(const dapple::PlanReport report,
                            dapple::PlanModel(engine, session));
    dapple::capi::WriteStruct(dapple::capi::ToPlan(report), plan);
    return Status::Ok();
  });
}
