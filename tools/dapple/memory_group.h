// MemoryGroup: a memory control group for one child process, with or without a
// limit.
//
// What a process costs a machine is more than its resident set: page tables,
// pages of files that only it reads, its children. A control group counts all
// of it, and kills what exceeds its limit. Making one takes rights (root, or a
// delegated subtree); where they are missing, Create says so and callers go on
// without. Owns the group's folder, which it removes.
#ifndef DAPPLE_TOOLS_MEMORY_GROUP_H_
#define DAPPLE_TOOLS_MEMORY_GROUP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "dapple/status.h"

namespace dapple::tool {

class MemoryGroup {
 public:
  // limit_bytes 0: none; with a limit, swap is forbidden too. `root` stands
  // before /proc and /sys (tests). kUnsupported where none can be made.
  static Result<std::unique_ptr<MemoryGroup>> Create(
      uint64_t limit_bytes, const std::string& root = "");
  ~MemoryGroup();
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  // A process enters by writing "0" to this file.
  const std::string& entrance() const { return entrance_; }
  // The most that was ever in use, page cache included; 0 where the kernel
  // does not say.
  uint64_t PeakBytes() const;
  // Processes killed for exceeding the limit.
  uint64_t Kills() const;

 private:
  MemoryGroup(std::string folder, bool v2);
  Status Limit(uint64_t bytes) const;

  std::string folder_, entrance_;
  bool v2_;
};

// Takes a file's pages out of the system's cache, as far as no process has
// them mapped: cached pages count for the group that read them first, and so
// not for the one that is measured.
void DropCachedPages(const std::string& path);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_MEMORY_GROUP_H_
