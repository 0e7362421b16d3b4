#include "util/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <string>
#include <utility>

namespace dapple {

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(capacity_, other.capacity_);
  std::swap(used_, other.used_);
  return *this;
}

Arena::~Arena() {
  if (base_ != nullptr) munmap(base_, capacity_);
}

Result<Arena> Arena::Reserve(uint64_t bytes) {
  Arena arena;
  if (bytes == 0) return arena;
  if (bytes > std::numeric_limits<size_t>::max() / 2)
    return DoesNotFit("arena of " + std::to_string(bytes) +
                      " bytes exceeds the address space");
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return DoesNotFit("the system refused an arena of " +
                      std::to_string(bytes) + " bytes");
#if defined(MADV_NOHUGEPAGE)
  // Where huge pages are always on, the kernel would fill what was released
  // (and what no run touches) behind the plan's back.
  madvise(base, bytes, MADV_NOHUGEPAGE);
#endif
  arena.base_ = static_cast<std::byte*>(base);
  arena.capacity_ = bytes;
  return arena;
}

void Arena::Release(std::span<std::byte> bytes) {
  // Not 4096 everywhere: ARM kernels use 16 and 64 KiB too.
  static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin =
      AlignUp(reinterpret_cast<uintptr_t>(bytes.data()), page);
  const uintptr_t end =
      (reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size()) & ~(page - 1);
  if (begin < end)
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void* Arena::CarveBytes(uint64_t bytes) {
  const uint64_t carved = CarvedBytes(bytes);
  if (carved < bytes || carved > capacity_ - used_) return nullptr;
  std::byte* data = base_ + used_;
  used_ += carved;
  return data;
}

}  // namespace dapple
