// InterruptGuard: lets a long command end cleanly on Ctrl-C.
#ifndef DAPPLE_TOOLS_INTERRUPT_H_
#define DAPPLE_TOOLS_INTERRUPT_H_

#include <atomic>
#include <csignal>

namespace dapple::tool {

// Catches SIGINT and SIGTERM while it lives; a second one kills the process as
// usual. One at a time: the flag belongs to the process.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // True once a signal came; for PrefillHooks::cancel.
  const std::atomic<bool>& flag() const;

 private:
  struct sigaction old_int_;
  struct sigaction old_term_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_INTERRUPT_H_
