// Transposition of 32-bit words, for packing panels.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_GEMM_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_TRANSPOSE_INL_H_
#undef DAPPLE_GEMM_TRANSPOSE_INL_H_
#else
#define DAPPLE_GEMM_TRANSPOSE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {

// in: [width, in_stride] 32-bit words; out: [words, out_stride], of which
// [words, width] are written. A bf16 pair is one word, and so are four bytes:
// one transposition serves all packings. width % 4 == 0.
HWY_INLINE void TransposeWords(const uint32_t* in, size_t in_stride,
                               size_t width, size_t words, uint32_t* out,
                               size_t out_stride) {
  namespace hn = hwy::HWY_NAMESPACE;
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<uint32_t, 4> d;
  const hn::Repartition<uint64_t, decltype(d)> d64;
  for (; i + 4 <= words; i += 4) {
    for (size_t c = 0; c < width; c += 4) {
      const uint32_t* row = in + c * in_stride + i;
      const auto r0 = hn::LoadU(d, row);
      const auto r1 = hn::LoadU(d, row + in_stride);
      const auto r2 = hn::LoadU(d, row + 2 * in_stride);
      const auto r3 = hn::LoadU(d, row + 3 * in_stride);
      const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
      const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
      const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
      const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
      uint32_t* to = out + i * out_stride + c;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)), d, to);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)), d,
                 to + out_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)), d,
                 to + 2 * out_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23)), d,
                 to + 3 * out_stride);
    }
  }
#endif
  for (; i < words; ++i)
    for (size_t c = 0; c < width; ++c)
      out[i * out_stride + c] = in[c * in_stride + i];
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
