// The int8 GEMM on vpdpbusd with 256-bit vectors: laptop processors that have
// AVX-VNNI and no AVX-512 (Alder Lake and later, Zen 5 has both). Compiled for
// either encoding; DAPPLE_DOT is the intrinsic.
//
// Layouts are those of the Highway kernel: runs of four, activations unsigned.
// Three rows by two vectors of eight columns: twelve sums, two weights and an
// activation in sixteen registers.
//
// Everything is in an unnamed namespace and no inline function of another
// header is called (kernels/dot_rows_arm-inl.h says why).
#include <immintrin.h>

#include "gemm/int8_gemm.h"

namespace dapple {
namespace {

using int8_gemm::kPanelWidth;
using int8_gemm::PanelGroup;

constexpr size_t kTileRows = 3;
constexpr size_t kTileColumns = 16;
constexpr size_t kRun = 4;
constexpr size_t kRowBytes = int8_gemm::RowGroupBytes(1);

// Adds the products of `count` groups to sums [kTileRows, kPanelWidth], columns
// [column, column + kTileColumns). rows: row_stride bytes apart.
inline __attribute__((always_inline)) void MultiplyTile(
    const PanelGroup* panel, const uint8_t* rows, size_t row_stride,
    size_t count, size_t column, float* sums) {
  __m256 sum[kTileRows][2];
  for (size_t r = 0; r < kTileRows; ++r) {
    sum[r][0] = _mm256_loadu_ps(sums + r * kPanelWidth + column);
    sum[r][1] = _mm256_loadu_ps(sums + r * kPanelWidth + column + 8);
  }
  for (size_t g = 0; g < count; ++g, ++panel, rows += kRowBytes) {
    const auto* offsets =
        reinterpret_cast<const __m256i*>(panel->offsets + column);
    const __m256i offset0 = _mm256_loadu_si256(offsets);
    const __m256i offset1 = _mm256_loadu_si256(offsets + 1);
    __m256i dots[kTileRows][2];
    for (auto& row : dots) {
      row[0] = offset0;
      row[1] = offset1;
    }
#pragma GCC unroll 8
    for (size_t q = 0; q < int8_gemm::kGroup / kRun; ++q) {
      const auto* w = reinterpret_cast<const __m256i*>(
          panel->quants + (q * kPanelWidth + column) * kRun);
      const __m256i w0 = _mm256_loadu_si256(w);
      const __m256i w1 = _mm256_loadu_si256(w + 1);
      for (size_t r = 0; r < kTileRows; ++r) {
        int four;
        __builtin_memcpy(
            &four, rows + r * row_stride + sizeof(float) + q * kRun, kRun);
        const __m256i x = _mm256_set1_epi32(four);
        dots[r][0] = DAPPLE_DOT(dots[r][0], x, w0);
        dots[r][1] = DAPPLE_DOT(dots[r][1], x, w1);
      }
    }
    const __m256 scale0 = _mm256_loadu_ps(panel->scales + column);
    const __m256 scale1 = _mm256_loadu_ps(panel->scales + column + 8);
    for (size_t r = 0; r < kTileRows; ++r) {
      float row_scale;
      __builtin_memcpy(&row_scale, rows + r * row_stride, sizeof(row_scale));
      const __m256 scale = _mm256_set1_ps(row_scale);
      sum[r][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][0]),
                                  _mm256_mul_ps(scale, scale0), sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][1]),
                                  _mm256_mul_ps(scale, scale1), sum[r][1]);
    }
  }
  for (size_t r = 0; r < kTileRows; ++r) {
    _mm256_storeu_ps(sums + r * kPanelWidth + column, sum[r][0]);
    _mm256_storeu_ps(sums + r * kPanelWidth + column + 8, sum[r][1]);
  }
}

void MultiplyBlock(const int8_gemm::Block& block) {
  const size_t padded =
      (block.row_count + kTileRows - 1) / kTileRows * kTileRows;
  __builtin_memset(block.sums, 0, padded * kPanelWidth * sizeof(float));
  for (size_t first = 0; first < block.groups;
       first += int8_gemm::kSliceGroups) {
    const size_t left = block.groups - first;
    const size_t count =
        left < int8_gemm::kSliceGroups ? left : int8_gemm::kSliceGroups;
    for (size_t r = 0; r < padded; r += kTileRows)
      for (size_t c = 0; c < kPanelWidth; c += kTileColumns)
        MultiplyTile(block.panel + first,
                     block.rows + (r * block.groups + first) * kRowBytes,
                     block.groups * kRowBytes, count, c,
                     block.sums + r * kPanelWidth);
  }
}

}  // namespace

const int8_gemm::Kernel int8_gemm::DAPPLE_KERNEL = {.name = "avx_vnni",
                                                    .run = kRun,
                                                    .interleave = 1,
                                                    .unsigned_rows = true,
                                                    .minima = false,
                                                    .writes_y = false,
                                                    .multiply = MultiplyBlock};

}  // namespace dapple
