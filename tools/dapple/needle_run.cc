#include "needle_run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "needle_answer.h"
#include "needle_score.h"
#include "needle_tables.h"
#include "variants.h"

namespace dapple::tool {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Roughly what a prompt costs: attention grows with the square.
double WorkOf(size_t length) {
  const double n = static_cast<double>(length);
  return n * (1 + n / 8192);
}

std::string HumanSeconds(double seconds) {
  char text[32];
  if (seconds < 99.5)
    std::snprintf(text, sizeof(text), "%.0f s", seconds);
  else if (seconds < 5970)
    std::snprintf(text, sizeof(text), "%.0f min", seconds / 60);
  else
    std::snprintf(text, sizeof(text), "%.1f h", seconds / 3600);
  return text;
}

// The prompt's own length: what asked for, less the room for the answer where
// both together would leave the trained context by less than 1 %.
size_t PromptLength(const Engine& engine, const NeedlePlan& plan,
                    size_t length) {
  const size_t answer = plan.session.max_new_tokens;
  const size_t context = engine.context();
  if (plan.session.beyond_context || length > context ||
      length + answer <= context || answer > length / 100)
    return length;
  return context - answer;
}

class SampleRunner {
 public:
  SampleRunner(Engine& engine, const NeedlePlan& plan,
               const std::atomic<bool>& cancel, NeedleProgress* progress,
               NeedleStore* store)
      : engine_(engine),
        plan_(plan),
        cancel_(cancel),
        progress_(*progress),
        store_(*store) {}

  Status Run(size_t length) {
    for (size_t sample = 0; sample < plan_.samples; ++sample)
      for (const NeedleTask* task : plan_.tasks)
        DAPPLE_RETURN_IF_ERROR(RunSample(*task, length, sample));
    return Status::Ok();
  }

 private:
  Status RunSample(const NeedleTask& task, size_t length, size_t sample) {
    progress_.Begin(task, length, sample);
    std::vector<size_t> missing;
    const auto& variants = plan_.session.eviction;
    for (size_t v = 0; v < variants.size(); ++v)
      if (!store_.Has(std::string(task.name), length, sample,
                      variants[v].policy, KeepName(variants[v])))
        missing.push_back(v);
    if (missing.empty()) {
      progress_.End("");
      return Status::Ok();
    }
    const size_t prompt_length = PromptLength(engine_, plan_, length);
    DAPPLE_ASSIGN_OR_RETURN(
        const NeedlePrompt prompt,
        MakePrompt(engine_.tokenizer(), task, prompt_length, sample,
                   plan_.DepthOf(sample), plan_.prompt));
    if (session_ == nullptr) {
      SessionOptions options = plan_.session;
      options.prompt_tokens = prompt_length;
      DAPPLE_ASSIGN_OR_RETURN(session_, engine_.NewSession(options));
    }
    PrefillHooks hooks;
    hooks.cancel = &cancel_;
    hooks.progress = [&](const PrefillProgress& p) { progress_.Prefill(p); };
    const auto start = Clock::now();
    DAPPLE_RETURN_IF_ERROR(session_->Prefill(prompt.ids, hooks));
    const double prefill_s = SecondsSince(start);
    std::string scores;
    for (size_t v : missing) {
      if (cancel_.load()) return Cancelled("interrupted");
      DAPPLE_RETURN_IF_ERROR(session_->SelectVariant(v));
      const auto decode_start = Clock::now();
      DAPPLE_ASSIGN_OR_RETURN(
          NeedleAnswer answer,
          AnswerGreedily(*session_, engine_.tokenizer(), prompt.expected,
                         plan_.AnswerTokens(task)));
      NeedleRecord record;
      record.task = task.name;
      record.length = length;
      record.sample = sample;
      record.policy = variants[v].policy;
      record.keep = KeepName(variants[v]);
      record.depth = prompt.depth;
      record.score = ShareFound(answer.text, prompt.expected);
      record.expected = prompt.expected;
      record.output = std::move(answer.text);
      record.stop = std::move(answer.stop);
      record.prompt_tokens = prompt.ids.size();
      record.generated_tokens = answer.tokens;
      const KeptReport kept = session_->Kept();
      record.kept_share = kept.KeptShare();
      record.min_coverage = kept.MinCoverage();
      record.median_coverage = kept.MedianCoverage();
      record.prefill_s = prefill_s;
      record.decode_s = SecondsSince(decode_start);
      char score[16];
      std::snprintf(score, sizeof(score), " %g", record.score);
      scores += (scores.empty() ? "" : ", ") + record.policy + " " +
                record.keep + score;
      DAPPLE_RETURN_IF_ERROR(store_.Append(std::move(record)));
    }
    progress_.End(scores);
    return Status::Ok();
  }

  Engine& engine_;
  const NeedlePlan& plan_;
  const std::atomic<bool>& cancel_;
  NeedleProgress& progress_;
  NeedleStore& store_;
  std::unique_ptr<Session> session_;  // made when the first sample needs it
};

}  // namespace

double NeedlePlan::DepthOf(size_t sample) const {
  // The step nearest to the golden section that reaches every depth.
  const size_t count = depths.size();
  size_t step = std::max<size_t>(1, count * 618 / 1000);
  while (std::gcd(step, count) != 1) ++step;
  return depths[sample % count * step % count];
}

NeedleProgress::NeedleProgress(const std::string& mode, const NeedlePlan& plan)
    : total_(plan.Prompts()), start_(Clock::now()), last_(start_) {
  if (mode == "plain")
    kind_ = Kind::kLines;
  else if (mode == "auto" && isatty(STDERR_FILENO))
    kind_ = Kind::kBar;
  for (size_t length : plan.lengths)
    work_left_ +=
        WorkOf(length) * static_cast<double>(plan.tasks.size() * plan.samples);
}

void NeedleProgress::Begin(const NeedleTask& task, size_t length,
                           size_t sample) {
  work_ = WorkOf(length);
  what_ = std::string(task.name) + " " + LengthName(length) + " #" +
          std::to_string(sample);
}

void NeedleProgress::Prefill(const PrefillProgress& progress) {
  if (kind_ != Kind::kBar || progress.total == 0) return;
  const auto now = Clock::now();
  if (now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  Draw(static_cast<double>(progress.done) /
       static_cast<double>(progress.total));
}

void NeedleProgress::End(const std::string& scores) {
  ++done_;
  work_left_ -= work_;
  if (scores.empty()) return;
  work_done_ += work_;
  if (kind_ == Kind::kLines)
    std::fprintf(stderr, "%zu/%zu %s: %s (%s left)\n", done_, total_,
                 what_.c_str(), scores.c_str(), TimeLeft(0).c_str());
}

std::string NeedleProgress::TimeLeft(double share_of_sample) const {
  const double part = work_ * share_of_sample;
  const double done = work_done_ + part;
  if (done <= 0) return "?";
  return HumanSeconds(SecondsSince(start_) / done *
                      std::max(0.0, work_left_ - part));
}

void NeedleProgress::Draw(double share_of_sample) {
  constexpr size_t kWidth = 24;
  const double share = (static_cast<double>(done_) + share_of_sample) /
                       static_cast<double>(std::max<size_t>(total_, 1));
  const size_t filled = std::min(
      kWidth, static_cast<size_t>(share * static_cast<double>(kWidth)));
  std::string bar(filled, '#');
  bar.resize(kWidth, '.');
  std::fprintf(stderr, "\r\033[K[%s] %zu of %zu prompts, %s, %s left",
               bar.c_str(), done_, total_, what_.c_str(),
               TimeLeft(share_of_sample).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void NeedleProgress::Clear() {
  if (!drawn_) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

Status RunNeedles(Engine& engine, const NeedlePlan& plan,
                  const std::atomic<bool>& cancel, NeedleProgress* progress,
                  NeedleStore* store) {
  for (size_t length : plan.lengths) {
    SampleRunner runner(engine, plan, cancel, progress, store);
    DAPPLE_RETURN_IF_ERROR(runner.Run(length));
  }
  return Status::Ok();
}

}  // namespace dapple::tool
