#include "gemm/panel.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/convert.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/panel.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.
#include "gemm/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {

// in: [width, in_stride]; out: [words, width].
void TransposePanel(const uint32_t* in, size_t in_stride, size_t width,
                    size_t words, uint32_t* out) {
  TransposeWords(in, in_stride, width, words, out, width);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple {
namespace {

HWY_EXPORT(TransposePanel);

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
    HWY_DYNAMIC_DISPATCH(TransposePanel)
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
    HWY_DYNAMIC_DISPATCH(TransposePanel)
    (reinterpret_cast<const uint32_t*>(slice), stride, width, count,
     reinterpret_cast<uint32_t*>(out + first * width));
  }
}

}  // namespace dapple
#endif  // HWY_ONCE
