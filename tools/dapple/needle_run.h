// NeedleRun: the samples of `dapple eval needle`, one prefill each.
//
// What a prompt's prefill computes does not depend on what is kept of it, so
// all policies and budgets answer from one prefill (SessionOptions::eviction).
#ifndef DAPPLE_TOOLS_NEEDLE_RUN_H_
#define DAPPLE_TOOLS_NEEDLE_RUN_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "dapple/engine.h"
#include "needle_prompt.h"
#include "needle_store.h"

namespace dapple::tool {

struct NeedlePlan {
  std::vector<size_t> lengths;
  std::vector<const NeedleTask*> tasks;
  size_t samples = 0;  // of each task and length
  std::vector<double> depths;
  NeedlePromptOptions prompt;
  // Of every session but for the sizes; `eviction` holds the variants, all
  // with different policy and keep.
  SessionOptions session;

  size_t AnswerTokens(const NeedleTask& task) const {
    return task.answer_tokens +
           (prompt.lead_in ? 0 : NeedleTask::kLeadInTokens);
  }
  // The samples take the depths in turn, but far from one another, so that a
  // few samples already see all of the text.
  double DepthOf(size_t sample) const;
  size_t Prompts() const { return lengths.size() * tasks.size() * samples; }
};

// Progress on stderr: a bar on a terminal, a line a sample with "plain".
class NeedleProgress {
 public:
  // mode: "auto", "plain" or "none".
  NeedleProgress(const std::string& mode, const NeedlePlan& plan);
  ~NeedleProgress() { Clear(); }

  void Begin(const NeedleTask& task, size_t length, size_t sample);
  void Prefill(const PrefillProgress& progress);
  // `scores`: "full 1, dapq 256 0.5"; empty for a sample that was there.
  void End(const std::string& scores);
  void Clear();

 private:
  enum class Kind { kNone, kBar, kLines };
  using Clock = std::chrono::steady_clock;

  void Draw(double share_of_sample);
  std::string TimeLeft(double share_of_sample) const;

  Kind kind_ = Kind::kNone;
  bool drawn_ = false;
  size_t total_ = 0, done_ = 0;
  double work_left_ = 0, work_done_ = 0, work_ = 0;  // work_: this sample's
  std::string what_;
  Clock::time_point start_, last_;
};

// Runs what the store lacks. kCancelled when *cancel became true: what was
// done until then is in the store.
Status RunNeedles(Engine& engine, const NeedlePlan& plan,
                  const std::atomic<bool>& cancel, NeedleProgress* progress,
                  NeedleStore* store);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_RUN_H_
