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

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
