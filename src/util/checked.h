// Byte arithmetic that reports overflow, for sizes that come from files.
#ifndef DAPPLE_UTIL_CHECKED_H_
#define DAPPLE_UTIL_CHECKED_H_

#include <cstdint>

namespace dapple {

// *out = a + b; false (and *out unspecified) when it does not fit 64 bits.
[[nodiscard]] inline bool CheckedAdd(uint64_t a, uint64_t b, uint64_t* out) {
  return !__builtin_add_overflow(a, b, out);
}

// *out = a * b; false (and *out unspecified) when it does not fit 64 bits.
[[nodiscard]] inline bool CheckedMul(uint64_t a, uint64_t b, uint64_t* out) {
  return !__builtin_mul_overflow(a, b, out);
}

// The smallest multiple of `alignment` (a power of two) that is >= value.
[[nodiscard]] inline bool CheckedAlignUp(uint64_t value, uint64_t alignment,
                                         uint64_t* out) {
  uint64_t sum;
  if (!CheckedAdd(value, alignment - 1, &sum)) return false;
  *out = sum & ~(alignment - 1);
  return true;
}

constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

constexpr uint64_t CeilDiv(uint64_t value, uint64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace dapple

#endif  // DAPPLE_UTIL_CHECKED_H_
