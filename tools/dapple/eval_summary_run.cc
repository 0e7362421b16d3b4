#include "eval_summary_run.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <set>

#include "command.h"
#include "dapple/chat.h"
#include "dapple/sampler.h"
#include "dapple/sentences.h"
#include "progress.h"
#include "rouge.h"
#include "variants.h"

namespace dapple::tool {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Roughly what a prompt costs: attention grows with the square.
double WorkOf(size_t tokens) {
  const double n = static_cast<double>(tokens);
  return n * (1 + n / 8192);
}

class SummaryRunner {
 public:
  SummaryRunner(Engine& engine, const SummaryPlan& plan,
                const std::atomic<bool>& cancel, ResultLog* log,
                std::vector<SummaryRecord>* records,
                std::vector<SummarySkip>* skips)
      : engine_(engine),
        plan_(plan),
        cancel_(cancel),
        log_(log),
        records_(*records),
        skips_(*skips),
        lines_(plan.progress == "plain" || plan.progress == "auto"),
        sampler_({}, engine.tokenizer().vocab_size()) {
    allowed_.reserve(engine.tokenizer().vocab_size());
  }

  Status Run(const std::vector<SummaryDocument>& documents) {
    std::set<size_t> there;
    for (const SummaryRecord& record : records_) there.insert(record.line);
    for (const SummaryDocument& document : documents) {
      if (cancel_.load()) return Cancelled("interrupted");
      DAPPLE_RETURN_IF_ERROR(Add(document, there.count(document.line) != 0));
    }
    start_ = Clock::now();
    const size_t count = todo_.size();
    for (size_t i = 0; i < count; ++i) {
      if (cancel_.load()) return Cancelled("interrupted");
      DAPPLE_RETURN_IF_ERROR(Answer(todo_[i], i + 1));
    }
    return Status::Ok();
  }

 private:
  struct Work {
    const SummaryDocument* document = nullptr;
    std::vector<TokenId> prompt;
    size_t room = 0;  // tokens of the answer
  };

  const AnswerLength& LengthOf(const SummaryDocument& document) const {
    return document.task == "qa" ? kAskLength : plan_.length;
  }

  Result<std::unique_ptr<QuoteConstraint>> Quotes(
      const SummaryDocument& document) const {
    const AnswerLength& length = LengthOf(document);
    return QuoteDocument(engine_, document.document,
                         "line " + std::to_string(document.line), length.least,
                         length.most);
  }

  void Skip(const std::string& source, const std::string& reason) {
    for (SummarySkip& skip : skips_) {
      if (skip.source != source || skip.reason != reason) continue;
      ++skip.documents;
      return;
    }
    skips_.push_back({source, reason, 1});
  }

  // Takes what is to be done, or the reason why it cannot be.
  Status Add(const SummaryDocument& document, bool done) {
    Work work;
    work.document = &document;
    const std::string& question =
        plan_.instruction.empty() ? document.question : plan_.instruction;
    // The prompt that `summarize` and `ask` make.
    const std::string text = document.document + "\n\n" + question;
    const Tokenizer& tokenizer = engine_.tokenizer();
    if (SupportsChat(tokenizer)) {
      DAPPLE_ASSIGN_OR_RETURN(work.prompt, EncodeChat(tokenizer, {"", text, ""},
                                                      /*parse_special=*/false));
    } else {
      DAPPLE_ASSIGN_OR_RETURN(work.prompt, tokenizer.Encode(text, {}));
    }
    const AnswerLength& length = LengthOf(document);
    work.room = plan_.quotes ? length.most * kMaxQuoteTokens : length.tokens;
    if (!plan_.session.beyond_context &&
        work.prompt.size() + work.room > engine_.context()) {
      Skip(document.source, "too long for the model's context of " +
                                Grouped(engine_.context()) +
                                " tokens with the answer");
      return Status::Ok();
    }
    if (plan_.quotes && !Quotes(document).ok()) {
      Skip(document.source, "without sentences that can be quoted");
      return Status::Ok();
    }
    if (done) return Status::Ok();
    work_left_ += WorkOf(work.prompt.size());
    todo_.push_back(std::move(work));
    return Status::Ok();
  }

  Status Answer(const Work& work, size_t number) {
    const SummaryDocument& document = *work.document;
    SessionOptions options = plan_.session;
    options.prompt_tokens = work.prompt.size();
    options.max_new_tokens = work.room;
    DAPPLE_ASSIGN_OR_RETURN(const auto session, engine_.NewSession(options));
    std::unique_ptr<QuoteConstraint> quotes;
    if (plan_.quotes) {
      DAPPLE_ASSIGN_OR_RETURN(quotes, Quotes(document));
    }
    SummaryRecord record;
    record.line = document.line;
    record.source = document.source;
    record.prompt_tokens = work.prompt.size();
    Progress progress(plan_.progress, plan_.progress != "auto");
    PrefillHooks hooks;
    hooks.cancel = &cancel_;
    hooks.progress = [&](const PrefillProgress& p) { progress.Update(p); };
    const auto start = Clock::now();
    DAPPLE_RETURN_IF_ERROR(session->Prefill(work.prompt, hooks));
    progress.Clear();
    record.prefill_s = SecondsSince(start);
    for (size_t v = 0; v < options.eviction.size(); ++v) {
      if (cancel_.load()) return Cancelled("interrupted");
      DAPPLE_RETURN_IF_ERROR(session->SelectVariant(v));
      if (quotes != nullptr) quotes->Reset();
      const auto decode_start = Clock::now();
      SummaryAnswer answer;
      DAPPLE_RETURN_IF_ERROR(
          Decode(*session, work.room, quotes.get(), &answer));
      answer.decode_s = SecondsSince(decode_start);
      answer.policy = options.eviction[v].policy;
      answer.keep = KeepName(options.eviction[v]);
      const KeptReport kept = session->Kept();
      answer.kept_share = kept.KeptShare();
      answer.median_coverage = kept.MedianCoverage();
      answer.rouge = RougeL(answer.text, document.answer).f1;
      answer.agreement =
          v == 0 ? 1 : RougeL(answer.text, record.answers[0].text).f1;
      record.answers.push_back(std::move(answer));
    }
    Report(record, number);
    if (log_ != nullptr) DAPPLE_RETURN_IF_ERROR(log_->Append(ToJson(record)));
    records_.push_back(std::move(record));
    return Status::Ok();
  }

  // Greedily, as the commands do.
  Status Decode(Session& session, size_t room, QuoteConstraint* quotes,
                SummaryAnswer* answer) {
    const std::vector<TokenId>& ends = engine_.tokenizer().end_ids();
    StreamDetokenizer detokenizer(engine_.tokenizer(),
                                  /*strip_leading_space=*/true);
    const auto quote = [&] {
      if (const Sentence* sentence = quotes->Finished())
        answer->text += (answer->text.empty() ? "" : " ") + sentence->text;
    };
    answer->stop = "length";
    while (answer->tokens < room) {
      allowed_.clear();
      if (quotes != nullptr) quotes->Allowed(&allowed_);
      // Logits beyond the tokenizer's vocabulary are padding rows.
      const TokenId id = sampler_.Sample(
          session.logits().first(engine_.tokenizer().vocab_size()), allowed_);
      if (quotes != nullptr) {
        quotes->Accept(id);  // always allowed: it was picked among those
        quote();
      }
      if (std::find(ends.begin(), ends.end(), id) != ends.end()) {
        answer->stop = "end";
        break;
      }
      ++answer->tokens;
      if (quotes == nullptr) answer->text += detokenizer.Push(id);
      if (answer->tokens == room) break;
      DAPPLE_RETURN_IF_ERROR(session.Append(id));
    }
    if (quotes == nullptr) {
      answer->text += detokenizer.Finish();
    } else if (!quotes->ended()) {
      quotes->Close();
      quote();
    }
    return Status::Ok();
  }

  // A line a document: "3/186 qmsum, 8,123 tokens: full 21.0, dapq 10% 20.3".
  void Report(const SummaryRecord& record, size_t number) {
    const double work = WorkOf(record.prompt_tokens);
    work_left_ -= work;
    work_done_ += work;
    if (!lines_) return;
    std::string scores;
    for (const SummaryAnswer& answer : record.answers) {
      char score[16];
      std::snprintf(score, sizeof(score), " %.1f", answer.rouge * 100);
      scores += (scores.empty() ? "" : ", ") + answer.policy + " " +
                answer.keep + score;
    }
    std::fprintf(
        stderr, "%zu/%zu %s, %s tokens: %s (%.0f min left)\n", number,
        todo_.size(), record.source.c_str(),
        Grouped(record.prompt_tokens).c_str(), scores.c_str(),
        SecondsSince(start_) / work_done_ * std::max(0.0, work_left_) / 60);
  }

  Engine& engine_;
  const SummaryPlan& plan_;
  const std::atomic<bool>& cancel_;
  ResultLog* log_;
  std::vector<SummaryRecord>& records_;
  std::vector<SummarySkip>& skips_;
  bool lines_;
  Sampler sampler_;
  std::vector<TokenId> allowed_;
  std::vector<Work> todo_;
  double work_left_ = 0, work_done_ = 0;
  Clock::time_point start_;
};

}  // namespace

Status RunSummaries(Engine& engine, const SummaryPlan& plan,
                    const std::vector<SummaryDocument>& documents,
                    const std::atomic<bool>& cancel, ResultLog* log,
                    std::vector<SummaryRecord>* records,
                    std::vector<SummarySkip>* skips) {
  return SummaryRunner(engine, plan, cancel, log, records, skips)
      .Run(documents);
}

}  // namespace dapple::tool
