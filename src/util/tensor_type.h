// The tensor element types of GGUF that Dapple computes with, and the layout
// of their quantized blocks (GGUF spec, "ggml_type"; ggml block formats).
//
// Lives in util because both gguf (which checks sizes) and kernels (which may
// include only util) need the layouts.
#ifndef DAPPLE_UTIL_TENSOR_TYPE_H_
#define DAPPLE_UTIL_TENSOR_TYPE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "util/half.h"

namespace dapple {

// Values are the on-disk ids of the GGUF spec.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
  kMXFP4 = 39,
};

// ---- Blocks of 32 -----------------------------------------------------------

// 32 weights: value = scale * (nibble - 8). Low nibbles hold elements 0..15,
// high nibbles elements 16..31.
struct BlockQ4_0 {
  F16 scale;
  uint8_t nibbles[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// 32 weights: value = scale * nibble + minimum; nibbles as in Q4_0.
struct BlockQ4_1 {
  F16 scale;
  F16 minimum;
  uint8_t nibbles[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

// 32 weights: value = scale * (quant - 16). Low four bits as in Q4_0; bit i of
// the little-endian word `high` is the fifth bit of quant i.
struct BlockQ5_0 {
  F16 scale;
  uint8_t high[4];
  uint8_t nibbles[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

// 32 weights: value = scale * quant + minimum; quants as in Q5_0.
struct BlockQ5_1 {
  F16 scale;
  F16 minimum;
  uint8_t high[4];
  uint8_t nibbles[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

// 32 weights: value = scale * quant.
struct BlockQ8_0 {
  F16 scale;
  int8_t quants[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

// 32 weights: value = scale * kIq4Values[nibble]; nibbles as in Q4_0.
struct BlockIQ4_NL {
  F16 scale;
  uint8_t nibbles[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// 32 weights: value = 2^(exponent - 127) * the nibble as an E2M1 float (OCP
// Microscaling Formats specification 1.0); nibbles as in Q4_0. Computed as
// 2^(exponent - 128) * kMxfp4Values[nibble]; exponent 255 is NaN.
struct BlockMXFP4 {
  uint8_t exponent;
  uint8_t nibbles[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

// A non-uniform grid, denser near zero as trained weights are.
inline constexpr int8_t kIq4Values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Twice the E2M1 values.
inline constexpr int8_t kMxfp4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

// 2^(exponent - 128): the factor of kMxfp4Values.
inline float MxScale(uint8_t exponent) {
  if (exponent == 0xFF) return std::numeric_limits<float>::quiet_NaN();
  const uint32_t bits = exponent == 0 ? 0x00200000u  // 2^-128, subnormal
                        : exponent == 1
                            ? 0x00400000u
                            : (static_cast<uint32_t>(exponent) - 1) << 23;
  return std::bit_cast<float>(bits);
}

// ---- Superblocks of 256 -----------------------------------------------------
//
// Groups of 16 or 32 weights have small integer scales (and minima) relative
// to the block's own. "Weight i" below is i in 0..255; "part" is i / 32.

// value = scale * (group_scale & 15) * quant - minimum * (group_scale >> 4),
// groups of 16. Bits 2 * (part % 4) of quants[32 * (i / 128) + i % 32].
struct BlockQ2_K {
  uint8_t group_scales[16];
  uint8_t quants[64];
  F16 scale;
  F16 minimum;
};
static_assert(sizeof(BlockQ2_K) == 84);

// value = scale * (group_scale - 32) * (quant - 4), groups of 16. Low two bits
// as in Q2_K; the third is bit `part` of high[i % 32]. The 6-bit group scales:
// low four bits of group g in nibble g / 8 of byte g % 8, high two in bits
// 2 * (g / 4) of byte 8 + g % 4.
struct BlockQ3_K {
  uint8_t high[32];
  uint8_t quants[64];
  uint8_t group_scales[12];
  F16 scale;
};
static_assert(sizeof(BlockQ3_K) == 110);

// value = scale * group_scale * quant - minimum * group_minimum, groups of 32.
// Nibble part % 2 of nibbles[32 * (part / 2) + i % 32]. 6-bit scales and
// minima of groups 0..3 in the low bits of bytes 0..3 and 4..7; those of groups
// 4..7 have their low four bits in the nibbles of bytes 8..11 (scale low,
// minimum high) and their high two in the high bits of bytes 0..3 and 4..7.
struct BlockQ4_K {
  F16 scale;
  F16 minimum;
  uint8_t group_scales[12];
  uint8_t nibbles[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

// As Q4_K; the fifth bit of a quant is bit `part` of high[i % 32].
struct BlockQ5_K {
  F16 scale;
  F16 minimum;
  uint8_t group_scales[12];
  uint8_t high[32];
  uint8_t nibbles[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

// value = scale * group_scale * (quant - 32), groups of 16. Within each half of
// 128: low four bits in nibble (part % 4) / 2 of low[64 * half + i % 64], high
// two in bits 2 * (part % 4) of high[32 * half + i % 32].
struct BlockQ6_K {
  uint8_t low[128];
  uint8_t high[64];
  int8_t group_scales[16];
  F16 scale;
};
static_assert(sizeof(BlockQ6_K) == 210);

// value = scale * (group_scale - 32) * kIq4Values[nibble], groups of 32, each
// with 16 bytes of nibbles as in Q4_0. Low four bits of group scale g in nibble
// g % 2 of byte g / 2, high two in bits 2 * g of the little-endian word
// scales_high.
struct BlockIQ4_XS {
  F16 scale;
  uint8_t scales_high[2];
  uint8_t scales_low[4];
  uint8_t nibbles[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// The largest block_elements of any type.
inline constexpr size_t kMaxBlockElements = 256;

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;    // "q8_0": lower case, as users type it
  uint32_t block_elements;  // elements a block; 1 for plain types
  uint32_t block_bytes;
};

inline constexpr TensorTypeInfo kTensorTypes[] = {
    {TensorType::kF32, "f32", 1, 4},
    {TensorType::kF16, "f16", 1, 2},
    {TensorType::kBF16, "bf16", 1, 2},
    {TensorType::kQ4_0, "q4_0", 32, sizeof(BlockQ4_0)},
    {TensorType::kQ4_1, "q4_1", 32, sizeof(BlockQ4_1)},
    {TensorType::kQ5_0, "q5_0", 32, sizeof(BlockQ5_0)},
    {TensorType::kQ5_1, "q5_1", 32, sizeof(BlockQ5_1)},
    {TensorType::kQ8_0, "q8_0", 32, sizeof(BlockQ8_0)},
    {TensorType::kQ2_K, "q2_k", 256, sizeof(BlockQ2_K)},
    {TensorType::kQ3_K, "q3_k", 256, sizeof(BlockQ3_K)},
    {TensorType::kQ4_K, "q4_k", 256, sizeof(BlockQ4_K)},
    {TensorType::kQ5_K, "q5_k", 256, sizeof(BlockQ5_K)},
    {TensorType::kQ6_K, "q6_k", 256, sizeof(BlockQ6_K)},
    {TensorType::kIQ4_NL, "iq4_nl", 32, sizeof(BlockIQ4_NL)},
    {TensorType::kIQ4_XS, "iq4_xs", 256, sizeof(BlockIQ4_XS)},
    {TensorType::kMXFP4, "mxfp4", 32, sizeof(BlockMXFP4)},
};

// nullptr when Dapple does not know the id.
inline const TensorTypeInfo* FindTensorType(uint32_t id) {
  for (const TensorTypeInfo& info : kTensorTypes)
    if (static_cast<uint32_t>(info.type) == id) return &info;
  return nullptr;
}

inline const TensorTypeInfo* FindTensorType(std::string_view name) {
  for (const TensorTypeInfo& info : kTensorTypes)
    if (info.name == name) return &info;
  return nullptr;
}

inline const TensorTypeInfo& InfoOf(TensorType type) {
  return *FindTensorType(static_cast<uint32_t>(type));
}

// Bytes of one row of `elements`, which must be a multiple of the block.
inline size_t RowBytes(TensorType type, size_t elements) {
  const TensorTypeInfo& info = InfoOf(type);
  return elements / info.block_elements * info.block_bytes;
}

}  // namespace dapple

#endif  // DAPPLE_UTIL_TENSOR_TYPE_H_
