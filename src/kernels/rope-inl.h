#if defined(DAPPLE_KERNELS_ROPE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ROPE_INL_H_
#undef DAPPLE_KERNELS_ROPE_INL_H_
#else
#define DAPPLE_KERNELS_ROPE_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rotates pairs [i, end) as long as whole vectors of D fit; returns the next
// pair. x: one head; cos, sin: [pairs].
template <class D>
HWY_INLINE size_t RotateHalves(D d, float* x, const float* cos,
                               const float* sin, size_t pairs, size_t i) {
  const size_t n = hn::Lanes(d);
  for (; i + n <= pairs; i += n) {
    const auto c = hn::LoadU(d, cos + i);
    const auto s = hn::LoadU(d, sin + i);
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + pairs + i);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, x + i);
    hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, x + pairs + i);
  }
  return i;
}

template <class D>
HWY_INLINE size_t RotateAdjacent(D d, float* x, const float* cos,
                                 const float* sin, size_t pairs, size_t i) {
  const size_t n = hn::Lanes(d);
  for (; i + n <= pairs; i += n) {
    const auto c = hn::LoadU(d, cos + i);
    const auto s = hn::LoadU(d, sin + i);
    hn::Vec<D> a;
    hn::Vec<D> b;
    hn::LoadInterleaved2(d, x + 2 * i, a, b);
    hn::StoreInterleaved2(hn::NegMulAdd(b, s, hn::Mul(a, c)),
                          hn::MulAdd(a, s, hn::Mul(b, c)), d, x + 2 * i);
  }
  return i;
}

// One head. Full vectors first, then vectors of 4 (pair counts are mostly
// multiples of 4), then single pairs.
HWY_INLINE void RotateHead(float* x, const float* cos, const float* sin,
                           size_t pairs, bool adjacent) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 4> d4;
  const hn::CappedTag<float, 1> d1;
  size_t i = 0;
  if (adjacent) {
    i = RotateAdjacent(d, x, cos, sin, pairs, i);
    i = RotateAdjacent(d4, x, cos, sin, pairs, i);
    RotateAdjacent(d1, x, cos, sin, pairs, i);
  } else {
    i = RotateHalves(d, x, cos, sin, pairs, i);
    i = RotateHalves(d4, x, cos, sin, pairs, i);
    RotateHalves(d1, x, cos, sin, pairs, i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
