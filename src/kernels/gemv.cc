#include "kernels/gemv.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemv.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/dot_rows.h"
#include "kernels/gemv-inl.h"
#include "kernels/gemv_steps-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

// Kernel::Run<kRows> over rows [first, last), Kernel::kRows at a time.
template <class Kernel, class X>
HWY_INLINE void ForRows(const void* w, size_t row_bytes, size_t k, size_t first,
                        size_t last, const X* x, float* y) {
  const auto* bytes = static_cast<const uint8_t*>(w);
  size_t r = first;
  for (; r + Kernel::kRows <= last; r += Kernel::kRows)
    Kernel::template Run<Kernel::kRows>(bytes + r * row_bytes, row_bytes, k, x,
                                        y + r);
  for (; r < last; ++r)
    Kernel::template Run<1>(bytes + r * row_bytes, row_bytes, k, x, y + r);
}

template <class T>
struct FloatKernel {
  static constexpr size_t kRows = 4;
  template <size_t kRows>
  static HWY_INLINE void Run(const uint8_t* w, size_t stride, size_t k,
                             const float* x, float* y) {
    FloatRows<kRows, T>(w, stride, k, x, y);
  }
};

template <class F>
struct BlockFloatKernel {
  static constexpr size_t kRows = 4;
  template <size_t kRows>
  static HWY_INLINE void Run(const uint8_t* w, size_t stride, size_t k,
                             const float* x, float* y) {
    BlockFloatRows<F, kRows>(w, stride, k, x, y);
  }
};

template <class F>
struct QuantizedKernel {
  // Two streams and the one that is prefetched come nearest to what the memory
  // delivers (see kPrefetchLead); more only help from the caches.
  static constexpr size_t kRows = F::kElements == kBlock ? 2 : 4;
  template <size_t kRows>
  static HWY_INLINE void Run(const uint8_t* w, size_t stride, size_t k,
                             const BlockActivation* x, float* y) {
    if constexpr (F::kElements == kBlock)
      SmallBlockRows<F, kRows>(w, stride, k / kBlock, x, y);
    else
      SuperBlockRows<F, kRows>(w, stride, k / F::kElements, x, y);
  }
};

void GemvFloat(TensorType type, const void* w, size_t row_bytes, size_t k,
               size_t first, size_t last, const float* x, float* y) {
  switch (type) {
    case TensorType::kF32:
      return ForRows<FloatKernel<float>>(w, row_bytes, k, first, last, x, y);
    case TensorType::kF16:
      return ForRows<FloatKernel<F16>>(w, row_bytes, k, first, last, x, y);
    case TensorType::kBF16:
      return ForRows<FloatKernel<BF16>>(w, row_bytes, k, first, last, x, y);
    default:
      return WithFormat(type, [&]<class F>() HWY_ATTR {
        ForRows<BlockFloatKernel<F>>(w, row_bytes, k, first, last, x, y);
      });
  }
}

void GemvInt8(TensorType type, const void* w, size_t row_bytes, size_t k,
              size_t first, size_t last, const BlockActivation* x, float* y) {
  WithFormat(type, [&]<class F>() HWY_ATTR {
#if HWY_TARGET == HWY_AVX2
    if constexpr (steps::kTakes<F>)
      if (k / kBlock <= steps::kMaxBlocks)
        return steps::AllRows<F>(static_cast<const uint8_t*>(w), row_bytes,
                                   k / kBlock, first, last, x, y);
#endif
    ForRows<QuantizedKernel<F>>(w, row_bytes, k, first, last, x, y);
  });
}

void QuantizeRow(const float* x, size_t k, BlockActivation* out) {
  for (size_t i = 0; i < k / kBlock; ++i)
    QuantizeBlock(x + i * kBlock, out + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(GemvFloat);
HWY_EXPORT(GemvInt8);
HWY_EXPORT(QuantizeRow);

void QuantizeActivations(const float* x, size_t k, BlockActivation* out) {
  HWY_DYNAMIC_DISPATCH(QuantizeRow)(x, k, out);
}

bool HasQuantizedGemv(TensorType type) {
  return InfoOf(type).block_elements > 1;
}

void Gemv(TensorType type, const void* w, size_t row_bytes, size_t k,
          size_t first, size_t last, const float* x, float* y) {
  HWY_DYNAMIC_DISPATCH(GemvFloat)(type, w, row_bytes, k, first, last, x, y);
}

void GemvQuantized(TensorType type, const void* w, size_t row_bytes, size_t k,
                   size_t first, size_t last, const BlockActivation* x,
                   float* y) {
  if (const DotRowsFunction rows = FindDotRows(type))
    return rows(static_cast<const uint8_t*>(w) + first * row_bytes, row_bytes,
                k, last - first, x, y + first);
  HWY_DYNAMIC_DISPATCH(GemvInt8)(type, w, row_bytes, k, first, last, x, y);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
