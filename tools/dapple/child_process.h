// ChildProcess: runs a command and measures it from outside.
#ifndef DAPPLE_TOOLS_CHILD_PROCESS_H_
#define DAPPLE_TOOLS_CHILD_PROCESS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dapple/status.h"
#include "memory_group.h"

namespace dapple::tool {

struct ChildCommand {
  std::vector<std::string> arguments;  // the first is the program
  // Files that get its output; standard input is empty.
  std::string out, err;
  const MemoryGroup* group = nullptr;  // it enters this one; may be null
  double timeout_s = 0;                // then it is killed; 0: none
  // When this becomes true, the child is told to end (SIGTERM).
  const std::atomic<bool>* cancel = nullptr;
};

struct ChildOutcome {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  bool timed_out = false;
  double wall_s = 0;
  // Resident set at its largest, the largest process of its tree (ru_maxrss).
  // The kernel lets it begin at what this process holds when it starts the
  // child, so callers that care stay small.
  uint64_t peak_rss_bytes = 0;
};

// kIo when no process can be made or `out` and `err` not written; that the
// program is missing is exit code 127, as shells report it. The child dies
// with this process.
Result<ChildOutcome> RunChild(const ChildCommand& command);

// Calls `work` in a copy of this process, so that what it allocates is not
// held here, and returns its status. Only for processes of one thread.
Status RunForked(const std::function<Status()>& work);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_CHILD_PROCESS_H_
