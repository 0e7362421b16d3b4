#include "progress.h"

#include <unistd.h>

#include <cstdio>

#include "command.h"

namespace dapple::tool {

Progress::Progress(const std::string& mode, bool quiet)
    : start_(Clock::now()), last_(start_) {
  if (quiet || mode == "none") return;
  if (mode == "plain")
    kind_ = Kind::kLines;
  else if (isatty(STDERR_FILENO))
    kind_ = Kind::kBar;
}

void Progress::Update(const PrefillProgress& progress) {
  if (kind_ == Kind::kNone || progress.total == 0) return;
  const auto now = Clock::now();
  const double since = std::chrono::duration<double>(now - last_).count();
  const bool finished = progress.done == progress.total;
  if (!finished && since < (kind_ == Kind::kBar ? 0.1 : 2.0)) return;
  last_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double share =
      static_cast<double>(progress.done) / static_cast<double>(progress.total);
  const double rate =
      share * static_cast<double>(progress.prompt_tokens) / elapsed;
  const double left = elapsed / share - elapsed;
  char line[160];
  std::snprintf(line, sizeof(line),
                "reading %s tokens: %3.0f %%, %.0f tokens/s, %.1f s left",
                Grouped(progress.prompt_tokens).c_str(), share * 100, rate,
                left);
  if (kind_ == Kind::kLines) {
    std::fprintf(stderr, "%s\n", line);
    return;
  }
  constexpr int kWidth = 24;
  const int filled = static_cast<int>(share * kWidth);
  char bar[kWidth + 1];
  for (int i = 0; i < kWidth; ++i) bar[i] = i < filled ? '#' : '.';
  bar[kWidth] = '\0';
  std::fprintf(stderr, "\r\033[K[%s] %s", bar, line);
  std::fflush(stderr);
  drawn_ = true;
  if (finished) Clear();
}

void Progress::Clear() {
  if (!drawn_) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace dapple::tool
