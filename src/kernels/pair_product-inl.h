// Products of pairs of 16-bit integers, added up in 32 bits, shared by prefill
// and decode attention.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_PAIR_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_PAIR_PRODUCT_INL_H_
#undef DAPPLE_KERNELS_PAIR_PRODUCT_INL_H_
#else
#define DAPPLE_KERNELS_PAIR_PRODUCT_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// acc += a · b, pair by pair.
HWY_INLINE void AddProduct(hn::Vec<hn::ScalableTag<int16_t>> a,
                           hn::Vec<hn::ScalableTag<int16_t>> b,
                           hn::Vec<hn::ScalableTag<int32_t>>& acc) {
#if HWY_TARGET == HWY_AVX2
  // GCC would begin all products of a step at once, and run out of registers.
  hn::Vec<hn::ScalableTag<int32_t>> product;
  asm("vpmaddwd %[b], %[a], %[product]\n\t"
      "vpaddd %[product], %[acc], %[acc]"
      : [acc] "+x"(acc.raw), [product] "=&x"(product.raw)
      : [a] "x"(a.raw), [b] "xm"(b.raw));
#else
  const hn::ScalableTag<int32_t> d;
  acc = hn::Add(acc, hn::WidenMulPairwiseAdd(d, a, b));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
