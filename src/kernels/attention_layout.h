// Sizes of attention's scratch that do not depend on the target, shared by the
// functions that size the scratch and the kernels that carve it.
#ifndef DAPPLE_KERNELS_ATTENTION_LAYOUT_H_
#define DAPPLE_KERNELS_ATTENTION_LAYOUT_H_

#include <cstddef>

// Whether attention multiplies in 16-bit integers on the target that is being
// compiled (attention_int16-inl.h); it is asked where Highway's macros are
// known. AVX-512 is left in float where it has no bf16: without VNNI its
// multipliers do the additions too, and with it nothing was there to run it on.
#define DAPPLE_ATTENTION_INT16 (HWY_ARCH_X86 && HWY_TARGET >= HWY_AVX2)

// Whether decode attention takes up to eight queries at a time, and multiplies
// rows of bytes as 16-bit integers (attention_decode_lanes-inl.h).
#define DAPPLE_DECODE_LANES (HWY_TARGET == HWY_AVX2)

namespace dapple::kernels {

// Lanes of the widest float vector that is compiled for.
inline constexpr size_t kMaxFloatLanes = 16;

// Keys that are staged as float at a time: a multiple of 16, and a function of
// head_dim only, because the borders of key blocks decide how sums round.
constexpr size_t KeysPerBlock(size_t head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 32 : 16;
}

// Keys a step of decode's online softmax, and floats from one query's scores
// to the next query's.
inline constexpr size_t kDecodeKeys = 128;
inline constexpr size_t kScoreStride = kDecodeKeys;

// Queries of a group that one vector of decode's bf16 path holds at most.
inline constexpr size_t kDecodeQueries = 8;

// Keys that probe scores stage at a time. Fewer than in attention: the staged
// keys, a strip of queries and its scores then share L1 at head_dim 64.
inline constexpr size_t kProbeKeys = 16;

constexpr size_t RoundUpToLanes(size_t n) {
  return (n + kMaxFloatLanes - 1) / kMaxFloatLanes * kMaxFloatLanes;
}

// What decode attention over a part of the keys leaves behind: for each query
// its sums of values and of weights, relative to 2^max, max being the largest
// of its scores in units of log2.
struct DecodePart {
  float* o;    // [group, RoundUpToLanes(head_dim)]
  float* max;  // [group]
  float* sum;  // [group]
};

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_ATTENTION_LAYOUT_H_
