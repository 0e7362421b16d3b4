#if defined(DAPPLE_KERNELS_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_SOFTMAX_INL_H_
#undef DAPPLE_KERNELS_SOFTMAX_INL_H_
#else
#define DAPPLE_KERNELS_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <cfloat>
#include <cstddef>

#include "hwy/highway.h"
#include "kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// max(x * scale), NaN ignored, kept within ±FLT_MAX so that subtracting it
// from an infinite entry is still defined. x: [count].
template <class D>
HWY_INLINE float FiniteMax(D d, const float* x, size_t count, float scale) {
  const size_t n = hn::Lanes(d);
  const auto s = hn::Set(d, scale);
  const auto lowest = hn::Set(d, -FLT_MAX);
  auto best = lowest;
  size_t i = 0;
  for (; i + n <= count; i += n) {
    const auto v = hn::Mul(hn::LoadU(d, x + i), s);
    best = hn::IfThenElse(hn::Gt(v, best), v, best);
  }
  if (i < count) {
    const size_t left = count - i;
    const auto v = hn::Mul(hn::LoadN(d, x + i, left), s);
    const auto valid = hn::And(hn::FirstN(d, left), hn::Gt(v, best));
    best = hn::IfThenElse(valid, v, best);
  }
  return std::min(hn::ReduceMax(d, best), FLT_MAX);
}

// Writes exp(x * scale - shift) to out unless kStore is false, and returns the
// sum in double: a float sum of a whole vocabulary would lose digits.
template <bool kStore, class D>
HWY_INLINE double ExpSum(D d, const float* x, size_t count, float scale,
                         float shift, float* out) {
  constexpr size_t kChunk = 1024;
  const size_t n = hn::Lanes(d);
  const auto s = hn::Set(d, scale);
  const auto m = hn::Set(d, shift);
  double total = 0.0;
  for (size_t begin = 0; begin < count; begin += kChunk) {
    const size_t end = std::min(count, begin + kChunk);
    auto sum = hn::Zero(d);
    size_t i = begin;
    for (; i + n <= end; i += n) {
      const auto e = Exp(d, hn::Sub(hn::Mul(hn::LoadU(d, x + i), s), m));
      if constexpr (kStore) hn::StoreU(e, d, out + i);
      sum = hn::Add(sum, e);
    }
    if (i < end) {
      const size_t left = end - i;
      const auto e = Exp(d, hn::Sub(hn::Mul(hn::LoadN(d, x + i, left), s), m));
      if constexpr (kStore) hn::StoreN(e, d, out + i, left);
      sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, left), e));
    }
    total += static_cast<double>(hn::ReduceSum(d, sum));
  }
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
