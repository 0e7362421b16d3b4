// The inner loop of the int8 GEMM: a register block is kRows rows by two
// vectors of columns, with integer sums of the present group and float sums of
// all groups.

// Per-target include guard.
#if defined(DAPPLE_GEMM_INT8_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_INT8_GEMM_INL_H_
#undef DAPPLE_GEMM_INT8_GEMM_INL_H_
#else
#define DAPPLE_GEMM_INT8_GEMM_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "gemm/int8_gemm.h"
#include "gemm/int8_maddubs-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using int8_gemm::Block;
using int8_gemm::kGroup;
using int8_gemm::kPanelWidth;
using int8_gemm::kSliceGroups;
using int8_gemm::PanelGroup;
using int8_gemm::RowGroupBytes;

// Bytes of a group that one dot product instruction adds up in a lane.
constexpr size_t kQuad = 4;
constexpr size_t kRowBytes = RowGroupBytes(1);

// At most 16 lanes, so that two vectors never exceed a panel.
using DF = hn::CappedTag<float, kPanelWidth / 2>;
// 4 * kRows sums, two weights and an activation: 27 registers, or 11.
#if HWY_ARCH_X86 && (HWY_TARGET >= HWY_AVX2)
constexpr size_t kRows = 2;
#else
constexpr size_t kRows = 6;
#endif

// Adds the products of `count` groups to sums [kRows, kPanelWidth], columns
// [column, column + 2 * lanes). rows: row_stride bytes apart.
HWY_INLINE void MultiplyGroups(const PanelGroup* HWY_RESTRICT panel,
                               const uint8_t* HWY_RESTRICT rows,
                               size_t row_stride, size_t count, size_t column,
                               float* HWY_RESTRICT sums) {
  const DF d;
  const hn::Repartition<int32_t, DF> di32;
  const hn::Repartition<uint32_t, DF> du32;
  const hn::Repartition<int8_t, DF> di8;
  const hn::Repartition<uint8_t, DF> du8;
  const size_t n = hn::Lanes(d);
  using VF = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di32)>;
  VF sum[kRows][2];
  HWY_UNROLL(6)
  for (size_t r = 0; r < kRows; ++r) {
    sum[r][0] = hn::Load(d, sums + r * kPanelWidth + column);
    sum[r][1] = hn::Load(d, sums + r * kPanelWidth + column + n);
  }
  for (size_t g = 0; g < count; ++g) {
    const PanelGroup& weights = panel[g];
    VI dot[kRows][2];
    HWY_UNROLL(6)
    for (size_t r = 0; r < kRows; ++r) {
      dot[r][0] = hn::Load(di32, weights.offsets + column);
      dot[r][1] = hn::Load(di32, weights.offsets + column + n);
    }
    for (size_t q = 0; q < kGroup / kQuad; ++q) {
      const int8_t* quad = weights.quants + (q * kPanelWidth + column) * kQuad;
      const auto w0 = hn::Load(di8, quad);
      const auto w1 = hn::Load(di8, quad + n * kQuad);
      HWY_UNROLL(6)
      for (size_t r = 0; r < kRows; ++r) {
        uint32_t four;
        std::memcpy(
            &four,
            rows + r * row_stride + g * kRowBytes + sizeof(float) + q * kQuad,
            kQuad);
        const auto x = hn::BitCast(du8, hn::Set(du32, four));
        dot[r][0] = hn::SumOfMulQuadAccumulate(di32, x, w0, dot[r][0]);
        dot[r][1] = hn::SumOfMulQuadAccumulate(di32, x, w1, dot[r][1]);
      }
    }
    const VF scale0 = hn::Load(d, weights.scales + column);
    const VF scale1 = hn::Load(d, weights.scales + column + n);
    HWY_UNROLL(6)
    for (size_t r = 0; r < kRows; ++r) {
      float row_scale;
      std::memcpy(&row_scale, rows + r * row_stride + g * kRowBytes,
                  sizeof(row_scale));
      const VF scale = hn::Set(d, row_scale);
      sum[r][0] = hn::MulAdd(hn::ConvertTo(d, dot[r][0]),
                             hn::Mul(scale, scale0), sum[r][0]);
      sum[r][1] = hn::MulAdd(hn::ConvertTo(d, dot[r][1]),
                             hn::Mul(scale, scale1), sum[r][1]);
    }
  }
  HWY_UNROLL(6)
  for (size_t r = 0; r < kRows; ++r) {
    hn::Store(sum[r][0], d, sums + r * kPanelWidth + column);
    hn::Store(sum[r][1], d, sums + r * kPanelWidth + column + n);
  }
}

}  // namespace

void MultiplyInt8Block(const Block& block) {
  const size_t width = 2 * hn::Lanes(DF());
  const size_t padded = (block.row_count + kRows - 1) / kRows * kRows;
  std::memset(block.sums, 0, padded * kPanelWidth * sizeof(float));
  for (size_t first = 0; first < block.groups; first += kSliceGroups) {
    const size_t count = std::min(kSliceGroups, block.groups - first);
    for (size_t r = 0; r < padded; r += kRows)
      for (size_t c = 0; c < kPanelWidth; c += width)
        MultiplyGroups(block.panel + first,
                       block.rows + (r * block.groups + first) * kRowBytes,
                       block.groups * kRowBytes, count, c,
                       block.sums + r * kPanelWidth);
  }
}

int8_gemm::Kernel ThisGenericKernel() {
  return {.name = "highway",
          .run = 4,
          .interleave = 1,
          .unsigned_rows = true,
          .minima = false,
          .writes_y = false,
          .multiply = &MultiplyInt8Block};
}

// The kernel of this target.
int8_gemm::Kernel ThisKernel() {
#if DAPPLE_MADDUBS
  return {.name = HWY_TARGET == HWY_AVX2 ? "avx2" : "sse",
          .run = 4,
          .interleave = 1,
          .unsigned_rows = false,
          .minima = true,
          .writes_y = true,
          .multiply = &MultiplyMaddubs};
#else
  return ThisGenericKernel();
#endif
}

// Whether it beats products of floats.
bool ThisInt8Wins() {
#if HWY_ARCH_X86
  // Not on SSE2, which emulates pmaddubsw, nor on AVX-512 without VNNI, where
  // it has not been tried.
  return HWY_TARGET <= HWY_AVX3_DL ||
         (HWY_TARGET >= HWY_AVX2 && HWY_TARGET <= HWY_SSSE3);
#else
  return false;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
