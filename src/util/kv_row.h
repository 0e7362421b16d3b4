// How a key or value of one KV head lies in memory, by element type. Shared by
// src/kv, which only computes sizes, and src/kernels, which read and write
// rows.
//
// A row holds head_dim elements (a multiple of 8) and nothing before or after
// it; its start has any even address.
//   kF32, kF16  [head_dim]
//   kQ8         F16 scale, int8 quants [head_dim]: element = scale * quant
//   kQ4         [ceil(head_dim / 32)] blocks of F16 scale, F16 least, and 16
//               bytes, of which byte i holds quants i (low half) and i + 16:
//               element = least + scale * quant; quants past head_dim are 0
#ifndef DAPPLE_UTIL_KV_ROW_H_
#define DAPPLE_UTIL_KV_ROW_H_

#include <cstddef>
#include <cstdint>

#include "util/half.h"

namespace dapple {

enum class KvType { kF16, kF32, kQ8, kQ4 };

inline constexpr size_t kQ4KvBlock = 32;       // elements
inline constexpr size_t kQ4KvBlockBytes = 20;  // scale, least, 16 bytes

constexpr size_t KvRowBytes(KvType type, size_t head_dim) {
  switch (type) {
    case KvType::kF16:
      return 2 * head_dim;
    case KvType::kF32:
      return 4 * head_dim;
    case KvType::kQ8:
      return 2 + head_dim;
    case KvType::kQ4:
      break;
  }
  return (head_dim + kQ4KvBlock - 1) / kQ4KvBlock * kQ4KvBlockBytes;
}

// Bytes of rows whose elements have no address of their own.
struct Q8KvByte {
  uint8_t bits;
};
struct Q4KvByte {
  uint8_t bits;
};

template <class T>
inline constexpr KvType kKvTypeOf = KvType::kF16;
template <>
inline constexpr KvType kKvTypeOf<float> = KvType::kF32;
template <>
inline constexpr KvType kKvTypeOf<Q8KvByte> = KvType::kQ8;
template <>
inline constexpr KvType kKvTypeOf<Q4KvByte> = KvType::kQ4;

// From one row to the next, in elements of T.
template <class T>
constexpr size_t KvRowStep(size_t head_dim) {
  return KvRowBytes(kKvTypeOf<T>, head_dim) / sizeof(T);
}

// Calls fn(static_cast<const T*>(rows)), T being the row type's.
template <class Fn>
decltype(auto) VisitKvRows(KvType type, const void* rows, Fn&& fn) {
  switch (type) {
    case KvType::kF32:
      return fn(static_cast<const float*>(rows));
    case KvType::kQ8:
      return fn(static_cast<const Q8KvByte*>(rows));
    case KvType::kQ4:
      return fn(static_cast<const Q4KvByte*>(rows));
    case KvType::kF16:
      break;
  }
  return fn(static_cast<const F16*>(rows));
}

}  // namespace dapple

#endif  // DAPPLE_UTIL_KV_ROW_H_
