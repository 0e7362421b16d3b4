// GEMM on 8-bit integers: weights as the file quantized them, activations
// quantized per row and group of 32, integer dot products within a group, the
// two scales folded into a float sum over the groups.
//
// Weights of q8_0 and q4_0 are exact; those of other types are rounded to 8
// bits a group of 32, as activations are. Sums are float over the groups, in
// order: a row's result is a function of that row alone.
// Owns nothing but its configuration.
#ifndef DAPPLE_GEMM_INT8_GEMM_H_
#define DAPPLE_GEMM_INT8_GEMM_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "gemm/gemm.h"
#include "kernels/gemv.h"

namespace dapple {

// Whether the processor multiplies and adds four bytes a lane in one
// instruction; elsewhere the backend is right but no gain.
bool HasInt8Dot();

std::unique_ptr<Gemm> CreateInt8Gemm(const Gemm::Config& config);

namespace int8_gemm {

// Columns of a panel: a multiple of two vectors of every target.
inline constexpr size_t kPanelWidth = 32;
// Elements that share a scale.
inline constexpr size_t kGroup = 32;
// Bytes of a group that one dot product instruction adds up in a lane.
inline constexpr size_t kQuad = 4;
// Groups that are multiplied with all rows before the next: 20 KiB of a panel
// stay in the L1 cache. Does not change results.
inline constexpr size_t kSliceGroups = 16;
// Rows of one work item: its sums and quantized activations stay in L2.
inline constexpr size_t kBlockRows = 192;

// One group of a panel's columns.
struct PanelGroup {
  float scales[kPanelWidth];
  // What makes up for activations being stored as quant + 128: -128 Σ weights.
  int32_t offsets[kPanelWidth];
  int8_t quants[kGroup / kQuad][kPanelWidth][kQuad];
};

// One group of a row of activations; quants + 128, so that they are unsigned.
struct RowGroup {
  float scale;
  uint8_t quants[kGroup];
};

// A rectangle of the result.
struct Block {
  const PanelGroup* panel;  // [groups]
  const RowGroup* rows;     // [row_count, groups]
  size_t groups;
  size_t row_count;  // <= kBlockRows
  float* sums;       // [row_count padded to 12, kPanelWidth]
};

}  // namespace int8_gemm
}  // namespace dapple

#endif  // DAPPLE_GEMM_INT8_GEMM_H_
