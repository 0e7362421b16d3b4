// MemoryPlan: what a run will need, said before it starts.
//
// Every part of the process that can become resident is one line. The arena's
// parts are reserved once and carved; the others (program, weights' pages) are
// what the system will count. All figures are bytes.
#ifndef DAPPLE_MEMORY_PLAN_H_
#define DAPPLE_MEMORY_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

namespace dapple {

struct MemoryPart {
  std::string name;  // "weights", "residual stream", …
  uint64_t bytes = 0;
  bool in_arena = false;  // carved from the arena, else counted beside it
};

struct MemoryPlan {
  std::vector<MemoryPart> parts;

  uint64_t TotalBytes() const {
    uint64_t total = 0;
    for (const MemoryPart& part : parts) total += part.bytes;
    return total;
  }
  uint64_t ArenaBytes() const {
    uint64_t total = 0;
    for (const MemoryPart& part : parts)
      if (part.in_arena) total += part.bytes;
    return total;
  }
};

// This process's resident set now and its high-water mark, in bytes, from
// /proc/self/status (VmRSS, VmHWM); 0 where the system does not say.
uint64_t ResidentBytes();
uint64_t PeakResidentBytes();

}  // namespace dapple

#endif  // DAPPLE_MEMORY_PLAN_H_
