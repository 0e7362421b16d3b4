// dapple.h: sessions. The allocations made here are the only ones that can
// throw; Guarded turns that into a code.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "capi/c_handles.h"
#include "capi/c_options.h"
#include "capi/c_status.h"
#include "capi/c_struct.h"
#include "dapple/sentences.h"

using dapple::InvalidArgument;
using dapple::QuoteConstraint;
using dapple::Sampler;
using dapple::Status;
using dapple::StatusCode;
using dapple::StreamDetokenizer;
using dapple::TokenId;
using dapple::Tokenizer;
using dapple::capi::Guarded;
using dapple::capi::Wanted;

namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool IsEnd(const dapple_session& session, TokenId id) {
  const std::vector<TokenId>& ends = session.tokenizer().end_ids();
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

// The answer begins a text of its own, unless the prompt ends amid a line (a
// lead-in): only then does its first space belong to it.
bool BeginsText(const dapple_session& session) {
  const TokenId last = session.prompt.back();
  if (session.tokenizer().IsControl(last)) return true;
  const std::string piece = session.tokenizer().Piece(last);
  return !piece.empty() && piece.back() == '\n';
}

void StartOver(dapple_session& session) {
  const Tokenizer& tokenizer = session.tokenizer();
  session.sampler =
      std::make_unique<Sampler>(session.sampling, tokenizer.vocab_size());
  for (const TokenId id : session.prompt) session.sampler->Observe(id);
  session.detokenizer = std::make_unique<StreamDetokenizer>(
      tokenizer, tokenizer.adds_space_prefix() && BeginsText(session));
  session.quotes.reset();
  session.text.clear();
  session.pending = -1;
  session.ended = false;
  session.generated = 0;
  session.decode_s = 0;
}

// Appends the pending token. kOk with session.ended where its answer can have
// no other.
Status Advance(dapple_session& session) {
  if (!session.prefilled) return InvalidArgument("dapple_prefill comes first");
  if (session.ended) return Status::Ok();
  if (session.generated == session.max_new_tokens) {
    session.ended = true;
    return Status::Ok();
  }
  if (session.pending < 0) return Status::Ok();
  const Status appended = session.session->Append(session.pending);
  session.pending = -1;
  if (appended.code() == StatusCode::kDoesNotFit) {
    session.ended = true;
    return Status::Ok();
  }
  return appended;
}

void Give(dapple_session& session, TokenId id, size_t paragraph,
          dapple_token* token) {
  dapple_token given{};
  given.id = id;
  given.text = session.text.data();
  given.bytes = session.text.size();
  given.paragraph = paragraph;
  dapple::capi::WriteStruct(given, token);
}

// The sentence that the newest token finished, if any, is the text now.
size_t TakeSentence(dapple_session& session) {
  session.text.clear();
  const dapple::Sentence* sentence = session.quotes->Finished();
  if (sentence == nullptr) return 0;
  session.text = sentence->text;
  return sentence->paragraph;
}

// What is left at the end of an answer goes out once.
Status End(dapple_session& session, TokenId id, dapple_token* token) {
  size_t paragraph = 0;
  if (session.quotes != nullptr) {
    if (id >= 0) {
      session.quotes->Accept(id);
    } else if (!session.quotes->ended()) {
      session.quotes->Close();
    } else {
      Give(session, -1, 0, token);
      return Status::Ok();
    }
    paragraph = TakeSentence(session);
  } else {
    session.text = session.detokenizer->Finish();
  }
  session.ended = true;
  Give(session, -1, paragraph, token);
  return Status::Ok();
}

Status Take(dapple_session& session, TokenId id, dapple_token* token) {
  if (IsEnd(session, id)) return End(session, id, token);
  size_t paragraph = 0;
  if (session.quotes != nullptr) {
    if (!session.quotes->Accept(id))
      return InvalidArgument("token " + std::to_string(id) +
                             " continues no sentence of the quoted text");
    paragraph = TakeSentence(session);
  } else {
    session.text = session.detokenizer->Push(id);
  }
  session.sampler->Observe(id);
  session.pending = id;
  ++session.generated;
  Give(session, id, paragraph, token);
  return Status::Ok();
}

// Logits beyond the tokenizer's vocabulary are padding rows.
std::span<const float> Logits(const dapple_session& session) {
  return session.session->logits().first(session.tokenizer().vocab_size());
}

// dapple_next (id < 0) and dapple_accept. DAPPLE_END is no failure, so it is
// told through *end.
Status Next(dapple_session* session, TokenId id, bool choose,
            dapple_token* token, bool* end) {
  DAPPLE_RETURN_IF_ERROR(Wanted(session, "session"));
  DAPPLE_RETURN_IF_ERROR(dapple::capi::CheckStruct(token, "dapple_token"));
  const auto start = Clock::now();
  if (session->ended) session->text.clear();
  const bool over = session->ended;
  DAPPLE_RETURN_IF_ERROR(Advance(*session));
  if (over) {
    Give(*session, -1, 0, token);
  } else if (session->ended) {
    DAPPLE_RETURN_IF_ERROR(End(*session, -1, token));
  } else {
    if (choose) {
      session->allowed.clear();
      if (session->quotes != nullptr)
        session->quotes->Allowed(&session->allowed);
      id = session->sampler->Sample(Logits(*session), session->allowed);
    } else if (id < 0 ||
               static_cast<size_t>(id) >= session->tokenizer().vocab_size()) {
      return InvalidArgument("there is no token " + std::to_string(id));
    }
    DAPPLE_RETURN_IF_ERROR(Take(*session, id, token));
  }
  *end = session->ended;
  session->decode_s += SecondsSince(start);
  return Status::Ok();
}

}  // namespace

dapple_code dapple_session_new(dapple_model* model,
                               const dapple_session_options* options,
                               dapple_session** session, dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(model, "model"));
    DAPPLE_RETURN_IF_ERROR(Wanted(session, "session"));
    DAPPLE_ASSIGN_OR_RETURN(const auto read,
                            dapple::capi::ToSessionOptions(options));
    auto made = std::make_unique<dapple_session>();
    DAPPLE_ASSIGN_OR_RETURN(made->session, model->engine->NewSession(read));
    made->engine = model->engine;
    made->max_new_tokens = read.max_new_tokens;
    DAPPLE_ASSIGN_OR_RETURN(made->quote_tokens,
                            dapple::capi::QuoteTokens(options));
    made->prompt.reserve(read.prompt_tokens);
    made->allowed.reserve(made->tokenizer().vocab_size());
    *session = made.release();
    return Status::Ok();
  });
}

void dapple_session_close(dapple_session* session) { delete session; }

dapple_code dapple_prefill(dapple_session* session, const int32_t* ids,
                           size_t count, dapple_progress progress, void* user,
                           dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(session, "session"));
    if (count != 0) DAPPLE_RETURN_IF_ERROR(Wanted(ids, "ids"));
    std::atomic<bool> cancel{false};
    dapple::PrefillHooks hooks;
    hooks.cancel = &cancel;
    if (progress != nullptr)
      hooks.progress = [&](const dapple::PrefillProgress& now) {
        if (progress(user, now.done, now.total) != 0) cancel.store(true);
      };
    session->prefilled = false;
    const auto start = Clock::now();
    DAPPLE_RETURN_IF_ERROR(
        session->session->Prefill(std::span(ids, count), hooks));
    session->prefill_s = SecondsSince(start);
    session->prompt.assign(ids, ids + count);
    StartOver(*session);
    session->prefilled = true;
    return Status::Ok();
  });
}

dapple_code dapple_sample(dapple_session* session,
                          const dapple_sampling* sampling,
                          dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(session, "session"));
    DAPPLE_ASSIGN_OR_RETURN(session->sampling,
                            dapple::capi::ToSamplerOptions(sampling));
    session->sampler = std::make_unique<Sampler>(
        session->sampling, session->tokenizer().vocab_size());
    for (const TokenId id : session->prompt) session->sampler->Observe(id);
    return Status::Ok();
  });
}

dapple_code dapple_quote(dapple_session* session, const char* text,
                         size_t bytes, size_t least, size_t most,
                         dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(session, "session"));
    if (bytes != 0) DAPPLE_RETURN_IF_ERROR(Wanted(text, "text"));
    if (!session->prefilled || session->generated != 0)
      return InvalidArgument(
          "dapple_quote belongs between dapple_prefill and the first token");
    dapple::QuoteLimits limits;
    limits.min_sentences = least;
    limits.max_sentences = most;
    // Sentences alone may come to a few more tokens than amid their text.
    limits.max_text_tokens = session->quote_tokens + session->quote_tokens / 8;
    limits.after_text = !BeginsText(*session);
    DAPPLE_ASSIGN_OR_RETURN(
        QuoteConstraint made,
        QuoteConstraint::Create(
            session->tokenizer(),
            dapple::SplitSentences(bytes == 0 ? std::string_view()
                                              : std::string_view(text, bytes)),
            limits));
    session->quotes = std::make_unique<QuoteConstraint>(std::move(made));
    return Status::Ok();
  });
}

dapple_code dapple_next(dapple_session* session, dapple_token* token,
                        dapple_error* error) {
  bool end = false;
  const dapple_code status = Guarded(
      error, [&] { return Next(session, -1, /*choose=*/true, token, &end); });
  return status == DAPPLE_OK && end ? DAPPLE_END : status;
}

dapple_code dapple_accept(dapple_session* session, int32_t id,
                          dapple_token* token, dapple_error* error) {
  bool end = false;
  const dapple_code status = Guarded(
      error, [&] { return Next(session, id, /*choose=*/false, token, &end); });
  return status == DAPPLE_OK && end ? DAPPLE_END : status;
}

dapple_code dapple_logits(dapple_session* session, const float** logits,
                          size_t* vocab, dapple_error* error) {
  const dapple_code status = Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(session, "session"));
    DAPPLE_RETURN_IF_ERROR(Wanted(logits, "logits"));
    DAPPLE_RETURN_IF_ERROR(Advance(*session));
    const std::span<const float> row = Logits(*session);
    *logits = row.data();
    if (vocab != nullptr) *vocab = row.size();
    return Status::Ok();
  });
  return status == DAPPLE_OK && session->ended ? DAPPLE_END : status;
}

dapple_code dapple_session_report(const dapple_session* session,
                                  dapple_report* report, dapple_error* error) {
  return Guarded(error, [&]() -> Status {
    DAPPLE_RETURN_IF_ERROR(Wanted(session, "session"));
    DAPPLE_RETURN_IF_ERROR(dapple::capi::CheckStruct(report, "dapple_report"));
    if (!session->prefilled)
      return InvalidArgument("dapple_prefill comes first");
    const dapple::KeptReport kept = session->session->Kept();
    dapple_report made{};
    made.prompt_tokens = session->prompt.size();
    made.generated_tokens = session->generated;
    made.prefill_s = session->prefill_s;
    made.decode_s = session->decode_s;
    made.kept_share = kept.KeptShare();
    made.kept_bytes = kept.kept_bytes;
    made.full_kv_bytes = kept.full_bytes;
    made.least_coverage = kept.MinCoverage();
    made.median_coverage = kept.MedianCoverage();
    made.planned_bytes = session->session->plan().TotalBytes();
    made.peak_bytes = dapple::PeakResidentBytes();
    dapple::capi::WriteStruct(made, report);
    return Status::Ok();
  });
}
