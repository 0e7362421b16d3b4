#include "gemm/panel.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/convert.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/panel.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// in: [width, in_stride] 32-bit words; out: [words, width]. A bf16 pair is one
// word, so one transposition serves both packings. width % 4 == 0.
void TransposeWords(const uint32_t* in, size_t in_stride, size_t width,
                    size_t words, uint32_t* out) {
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
      uint32_t* to = out + i * width + c;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)), d, to);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)), d,
                 to + width);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)), d,
                 to + 2 * width);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23)), d,
                 to + 3 * width);
    }
  }
#endif
  for (; i < words; ++i)
    for (size_t c = 0; c < width; ++c)
      out[i * width + c] = in[c * in_stride + i];
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple {
namespace {

HWY_EXPORT(TransposeWords);

// Inputs dequantised at a time: small enough that the slice below stays in the
// L1 cache with its transposed image. Blocks of 256 are not taken apart.
constexpr size_t kSlice = 128;
constexpr size_t kMaxSlice = std::max(kSlice, kMaxBlockElements);

// A multiple of the type's block.
size_t SliceOf(TensorType type) {
  return std::max<size_t>(kSlice, InfoOf(type).block_elements);
}

// The part of row `row` of w that begins at input `first`.
const std::byte* RowAt(const WeightMatrix& w, size_t row, size_t first) {
  return w.data + row * w.row_bytes + RowBytes(w.type, first);
}

}  // namespace

void PackPanelBF16(const WeightMatrix& w, size_t panel, size_t width,
                   size_t k_padded, BF16* out) {
  assert(width <= kMaxPanelWidth && width % 4 == 0 && k_padded % 2 == 0);
  const size_t stride = SliceOf(w.type);
  alignas(64) BF16 slice[kMaxPanelWidth * kMaxSlice];  // [width, stride]
  const size_t first_row = panel * width;
  const size_t rows = std::min(width, w.n - first_row);
  std::memset(slice + rows * stride, 0, (width - rows) * stride * sizeof(BF16));
  for (size_t first = 0; first < k_padded; first += stride) {
    const size_t padded = std::min(stride, k_padded - first);
    const size_t count = first < w.k ? std::min(padded, w.k - first) : 0;
    for (size_t r = 0; r < rows; ++r) {
      BF16* to = slice + r * stride;
      if (count > 0)
        kernels::DequantizeToBF16(w.type, RowAt(w, first_row + r, first), count,
                                  to);
      std::fill(to + count, to + padded, BF16{0});
    }
    // The words are only ever moved, never computed with; BF16 is two plain
    // bytes, and memcpy-sized moves of pairs are what the transposition does.
    HWY_DYNAMIC_DISPATCH(TransposeWords)
    (reinterpret_cast<const uint32_t*>(slice), stride / 2, width, padded / 2,
     reinterpret_cast<uint32_t*>(out + first * width));
  }
}

void PackPanelF32(const WeightMatrix& w, size_t panel, size_t width,
                  float* out) {
  assert(width <= kMaxPanelWidth && width % 4 == 0);
  const size_t stride = SliceOf(w.type);
  alignas(64) float slice[kMaxPanelWidth * kMaxSlice];  // [width, stride]
  const size_t first_row = panel * width;
  const size_t rows = std::min(width, w.n - first_row);
  std::memset(slice + rows * stride, 0,
              (width - rows) * stride * sizeof(float));
  for (size_t first = 0; first < w.k; first += stride) {
    const size_t count = std::min(stride, w.k - first);
    for (size_t r = 0; r < rows; ++r)
      kernels::Dequantize(w.type, RowAt(w, first_row + r, first), count,
                          slice + r * stride);
    HWY_DYNAMIC_DISPATCH(TransposeWords)
    (reinterpret_cast<const uint32_t*>(slice), stride, width, count,
     reinterpret_cast<uint32_t*>(out + first * width));
  }
}

}  // namespace dapple
#endif  // HWY_ONCE
