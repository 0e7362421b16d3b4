#if defined(DAPPLE_KERNELS_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_CONVERT_INL_H_
#undef DAPPLE_KERNELS_CONVERT_INL_H_
#else
#define DAPPLE_KERNELS_CONVERT_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/load-inl.h"
#include "kernels/quant-inl.h"
#include "util/half.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Stores that round to the type of `out`.
template <class D>
HWY_INLINE void StoreRounded(D d, hn::Vec<D> v, float* out) {
  hn::StoreU(v, d, out);
}
template <class D>
HWY_INLINE void StoreRounded(D d, hn::Vec<D> v, F16* out) {
  hn::StoreU(ToF16Bits(d, v), HalfBits<D>(), &out->bits);
}
template <class D>
HWY_INLINE void StoreRounded(D d, hn::Vec<D> v, BF16* out) {
  hn::StoreU(ToBF16Bits(d, v), HalfBits<D>(), &out->bits);
}
template <class D>
HWY_INLINE void StoreRoundedN(D d, hn::Vec<D> v, float* out, size_t n) {
  hn::StoreN(v, d, out, n);
}
template <class D>
HWY_INLINE void StoreRoundedN(D d, hn::Vec<D> v, F16* out, size_t n) {
  hn::StoreN(ToF16Bits(d, v), HalfBits<D>(), &out->bits, n);
}
template <class D>
HWY_INLINE void StoreRoundedN(D d, hn::Vec<D> v, BF16* out, size_t n) {
  hn::StoreN(ToBF16Bits(d, v), HalfBits<D>(), &out->bits, n);
}

// in, out: [count].
template <class In, class Out>
HWY_INLINE void ConvertRow(const In* in, size_t count, Out* out) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  size_t i = 0;
  for (; i + n <= count; i += n) StoreRounded(d, LoadFloat(d, in + i), out + i);
  if (i < count)
    StoreRoundedN(d, LoadFloatN(d, in + i, count - i), out + i, count - i);
}

// row: [count / F::kElements] blocks; out: [count].
template <class F, class Out>
HWY_INLINE void DequantizeRow(const uint8_t* row, size_t count, Out* out) {
  const BlockFloatTag d;
  const size_t n = hn::Lanes(d);
  HWY_ALIGN int8_t unpacked[kBlock];
  HWY_ALIGN float scales[F::kGroups];
  HWY_ALIGN float mins[F::kGroups];
  for (size_t i = 0; i < count; i += F::kElements, row += F::kBytes) {
    F::Scales(row, scales, mins);
    for (size_t part = 0; part < F::kElements / kBlock; ++part) {
      UnpackPart<F>(row, part, unpacked);
      for (size_t j = 0; j < kBlock; j += n)
        StoreRounded(d, Weights<F>(d, unpacked, part, j, scales, mins),
                     out + i + part * kBlock + j);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
