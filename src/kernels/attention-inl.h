// What prefill and decode attention share: staging of a block of keys or
// values as float in L1.
//
// Scores are kept in units of log2: q is multiplied by scale * log2(e) once,
// so that the softmax needs only 2^x.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_INL_H_
#endif

#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/attention_params.h"
#include "kernels/exp-inl.h"
#include "kernels/kv_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr float kLog2E = 1.44269504f;
// Running maximum before any key: finite, so that differences never are NaN.
inline constexpr float kNoMax = -FLT_MAX;

// rows: [count] rows of T; out: [padded, stride], the new columns and rows
// zero. dim <= stride.
template <class T>
HWY_INLINE void StageRows(const T* rows, size_t count, size_t padded,
                          size_t dim, size_t stride, float* HWY_RESTRICT out) {
  for (size_t r = 0; r < count; ++r) {
    LoadKvRow(rows, dim, stride, out);
    rows += KvRowStep<T>(dim);
    out += stride;
  }
  for (size_t i = 0; i < (padded - count) * stride; ++i) out[i] = 0.0f;
}

// What queries are multiplied with, so that their products with keys are logits
// in units of log2, or what CapLogits makes these of.
HWY_INLINE float QueryFactor(const AttentionParams& params) {
  return params.softcap == 0.0f ? params.scale * kLog2E
                                : params.scale / params.softcap;
}

// softcap * log2(e) * tanh(scores). scores: [count], aligned, with room for
// whole vectors.
inline HWY_NOINLINE void CapLogits(float softcap, size_t count,
                                   float* HWY_RESTRICT scores) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, softcap * kLog2E);
  for (size_t i = 0; i < count; i += hn::Lanes(d))
    hn::Store(hn::Mul(factor, Tanh(d, hn::Load(d, scores + i))), d, scores + i);
}

// The first 64-byte boundary at or after p.
HWY_INLINE float* AlignUp(float* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  return p + ((0 - address) & 63) / sizeof(float);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
