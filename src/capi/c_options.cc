#include "capi/c_options.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "capi/c_struct.h"
#include "dapple/default_cap.h"
#include "dapple/eviction.h"
#include "dapple/memory_plan.h"
#include "dapple/quote_constraint.h"
#include "dapple/tokenizer.h"

namespace dapple::capi {
namespace {

// Of a quoted text: what so many take can be added up.
constexpr size_t kMostTokens = size_t{1} << 40;

std::string OrDefault(const char* given, const char* otherwise) {
  return given == nullptr ? otherwise : given;
}

size_t OrDefault(size_t given, size_t otherwise) {
  return given == 0 ? otherwise : given;
}

// A failure of a field's own parser, with the field's name in front.
template <class T>
Result<T> Field(const char* name, Result<T> parsed) {
  if (parsed.ok()) return parsed;
  return InvalidArgument(std::string(name) + ": " + parsed.status().message());
}

}  // namespace

Result<EngineOptions> ToEngineOptions(const dapple_model_options* given) {
  DAPPLE_ASSIGN_OR_RETURN(const dapple_model_options read,
                          ReadStruct(given, "dapple_model_options"));
  if (read.path == nullptr || *read.path == '\0')
    return InvalidArgument("dapple_model_options: path is not set");
  if (read.threads < 0 || read.threads > 1024)
    return InvalidArgument("dapple_model_options: threads must be 0 to 1024");
  EngineOptions options;
  options.model_path = read.path;
  options.gemm = OrDefault(read.gemm, "auto");
  options.threads = read.threads;
  return options;
}

Result<SessionOptions> ToSessionOptions(const dapple_session_options* given) {
  DAPPLE_ASSIGN_OR_RETURN(const dapple_session_options read,
                          ReadStruct(given, "dapple_session_options"));
  if (read.prompt_tokens == 0)
    return InvalidArgument("dapple_session_options: prompt_tokens is not set");
  SessionOptions options;
  options.prompt_tokens = read.prompt_tokens;
  options.max_new_tokens = OrDefault(read.max_new_tokens, 256);
  options.generation_slots = read.generation_slots;
  options.on_full = read.drop_oldest != 0 ? SessionOptions::OnFull::kDropOldest
                                          : SessionOptions::OnFull::kStop;
  options.probe_tokens = OrDefault(read.probe_tokens, 32);
  options.beyond_context = read.beyond_context != 0;

  EvictionOptions eviction;
  eviction.policy = OrDefault(read.policy, "dapq");
  DAPPLE_ASSIGN_OR_RETURN(
      eviction.keep,
      Field("keep", KeepBudget::Parse(OrDefault(read.keep, "auto"))));
  DAPPLE_RETURN_IF_ERROR(eviction.Validate());
  options.eviction = {eviction};

  MemoryOptions& memory = options.memory;
  DAPPLE_ASSIGN_OR_RETURN(
      memory.schedule,
      Field("schedule", ParseSchedule(OrDefault(read.schedule, "auto"))));
  DAPPLE_ASSIGN_OR_RETURN(
      memory.weights,
      Field("weights", ParseResidency(OrDefault(read.weights, "auto"))));
  DAPPLE_ASSIGN_OR_RETURN(
      memory.kv, Field("kv", ParseKvPrecision(OrDefault(read.kv, "auto"))));
  memory.spill_folder = OrDefault(read.spill_folder, "");
  memory.chunk_tokens = OrDefault(read.chunk_tokens, 1024);
  // dapple_session's copy of the prompt, and what dapple_quote makes.
  memory.owner.per_token = sizeof(TokenId);
  if (read.quote_tokens == 0)
    memory.owner.decode_per_token = QuoteConstraint::kBytesPerTextToken;
  else if (read.quote_tokens != SIZE_MAX)
    memory.owner.decode = std::min(read.quote_tokens, kMostTokens) *
                          QuoteConstraint::kBytesPerTextToken;
  if (read.ram_bytes == 0) {
    memory.ram_bytes = FindDefaultCap().bytes;
  } else if (read.ram_bytes != UINT64_MAX) {
    memory.ram_bytes = read.ram_bytes;
  }
  return options;
}

Result<size_t> QuoteTokens(const dapple_session_options* given) {
  DAPPLE_ASSIGN_OR_RETURN(const dapple_session_options read,
                          ReadStruct(given, "dapple_session_options"));
  if (read.quote_tokens == 0) return read.prompt_tokens;
  if (read.quote_tokens == SIZE_MAX) return size_t{0};
  return std::min(read.quote_tokens, kMostTokens);
}

Result<SamplerOptions> ToSamplerOptions(const dapple_sampling* given) {
  DAPPLE_ASSIGN_OR_RETURN(const dapple_sampling read,
                          ReadStruct(given, "dapple_sampling"));
  SamplerOptions options;
  options.temperature = read.temperature;
  options.top_k = read.top_k;
  options.top_p = read.top_p == 0 ? 1.0f : read.top_p;
  options.min_p = read.min_p;
  options.repetition_penalty =
      read.repetition_penalty == 0 ? 1.0f : read.repetition_penalty;
  options.seed = read.seed;
  DAPPLE_RETURN_IF_ERROR(options.Validate());
  return options;
}

dapple_plan ToPlan(const PlanReport& report) {
  dapple_plan plan{};
  plan.cap_bytes = report.cap_bytes;
  plan.fits = report.fits() ? 1 : 0;
  if (!report.fits()) {
    CopyText(NothingFits(report).message(), plan.text);
    return plan;
  }
  const PlannedSchedule& chosen = report.Chosen();
  plan.total_bytes = chosen.plan.TotalBytes();
  plan.prefill_bytes = chosen.plan.PrefillBytes();
  plan.decode_bytes = chosen.plan.DecodeBytes();
  plan.spill_bytes = chosen.plan.spill_bytes;
  plan.keep_tokens = chosen.keep_tokens;
  plan.longest_prompt = report.longest_prompt;
  CopyText(std::string(NameOf(chosen.schedule)), plan.schedule);
  CopyText(std::string(NameOf(chosen.weights)), plan.weights);
  CopyText(std::string(NameOf(chosen.kv)), plan.kv);
  CopyText(report.reason, plan.text);
  return plan;
}

}  // namespace dapple::capi
