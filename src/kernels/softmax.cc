#include "kernels/softmax.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void SoftmaxAll(float* x, size_t count, float scale) {
  const hn::ScalableTag<float> d;
  const float shift = FiniteMax(d, x, count, scale);
  const double sum = ExpSum<true>(d, x, count, scale, shift, x);
  // All entries -inf: nothing to choose from, all stay 0.
  const float inverse = sum == 0.0 ? 0.0f : static_cast<float>(1.0 / sum);
  const size_t n = hn::Lanes(d);
  const auto factor = hn::Set(d, inverse);
  size_t i = 0;
  for (; i + n <= count; i += n)
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), factor), d, x + i);
  if (i < count) {
    const size_t left = count - i;
    hn::StoreN(hn::Mul(hn::LoadN(d, x + i, left), factor), d, x + i, left);
  }
}

void SoftcapAll(float* x, size_t count, float cap) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  const auto factor = hn::Set(d, cap);
  const auto inverse = hn::Set(d, 1.0f / cap);
  size_t i = 0;
  for (; i + n <= count; i += n) {
    const auto t = Tanh(d, hn::Mul(hn::LoadU(d, x + i), inverse));
    hn::StoreU(hn::Mul(t, factor), d, x + i);
  }
  if (i < count) {
    const size_t left = count - i;
    const auto t = Tanh(d, hn::Mul(hn::LoadN(d, x + i, left), inverse));
    hn::StoreN(hn::Mul(t, factor), d, x + i, left);
  }
}

double LogSumExpAll(const float* x, size_t count) {
  const hn::ScalableTag<float> d;
  const float shift = FiniteMax(d, x, count, 1.0f);
  const double sum = ExpSum<false>(d, x, count, 1.0f, shift, nullptr);
  return static_cast<double>(shift) + std::log(sum);
}

size_t ArgMaxAll(const float* x, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  const auto minus_inf = hn::Neg(hn::Inf(d));
  // Comparing greater is false for NaN, so NaN never enters `best`.
  auto best = minus_inf;
  size_t i = 0;
  for (; i + n <= count; i += n) {
    const auto v = hn::LoadU(d, x + i);
    best = hn::IfThenElse(hn::Gt(v, best), v, best);
  }
  float largest = hn::ReduceMax(d, best);
  for (; i < count; ++i) largest = x[i] > largest ? x[i] : largest;

  const auto wanted = hn::Set(d, largest);
  for (i = 0; i + n <= count; i += n) {
    const intptr_t lane =
        hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, x + i), wanted));
    if (lane >= 0) return i + static_cast<size_t>(lane);
  }
  for (; i < count; ++i)
    if (x[i] == largest) return i;
  return 0;  // nothing but NaN
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(SoftmaxAll);
HWY_EXPORT(SoftcapAll);
HWY_EXPORT(LogSumExpAll);
HWY_EXPORT(ArgMaxAll);

void Softmax(float* x, size_t count, float scale) {
  HWY_DYNAMIC_DISPATCH(SoftmaxAll)(x, count, scale);
}

double LogSumExp(const float* x, size_t count) {
  return HWY_DYNAMIC_DISPATCH(LogSumExpAll)(x, count);
}

void Softcap(float* x, size_t count, float cap) {
  HWY_DYNAMIC_DISPATCH(SoftcapAll)(x, count, cap);
}

size_t ArgMax(const float* x, size_t count) {
  return HWY_DYNAMIC_DISPATCH(ArgMaxAll)(x, count);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
