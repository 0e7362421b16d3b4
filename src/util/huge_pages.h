// HugePages: memory in pages of megabytes, as far as the system has some free.
//
// A processor remembers the places of a few thousand pages. Of pages of 4 KiB
// a token's weights are a hundred thousand, each looked up in memory anew (in
// a virtual machine in two tables), and its own prefetching ends at each.
//
// Owns its mapping. Pages count as resident once touched, whole.
#ifndef DAPPLE_UTIL_HUGE_PAGES_H_
#define DAPPLE_UTIL_HUGE_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace dapple {

// Bytes of one huge page; 0 where the system has none, keeps programs from
// asking for them, or they are so large (on ARM with pages of 64 KiB) that
// rounding up would be waste. `root` stands before the path (tests).
uint64_t HugePageBytes(const std::string& root = "");

// Asks for huge pages where whole ones lie inside of `part`, which must be
// anonymous memory and is best not touched yet. They may not be had: then
// nothing changes.
void UseHugePages(std::span<std::byte> part);

// While it lives, the process may get huge pages where it asks for them, even
// if it has renounced them (PR_SET_THP_DISABLE, as tools/dapple does: where
// they are always on, stacks and heap would get some, too). What is touched
// first then keeps its huge pages afterwards. One at a time.
class AllowHugePages {
 public:
  AllowHugePages();
  ~AllowHugePages();
  AllowHugePages(const AllowHugePages&) = delete;
  AllowHugePages& operator=(const AllowHugePages&) = delete;

 private:
  bool renounced_ = false;
};

class HugePages {
 public:
  HugePages() = default;
  HugePages(HugePages&& other) noexcept;
  HugePages& operator=(HugePages&& other) noexcept;
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;
  ~HugePages();

  // Zeroed memory that begins and ends with a huge page; empty where the system
  // has no such pages or refuses.
  static HugePages Reserve(uint64_t bytes);

  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_UTIL_HUGE_PAGES_H_
