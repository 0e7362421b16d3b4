#if defined(DAPPLE_KERNELS_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_NORM_INL_H_
#undef DAPPLE_KERNELS_NORM_INL_H_
#else
#define DAPPLE_KERNELS_NORM_INL_H_
#endif

#include <cmath>
#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Σ x². x: [cols]. Two accumulators, to overlap the latency of MulAdd.
template <class D>
HWY_INLINE float SumOfSquares(D d, const float* x, size_t cols) {
  const size_t n = hn::Lanes(d);
  auto sum0 = hn::Zero(d);
  auto sum1 = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * n <= cols; i += 2 * n) {
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + i + n);
    sum0 = hn::MulAdd(a, a, sum0);
    sum1 = hn::MulAdd(b, b, sum1);
  }
  for (; i < cols; i += n) {
    const auto a = hn::LoadN(d, x + i, cols - i);
    sum0 = hn::MulAdd(a, a, sum0);
  }
  return hn::ReduceSum(d, hn::Add(sum0, sum1));
}

template <class D>
HWY_INLINE void RmsNormRow(D d, const float* x, const float* weight, float eps,
                           size_t cols, float* out) {
  const float mean = SumOfSquares(d, x, cols) / static_cast<float>(cols);
  const auto scale = hn::Set(d, 1.0f / std::sqrt(mean + eps));
  const size_t n = hn::Lanes(d);
  size_t i = 0;
  for (; i + n <= cols; i += n) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), scale);
    hn::StoreU(hn::Mul(scaled, hn::LoadU(d, weight + i)), d, out + i);
  }
  if (i < cols) {
    const size_t left = cols - i;
    const auto scaled = hn::Mul(hn::LoadN(d, x + i, left), scale);
    hn::StoreN(hn::Mul(scaled, hn::LoadN(d, weight + i, left)), d, out + i,
               left);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
