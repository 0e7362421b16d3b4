#if defined(DAPPLE_KERNELS_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ACTIVATION_INL_H_
#undef DAPPLE_KERNELS_ACTIVATION_INL_H_
#else
#define DAPPLE_KERNELS_ACTIVATION_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// silu(g) * u. Exp saturates at e^88, so a very negative g gives a tiny
// negative silu instead of -0; no intermediate overflows.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SwiGluVec(D d, V g, V u) {
  const V one = hn::Set(d, 1.0f);
  return hn::Mul(hn::Div(g, hn::Add(one, Exp(d, hn::Neg(g)))), u);
}

// gelu(g) * u in the tanh form, (1 + tanh z) / 2 being 1 / (1 + exp(-2z)).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeGluVec(D d, V g, V u) {
  const V one = hn::Set(d, 1.0f);
  // -2 sqrt(2 / pi), and that times 0.044715.
  const V linear = hn::Set(d, -1.5957691216f);
  const V cubic = hn::Set(d, -0.0713548162726f);
  const V minus_2z = hn::Mul(g, hn::MulAdd(hn::Mul(g, g), cubic, linear));
  return hn::Mul(hn::Div(g, hn::Add(one, Exp(d, minus_2z))), u);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
