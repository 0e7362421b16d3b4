// Vector loads and stores of the storage types as float, shared by every
// kernel (and src/gemm). D is a float tag; pointers may be unaligned.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_LOAD_INL_H_
#undef DAPPLE_KERNELS_LOAD_INL_H_
#else
#define DAPPLE_KERNELS_LOAD_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "util/half.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
using HalfBits = hn::Rebind<uint16_t, D>;

template <class D, class VU16 = hn::Vec<HalfBits<D>>>
HWY_INLINE hn::Vec<D> F16BitsToFloat(D d, VU16 bits) {
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX2
  // No F16C. Highway's emulation would make numbers of infinity and NaN.
  const hn::Rebind<uint32_t, D> du32;
  const auto wide = hn::PromoteTo(du32, bits);
  const auto magnitude =
      hn::ShiftLeft<13>(hn::And(wide, hn::Set(du32, 0x7FFFu)));
  // The product moves the exponent's bias from 15 to 127, subnormals too.
  const auto scaled = hn::BitCast(
      du32, hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112f)));
  const auto special = hn::Or(magnitude, hn::Set(du32, 0x7F800000u));
  const auto is_special = hn::Ge(hn::BitCast(d, scaled), hn::Set(d, 65536.0f));
  const auto sign = hn::ShiftLeft<16>(hn::And(wide, hn::Set(du32, 0x8000u)));
  return hn::BitCast(
      d, hn::Or(sign, hn::IfThenElse(hn::RebindMask(du32, is_special), special,
                                     scaled)));
#else
  const hn::Rebind<hwy::float16_t, D> df16;
  return hn::PromoteTo(d, hn::BitCast(df16, bits));
#endif
}

template <class D, class VU16 = hn::Vec<HalfBits<D>>>
HWY_INLINE hn::Vec<D> BF16BitsToFloat(D d, VU16 bits) {
  const hn::Rebind<uint32_t, D> du32;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

// Lanes(d) values from p: [Lanes(d)].
template <class D>
HWY_INLINE hn::Vec<D> LoadFloat(D d, const float* p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloat(D d, const F16* p) {
  return F16BitsToFloat(d, hn::LoadU(HalfBits<D>(), &p->bits));
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloat(D d, const BF16* p) {
  return BF16BitsToFloat(d, hn::LoadU(HalfBits<D>(), &p->bits));
}

// The first n < Lanes(d) values of p, zero in the other lanes; reads no more.
template <class D>
HWY_INLINE hn::Vec<D> LoadFloatN(D d, const float* p, size_t n) {
  return hn::LoadN(d, p, n);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloatN(D d, const F16* p, size_t n) {
  return F16BitsToFloat(d, hn::LoadN(HalfBits<D>(), &p->bits, n));
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloatN(D d, const BF16* p, size_t n) {
  return BF16BitsToFloat(d, hn::LoadN(HalfBits<D>(), &p->bits, n));
}

// bf16 bits of v, rounded to nearest even, NaN made quiet. Integer arithmetic
// on purpose: AVX-512's vcvtneps2bf16 would flush denormals, and results
// would depend on the target.
template <class D>
HWY_INLINE hn::Vec<HalfBits<D>> ToBF16Bits(D /*d*/, hn::Vec<D> v) {
  const hn::Rebind<uint32_t, D> du32;
  const auto bits = hn::BitCast(du32, v);
  const auto lowest_kept = hn::And(hn::ShiftRight<16>(bits), hn::Set(du32, 1u));
  const auto rounded = hn::ShiftRight<16>(
      hn::Add(bits, hn::Add(lowest_kept, hn::Set(du32, 0x7FFFu))));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du32, 0x40u));
  const auto is_nan = hn::RebindMask(du32, hn::IsNaN(v));
  return hn::TruncateTo(HalfBits<D>(), hn::IfThenElse(is_nan, quiet, rounded));
}

// f16 bits of v, rounded to nearest even, saturated to ±65504; NaN stays NaN.
template <class D>
HWY_INLINE hn::Vec<HalfBits<D>> ToF16Bits(D d, hn::Vec<D> v) {
  const hn::Rebind<hwy::float16_t, D> df16;
  const auto limit = hn::Set(d, 65504.0f);
  // Comparisons rather than Min/Max, which would turn NaN into the limit.
  v = hn::IfThenElse(hn::Gt(v, limit), limit, v);
  v = hn::IfThenElse(hn::Lt(v, hn::Neg(limit)), hn::Neg(limit), v);
  return hn::BitCast(HalfBits<D>(), hn::DemoteTo(df16, v));
}

// The f16 block scale at `block` (any alignment) in every lane.
template <class D>
HWY_INLINE hn::Vec<D> BroadcastScale(D d, const uint8_t* block) {
  uint16_t bits;
  std::memcpy(&bits, block, sizeof(bits));
#if HWY_TARGET <= HWY_AVX2
  return F16BitsToFloat(d, hn::Set(HalfBits<D>(), bits));
#else
  // Converting four lanes costs less than all where F16C is emulated.
  const hn::CappedTag<float, 4> d4;
  const auto v = F16BitsToFloat(d4, hn::Set(HalfBits<decltype(d4)>(), bits));
  return hn::Set(d, hn::GetLane(v));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
