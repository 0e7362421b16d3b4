// The int8 GEMM on sdot (ARMv8.2 dot product; Cortex-A55, A76 and later).
// Compiled with -march=armv8.2-a+dotprod.
//
// One sdot multiplies four quants of each of four columns with four quants of
// one row, which it picks out of a vector of four rows: a run of four rows is
// loaded once for all columns.
#include <arm_neon.h>

#include "gemm/int8_gemm.h"

namespace dapple {
namespace {

using int8_gemm::kPanelWidth;
using int8_gemm::PanelGroup;

constexpr size_t kTileRows = 4;
constexpr size_t kTileColumns = 8;
constexpr size_t kRun = 4;
constexpr size_t kRowsBytes = int8_gemm::RowGroupBytes(kTileRows);

// Adds the products of one run. w: two vectors of four columns; x: four rows.
inline __attribute__((always_inline)) void MultiplyRun(
    const int8_t* w, int8x16_t x, int32x4_t dots[kTileRows][2]) {
  const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16);
  dots[0][0] = vdotq_laneq_s32(dots[0][0], w0, x, 0);
  dots[0][1] = vdotq_laneq_s32(dots[0][1], w1, x, 0);
  dots[1][0] = vdotq_laneq_s32(dots[1][0], w0, x, 1);
  dots[1][1] = vdotq_laneq_s32(dots[1][1], w1, x, 1);
  dots[2][0] = vdotq_laneq_s32(dots[2][0], w0, x, 2);
  dots[2][1] = vdotq_laneq_s32(dots[2][1], w1, x, 2);
  dots[3][0] = vdotq_laneq_s32(dots[3][0], w0, x, 3);
  dots[3][1] = vdotq_laneq_s32(dots[3][1], w1, x, 3);
}

inline __attribute__((always_inline)) void MultiplyTile(const PanelGroup* panel,
                                                        const uint8_t* rows,
                                                        size_t count,
                                                        size_t column,
                                                        float* sums) {
  float32x4_t sum[kTileRows][2];
  for (size_t r = 0; r < kTileRows; ++r) {
    sum[r][0] = vld1q_f32(sums + r * kPanelWidth + column);
    sum[r][1] = vld1q_f32(sums + r * kPanelWidth + column + 4);
  }
  for (size_t g = 0; g < count; ++g, ++panel, rows += kRowsBytes) {
    const int8_t* w = panel->quants + column * kRun;
    const auto* xq = reinterpret_cast<const int8_t*>(rows) + 4 * kTileRows;
    // Bases of their own keep the offsets in reach of paired loads.
    asm("" : "+r"(w), "+r"(xq));
    int32x4_t dots[kTileRows][2];
    for (auto& row : dots) row[0] = row[1] = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (size_t q = 0; q < int8_gemm::kGroup / kRun; q += 2) {
      const int8x16_t x0 = vld1q_s8(xq + q * kTileRows * kRun);
      const int8x16_t x1 = vld1q_s8(xq + (q + 1) * kTileRows * kRun);
      MultiplyRun(w + q * kPanelWidth * kRun, x0, dots);
      MultiplyRun(w + (q + 1) * kPanelWidth * kRun, x1, dots);
    }
    const float32x4_t scale0 = vld1q_f32(panel->scales + column);
    const float32x4_t scale1 = vld1q_f32(panel->scales + column + 4);
    const float32x4_t row_scales =
        vld1q_f32(reinterpret_cast<const float*>(rows));
#define DAPPLE_SCALE_ROW(row)                                        \
  sum[row][0] = vfmaq_f32(sum[row][0], vcvtq_f32_s32(dots[row][0]),  \
                          vmulq_laneq_f32(scale0, row_scales, row)); \
  sum[row][1] = vfmaq_f32(sum[row][1], vcvtq_f32_s32(dots[row][1]),  \
                          vmulq_laneq_f32(scale1, row_scales, row));
    DAPPLE_SCALE_ROW(0)
    DAPPLE_SCALE_ROW(1)
    DAPPLE_SCALE_ROW(2)
    DAPPLE_SCALE_ROW(3)
#undef DAPPLE_SCALE_ROW
  }
  for (size_t r = 0; r < kTileRows; ++r) {
    vst1q_f32(sums + r * kPanelWidth + column, sum[r][0]);
    vst1q_f32(sums + r * kPanelWidth + column + 4, sum[r][1]);
  }
}

}  // namespace
}  // namespace dapple

#include "gemm/int8_tile_arm-inl.h"

namespace dapple::int8_gemm {

const Kernel kDotProdKernel = {.name = "dotprod",
                               .run = kRun,
                               .interleave = kTileRows,
                               .unsigned_rows = false,
                               .minima = false,
                               .writes_y = false,
                               .multiply = MultiplyBlock};

}  // namespace dapple::int8_gemm
