// The Highway backend: cache-blocked GEMM on packed panels, for every CPU.
//
// Two variants share the code. bf16: weights rounded to bf16; where the CPU
// has bf16 dot products activations are rounded to bf16 too, elsewhere they
// stay float and weights are widened, a panel at a time. f32: everything float
// (the reference path). Sums are float, in slices of kSliceK inputs, always in
// the same order: a row's result is a function of that row alone.
// Owns nothing but its configuration.
#ifndef DAPPLE_GEMM_HIGHWAY_GEMM_H_
#define DAPPLE_GEMM_HIGHWAY_GEMM_H_

#include <memory>

#include "gemm/gemm.h"

namespace dapple {

// backend: kHighway or kF32.
std::unique_ptr<Gemm> CreateHighwayGemm(GemmBackend backend,
                                        const Gemm::Config& config);

namespace highway_gemm {

// Columns of a panel; every target's register block divides it.
inline constexpr size_t kPanelWidth = 32;
// Inputs summed in registers before a result is stored. Part of the numeric
// result, so the same on every target.
inline constexpr size_t kSliceK = 256;
// Rows that share a packed slice of activations: 192 × 256 floats stay in L2.
// A multiple of every target's register block.
inline constexpr size_t kBlockRows = 192;
// Elements between rows of that slice. The extra ones keep rows that are read
// together from falling into the same cache sets.
inline constexpr size_t kSliceStride = kSliceK + 16;

// Panels of one work item.
inline constexpr size_t kBlockPanels = 4;

// One thread's working memory. Sums are gathered here rather than in y, whose
// rows may lie a power of two apart and then evict each other from the cache.
struct Workspace {
  alignas(64) float rows[kBlockRows * kSliceStride];  // [kBlockRows, stride]
  alignas(64) float columns[kSliceK * kPanelWidth];   // [kSliceK, block]
  // [kBlockPanels][kBlockRows, kPanelWidth]
  alignas(64) float sums[kBlockPanels][kBlockRows * kPanelWidth];
};

// A rectangle of the result: rows [0, rows) of x and y (already advanced to
// the first), panels [first_panel, last_panel), at most kBlockPanels.
struct Block {
  const std::byte* packed;  // the whole packed matrix
  size_t n;
  size_t k;
  size_t first_panel;
  size_t last_panel;
  const float* x;  // [rows, k], x_stride apart
  size_t x_stride;
  size_t rows;  // <= kBlockRows
  float* y;     // [rows, n], y_stride apart
  size_t y_stride;
};

}  // namespace highway_gemm
}  // namespace dapple

#endif  // DAPPLE_GEMM_HIGHWAY_GEMM_H_
