// The int8 GEMM on smmla (ARMv8.6 matrix multiplication; Neoverse N2 and V1,
// Cortex-A510 and A710 and later). Compiled with
// -march=armv8.2-a+dotprod+i8mm.
//
// One smmla multiplies eight quants of two rows with eight quants of two
// columns: four sums, row after row.
#include <arm_neon.h>

#include "gemm/int8_gemm.h"

namespace dapple {
namespace {

using int8_gemm::kPanelWidth;
using int8_gemm::PanelGroup;

constexpr size_t kTileRows = 4;
constexpr size_t kTileColumns = 8;
constexpr size_t kRun = 8;
constexpr size_t kRowsBytes = int8_gemm::RowGroupBytes(kTileRows);
constexpr size_t kRowPairs = kTileRows / 2;
constexpr size_t kColumnPairs = kTileColumns / 2;

inline __attribute__((always_inline)) float32x4_t FirstHalves(float32x4_t a,
                                                              float32x4_t b) {
  return vreinterpretq_f32_f64(
      vtrn1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
inline __attribute__((always_inline)) float32x4_t SecondHalves(float32x4_t a,
                                                               float32x4_t b) {
  return vreinterpretq_f32_f64(
      vtrn2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

inline __attribute__((always_inline)) void MultiplyTile(const PanelGroup* panel,
                                                        const uint8_t* rows,
                                                        size_t count,
                                                        size_t column,
                                                        float* sums) {
  // Two rows by two columns each.
  float32x4_t sum[kRowPairs][kColumnPairs];
  for (size_t i = 0; i < kRowPairs; ++i) {
    float* even = sums + 2 * i * kPanelWidth + column;
    float* odd = even + kPanelWidth;
    for (size_t j = 0; j < kColumnPairs; j += 2) {
      const float32x4_t a = vld1q_f32(even + 2 * j), b = vld1q_f32(odd + 2 * j);
      sum[i][j] = FirstHalves(a, b);
      sum[i][j + 1] = SecondHalves(a, b);
    }
  }
  for (size_t g = 0; g < count; ++g, ++panel, rows += kRowsBytes) {
    const int8_t* w = panel->quants + column * kRun;
    const auto* xq = reinterpret_cast<const int8_t*>(rows) + 4 * kTileRows;
    int32x4_t dots[kRowPairs][kColumnPairs];
    for (auto& pair : dots)
      for (int32x4_t& dot : pair) dot = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (size_t q = 0; q < int8_gemm::kGroup / kRun; ++q) {
      int8x16_t wq[kColumnPairs];
      for (size_t j = 0; j < kColumnPairs; ++j)
        wq[j] = vld1q_s8(w + q * kPanelWidth * kRun + 16 * j);
      for (size_t i = 0; i < kRowPairs; ++i) {
        const int8x16_t x = vld1q_s8(xq + q * kTileRows * kRun + 16 * i);
        for (size_t j = 0; j < kColumnPairs; ++j)
          dots[i][j] = vmmlaq_s32(dots[i][j], x, wq[j]);
      }
    }
    const float32x4_t scales0 = vld1q_f32(panel->scales + column);
    const float32x4_t scales1 = vld1q_f32(panel->scales + column + 4);
    const float32x4_t scales[kColumnPairs] = {
        FirstHalves(scales0, scales0), SecondHalves(scales0, scales0),
        FirstHalves(scales1, scales1), SecondHalves(scales1, scales1)};
    const float32x4_t four = vld1q_f32(reinterpret_cast<const float*>(rows));
    const float32x4_t row_scales[kRowPairs] = {vzip1q_f32(four, four),
                                               vzip2q_f32(four, four)};
    for (size_t i = 0; i < kRowPairs; ++i)
      for (size_t j = 0; j < kColumnPairs; ++j)
        sum[i][j] = vfmaq_f32(sum[i][j], vcvtq_f32_s32(dots[i][j]),
                              vmulq_f32(scales[j], row_scales[i]));
  }
  for (size_t i = 0; i < kRowPairs; ++i) {
    float* even = sums + 2 * i * kPanelWidth + column;
    float* odd = even + kPanelWidth;
    for (size_t j = 0; j < kColumnPairs; j += 2) {
      vst1q_f32(even + 2 * j, FirstHalves(sum[i][j], sum[i][j + 1]));
      vst1q_f32(odd + 2 * j, SecondHalves(sum[i][j], sum[i][j + 1]));
    }
  }
}

}  // namespace
}  // namespace dapple

#include "gemm/int8_tile_arm-inl.h"

namespace dapple::int8_gemm {

const Kernel kI8mmKernel = {.name = "i8mm",
                            .run = kRun,
                            .interleave = kTileRows,
                            .unsigned_rows = false,
                            .minima = false,
                            .writes_y = false,
                            .multiply = MultiplyBlock};

}  // namespace dapple::int8_gemm
