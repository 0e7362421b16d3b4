// Vector exponentials shared by softmax, attention and SwiGLU.
//
// Exp2 and Exp reduce to |r| <= 1/2 (times ln 2) and use a degree-6
// polynomial fitted at Chebyshev nodes (relative error 0.18 * 2^-24 before
// rounding). Both return exactly 1 at 0, 0 below the smallest normal result,
// and NaN for NaN.
//
// Tanh: relative error below 2^-21 everywhere, NaN for NaN.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_EXP_INL_H_
#undef DAPPLE_KERNELS_EXP_INL_H_
#else
#define DAPPLE_KERNELS_EXP_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Adding it to |x| < 2^22 leaves round(x) in the low mantissa bits.
inline constexpr float kRoundMagic = 0x1.8p23f;

// p * 2^n, n being the integer that `shifted` = n + kRoundMagic holds, in
// [-126, 127].
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ScaleByPower(D d, V p, V shifted) {
  const hn::Rebind<int32_t, D> di;
  const auto biased = hn::Add(hn::BitCast(di, shifted), hn::Set(di, 127));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(biased)));
}

// 2^x for x < 127.5.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2(D d, V x) {
  const V magic = hn::Set(d, kRoundMagic);
  const V shifted = hn::Add(x, magic);
  const V r = hn::Sub(x, hn::Sub(shifted, magic));
  V p = hn::MulAdd(r, hn::Set(d, 0x1.44138ap-13f), hn::Set(d, 0x1.5f0890p-10f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.3b2a54p-7f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.c6af6cp-5f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.ebfbe0p-3f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.62e430p-1f));
  p = hn::MulAdd(r, p, hn::Set(d, 1.0f));
  const V y = ScaleByPower(d, p, shifted);
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), y);
}

// 2^(x + kPower) for x <= 0, with a relative error below 2^-17 (before
// rounding; degree 4 at Chebyshev nodes): for probabilities that will be
// rounded to bf16 or to integers. Exact at 0, 0 for results below 2^-126.5, NaN
// for NaN.
template <int kPower = 0, class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2Coarse(D d, V x) {
  static_assert(kPower >= 0 && kPower < 127);
  // A result's power -127 has the bits of 0. Max returns its second operand
  // where one is NaN (x86), or NaN.
  x = hn::Max(hn::Set(d, -127.0f - kPower), x);
  // With the exponent's bias, which need not be added to the bits then.
  const V magic = hn::Set(d, kRoundMagic + 127 + kPower);
  const V shifted = hn::Add(x, magic);
  const V r = hn::Sub(x, hn::Sub(shifted, magic));
  V p = hn::MulAdd(r, hn::Set(d, 0x1.3c6e5cp-7f), hn::Set(d, 0x1.c96d5ep-5f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.ebfb3ep-3f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.62e2d2p-1f));
  p = hn::MulAdd(r, p, hn::Set(d, 1.0f));
  const hn::Rebind<int32_t, D> di;
  return hn::Mul(p,
                 hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

// e^x, e^88 for x > 88; below -87.33 the result is 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const V high = hn::Set(d, 88.0f);
  x = hn::IfThenElse(hn::Gt(x, high), high, x);
  const V magic = hn::Set(d, kRoundMagic);
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.44269504f), magic);
  const V n = hn::Sub(shifted, magic);
  // ln 2 in two parts (Cody & Waite); n times the first is exact.
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::MulAdd(r, hn::Set(d, 0x1.6d4318p-10f), hn::Set(d, 0x1.123d84p-7f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.5554eap-5f));
  p = hn::MulAdd(r, p, hn::Set(d, 0x1.55547cp-3f));
  p = hn::MulAdd(r, p, hn::Set(d, 0.5f));
  p = hn::MulAdd(r, p, hn::Set(d, 1.0f));
  p = hn::MulAdd(r, p, hn::Set(d, 1.0f));
  const V y = ScaleByPower(d, p, shifted);
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.33f)), y);
}

// tanh(x): below 1/2 an odd polynomial fitted at Chebyshev nodes (relative
// error 0.08 * 2^-24 before rounding), else (1 - e^-2|x|) / (1 + e^-2|x|).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V magnitude = hn::Abs(x);
  const V z = hn::Mul(x, x);
  V p = hn::MulAdd(z, hn::Set(d, -0x1.c7033cp-8f), hn::Set(d, 0x1.5fc692p-6f));
  p = hn::MulAdd(z, p, hn::Set(d, -0x1.b9d2aep-5f));
  p = hn::MulAdd(z, p, hn::Set(d, 0x1.111080p-3f));
  p = hn::MulAdd(z, p, hn::Set(d, -0x1.555554p-2f));
  p = hn::MulAdd(hn::Mul(z, x), p, x);
  const V e = Exp(d, hn::Mul(magnitude, hn::Set(d, -2.0f)));
  const V far = hn::Div(hn::Sub(one, e), hn::Add(one, e));
  return hn::CopySign(
      hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0.5f)), p, far), x);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
