// MemoryPlan: what a run will need, said before it starts.
//
// Every part of the process that can become resident is one line, with its
// bytes while the prompt is read (prefill) and while the answer is written
// (decode): scratch of the one is given back before the other begins, so the
// peak is the larger sum. The arena's parts are reserved once and carved; the
// others (program, weights' pages) are what the system will count.
//
// A PlanReport holds such a plan for each schedule that could serve, and which
// one is taken under a cap.
#ifndef DAPPLE_MEMORY_PLAN_H_
#define DAPPLE_MEMORY_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"

namespace dapple {

// In which order a prompt goes through the model, and where its state lives.
enum class Schedule {
  kAuto,
  kExact,       // layer by layer, f16 keys and values
  kExactQ8,     // the same with 8-bit keys and values
  kExactSpill,  // the same with the residual stream in a file
  kStreaming,   // chunk by chunk with eviction after each: memory does not
                // grow with the document, but the answer is no longer the
                // one-pass DapQ answer
};

// What becomes of the weights' pages.
enum class Residency {
  kAuto,
  kResident,  // stay once read, in the file's own pages
  kReread,    // given back in prefill, stay while decoding
  kStreamed,  // given back after each use: every token reads the model again
};

// Storage of keys and values.
enum class KvPrecision { kAuto, kF16, kQ8, kQ4 };

std::string_view NameOf(Schedule schedule);      // "exact-spill"
std::string_view NameOf(Residency residency);    // "resident"
std::string_view NameOf(KvPrecision precision);  // "f16"
Result<Schedule> ParseSchedule(std::string_view name);
Result<Residency> ParseResidency(std::string_view name);
Result<KvPrecision> ParseKvPrecision(std::string_view name);

// What a session's owner takes beside it once the plan is made, and so is not
// among what was resident then; bytes, for each token of the prompt or in all.
struct OwnerMemory {
  uint64_t per_token = 0;         // from the prompt's reading on
  uint64_t decode_per_token = 0;  // from the first token written on
  uint64_t decode = 0;
};

// What a session's user asks of its memory.
struct MemoryOptions {
  // Cap on the whole process, bytes; 0: none.
  uint64_t ram_bytes = 0;
  Schedule schedule = Schedule::kAuto;
  Residency weights = Residency::kAuto;
  KvPrecision kv = KvPrecision::kAuto;  // of what is retained
  std::string spill_folder;             // "": nothing is ever spilled
  size_t chunk_tokens = 1024;           // of the streaming schedule
  OwnerMemory owner;                    // a part of the plan
};

struct MemoryPart {
  std::string name;  // "weights", "residual stream", …
  uint64_t prefill = 0;
  uint64_t decode = 0;
  bool in_arena = false;  // carved from the arena, else counted beside it

  uint64_t bytes() const { return prefill > decode ? prefill : decode; }
};

struct MemoryPlan {
  std::vector<MemoryPart> parts;
  uint64_t spill_bytes = 0;  // of the file; not memory

  uint64_t PrefillBytes() const;
  uint64_t DecodeBytes() const;
  // The peak: the larger of the two.
  uint64_t TotalBytes() const;
  // Address space reserved for the arena; more than is ever resident at once.
  uint64_t ArenaBytes() const;
};

// One way to run, and what it needs.
struct PlannedSchedule {
  Schedule schedule = Schedule::kExact;
  Residency weights = Residency::kResident;
  KvPrecision kv = KvPrecision::kF16;
  size_t keep_tokens = 0;  // of the prompt, the mean over layers; 0: none fits
  MemoryPlan plan;         // with those kept; else with the fewest
  bool fits = false;       // under the cap
  // Weights that stay are copied into huge pages of memory, which decoding
  // reads faster than the file's: where the system has such pages, several
  // tokens are to be written, and the cap has room for the file's as well.
  bool huge_pages = false;
  // Weights read again for each generated token, bytes (kStreamed).
  uint64_t reread_per_token = 0;

  std::string Name() const;  // "exact-q8, weights streamed"
};

struct PlanReport {
  size_t prompt_tokens = 0;
  uint64_t cap_bytes = 0;                   // 0: none
  std::vector<PlannedSchedule> candidates;  // in order of preference
  size_t chosen = SIZE_MAX;                 // index of the one taken
  std::string reason;                       // why that one, or why none
  size_t longest_prompt = 0;  // tokens that the chosen one would still fit
  // Settings that would fit, nearest first, where nothing does.
  std::vector<std::string> suggestions;

  bool fits() const { return chosen < candidates.size(); }
  const PlannedSchedule& Chosen() const { return candidates[chosen]; }
};

// This process's resident set now and its high-water mark, in bytes, from
// /proc/self/status (VmRSS, VmHWM); 0 where the system does not say.
uint64_t ResidentBytes();
uint64_t PeakResidentBytes();
// The parts of the resident set that are heap, stacks and arenas, and mapped
// files (RssAnon, RssFile).
uint64_t ResidentHeapBytes();
uint64_t ResidentFileBytes();

// What this process could still take, its own resident set included, and who
// says so ("the machine", "its control group"). bytes is 0 where nothing says.
struct AvailableMemory {
  uint64_t bytes = 0;
  std::string source;
};
// Reads /proc/meminfo and the limits of the control groups (v1 and v2) above
// this process. `root` stands before both paths (tests).
AvailableMemory FindAvailableMemory(const std::string& root = "");

// "512M", "1.5G", "300000000": bytes; K, M, G are powers of 1,024.
Result<uint64_t> ParseBytes(std::string_view text);
// "43.1 MiB"
std::string BytesText(uint64_t bytes);

}  // namespace dapple

#endif  // DAPPLE_MEMORY_PLAN_H_
