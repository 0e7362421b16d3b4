// Progress on stderr: a bar with share, speed and time left on a terminal, one
// line every few seconds with --progress=plain, nothing otherwise.
#ifndef DAPPLE_TOOLS_PROGRESS_H_
#define DAPPLE_TOOLS_PROGRESS_H_

#include <chrono>
#include <string>

#include "dapple/engine.h"

namespace dapple::tool {

class Progress {
 public:
  // mode: "auto", "plain" or "none".
  Progress(const std::string& mode, bool quiet);
  ~Progress() { Clear(); }

  void Update(const PrefillProgress& progress);
  // Removes the bar, so that output does not run into it.
  void Clear();

 private:
  enum class Kind { kNone, kBar, kLines };
  using Clock = std::chrono::steady_clock;

  Kind kind_ = Kind::kNone;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_PROGRESS_H_
