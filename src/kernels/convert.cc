#include "kernels/convert.h"

#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/convert-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void F16ToFloat(const F16* in, size_t count, float* out) {
  ConvertRow(in, count, out);
}
void BF16ToFloat(const BF16* in, size_t count, float* out) {
  ConvertRow(in, count, out);
}
void FloatToF16(const float* in, size_t count, F16* out) {
  ConvertRow(in, count, out);
}
void FloatToBF16(const float* in, size_t count, BF16* out) {
  ConvertRow(in, count, out);
}

void AddTo(const float* delta, size_t count, float* sum) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  size_t i = 0;
  for (; i + n <= count; i += n)
    hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, delta + i)), d,
               sum + i);
  if (i < count) {
    const size_t left = count - i;
    hn::StoreN(
        hn::Add(hn::LoadN(d, sum + i, left), hn::LoadN(d, delta + i, left)), d,
        sum + i, left);
  }
}

template <class Out>
HWY_INLINE void DequantizeTo(TensorType type, const void* row, size_t count,
                             Out* out) {
  const auto* bytes = static_cast<const uint8_t*>(row);
  switch (type) {
    case TensorType::kF32:
      return ConvertRow(static_cast<const float*>(row), count, out);
    case TensorType::kF16:
      return ConvertRow(static_cast<const F16*>(row), count, out);
    case TensorType::kBF16:
      return ConvertRow(static_cast<const BF16*>(row), count, out);
    default:
      return WithFormat(type, [&]<class F>() HWY_ATTR {
        DequantizeRow<F>(bytes, count, out);
      });
  }
}

void DequantizeFloat(TensorType type, const void* row, size_t count,
                     float* out) {
  DequantizeTo(type, row, count, out);
}
void DequantizeBF16(TensorType type, const void* row, size_t count, BF16* out) {
  DequantizeTo(type, row, count, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(F16ToFloat);
HWY_EXPORT(BF16ToFloat);
HWY_EXPORT(FloatToF16);
HWY_EXPORT(FloatToBF16);
HWY_EXPORT(AddTo);
HWY_EXPORT(DequantizeFloat);
HWY_EXPORT(DequantizeBF16);

void ToFloat(const F16* in, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(F16ToFloat)(in, count, out);
}
void ToFloat(const BF16* in, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(BF16ToFloat)(in, count, out);
}
void ToF16(const float* in, size_t count, F16* out) {
  HWY_DYNAMIC_DISPATCH(FloatToF16)(in, count, out);
}
void ToBF16(const float* in, size_t count, BF16* out) {
  HWY_DYNAMIC_DISPATCH(FloatToBF16)(in, count, out);
}

void Add(const float* delta, size_t count, float* sum) {
  HWY_DYNAMIC_DISPATCH(AddTo)(delta, count, sum);
}

void Dequantize(TensorType type, const void* row, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeFloat)(type, row, count, out);
}
void DequantizeToBF16(TensorType type, const void* row, size_t count,
                      BF16* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeBF16)(type, row, count, out);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
