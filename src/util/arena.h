// Arena: the one reservation out of which all working memory is carved.
//
// A plan is made first (MemoryPlan lists every span by name and size); the
// arena is then reserved once, and spans are carved in order. Nothing is
// allocated after that: prefill and decode run inside these spans. The arena
// owns the mapping; spans are views and live as long as it does.
#ifndef DAPPLE_UTIL_ARENA_H_
#define DAPPLE_UTIL_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "dapple/status.h"
#include "util/checked.h"

namespace dapple {

class Arena {
 public:
  // Each span starts on its own cache line, so threads never share one.
  static constexpr size_t kAlignment = 64;

  // What carving `bytes` takes from the arena.
  static constexpr uint64_t CarvedBytes(uint64_t bytes) {
    return AlignUp(bytes, kAlignment);
  }

  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // Maps `bytes` of zeroed memory. kDoesNotFit when the system refuses.
  static Result<Arena> Reserve(uint64_t bytes);

  // The next `count` elements, zeroed, 64-byte aligned. An empty span when the
  // arena is exhausted: callers treat that as an internal error, since the
  // plan was too small.
  template <class T>
  std::span<T> Carve(size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    uint64_t bytes;  // a product that wraps must not pass for a small one
    if (!CheckedMul(count, sizeof(T), &bytes)) return {};
    void* data = CarveBytes(bytes);
    if (data == nullptr) return {};
    return std::span<T>(static_cast<T*>(data), count);
  }

  uint64_t capacity() const { return capacity_; }
  uint64_t used() const { return used_; }

  // Returns the pages wholly inside `bytes` to the system; they read as zero
  // afterwards. Used when a phase's scratch is over (promise 1: the peak).
  static void Release(std::span<std::byte> bytes);

 private:
  void* CarveBytes(uint64_t bytes);

  std::byte* base_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t used_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_UTIL_ARENA_H_
