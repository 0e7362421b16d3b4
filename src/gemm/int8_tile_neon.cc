// The int8 GEMM on ARMv8.0 (Cortex-A53, A72): bytes are multiplied to 16 bits,
// two products to a lane, and gathered in 32.
//
// A group of a row meets a group of a column, and four columns' sums are added
// up together.
#include <arm_neon.h>

#include "gemm/int8_gemm.h"

namespace dapple {
namespace {

using int8_gemm::kPanelWidth;
using int8_gemm::PanelGroup;

constexpr size_t kTileRows = 4;
constexpr size_t kTileColumns = 4;
constexpr size_t kRun = int8_gemm::kGroup;
constexpr size_t kRowsBytes = int8_gemm::RowGroupBytes(kTileRows);

// Products of at most 127 * 128: two fit 16 bits.
inline __attribute__((always_inline)) int16x8_t Products(int8x16_t w,
                                                         int8x16_t x) {
  return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
}

inline __attribute__((always_inline)) int32x4_t Dot(int8x16_t w0, int8x16_t w1,
                                                    int8x16_t x0,
                                                    int8x16_t x1) {
  return vpadalq_s16(vpaddlq_s16(Products(w0, x0)), Products(w1, x1));
}

inline __attribute__((always_inline)) void MultiplyTile(const PanelGroup* panel,
                                                        const uint8_t* rows,
                                                        size_t count,
                                                        size_t column,
                                                        float* sums) {
  float32x4_t sum[kTileRows];
  for (size_t r = 0; r < kTileRows; ++r)
    sum[r] = vld1q_f32(sums + r * kPanelWidth + column);
  for (size_t g = 0; g < count; ++g, ++panel, rows += kRowsBytes) {
    const int8_t* w = panel->quants + column * kRun;
    const auto* xq = reinterpret_cast<const int8_t*>(rows) + 4 * kTileRows;
    int8x16_t wq[kTileColumns][2];
    for (size_t c = 0; c < kTileColumns; ++c) {
      wq[c][0] = vld1q_s8(w + c * kRun);
      wq[c][1] = vld1q_s8(w + c * kRun + 16);
    }
    const float32x4_t scales = vld1q_f32(panel->scales + column);
    const float32x4_t row_scales =
        vld1q_f32(reinterpret_cast<const float*>(rows));
#define DAPPLE_ROW(row)                                             \
  {                                                                 \
    const int8x16_t x0 = vld1q_s8(xq + row * kRun);                 \
    const int8x16_t x1 = vld1q_s8(xq + row * kRun + 16);            \
    const int32x4_t dots =                                          \
        vpaddq_s32(vpaddq_s32(Dot(wq[0][0], wq[0][1], x0, x1),      \
                              Dot(wq[1][0], wq[1][1], x0, x1)),     \
                   vpaddq_s32(Dot(wq[2][0], wq[2][1], x0, x1),      \
                              Dot(wq[3][0], wq[3][1], x0, x1)));    \
    sum[row] = vfmaq_f32(sum[row], vcvtq_f32_s32(dots),             \
                         vmulq_laneq_f32(scales, row_scales, row)); \
  }
    DAPPLE_ROW(0)
    DAPPLE_ROW(1)
    DAPPLE_ROW(2)
    DAPPLE_ROW(3)
#undef DAPPLE_ROW
  }
  for (size_t r = 0; r < kTileRows; ++r)
    vst1q_f32(sums + r * kPanelWidth + column, sum[r]);
}

}  // namespace
}  // namespace dapple

#include "gemm/int8_tile_arm-inl.h"

namespace dapple::int8_gemm {

const Kernel kNeonKernel = {.name = "neon",
                            .run = kRun,
                            .interleave = kTileRows,
                            .unsigned_rows = false,
                            .minima = false,
                            .writes_y = false,
                            .multiply = MultiplyBlock};

}  // namespace dapple::int8_gemm
