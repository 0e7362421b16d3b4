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

// Whether this processor's int8 products beat its bf16 ones; elsewhere the
// backend is right but no gain.
bool Int8GemmWins();

// What CreateInt8Gemm would use now: "dotprod", say.
const char* Int8KernelName();

std::unique_ptr<Gemm> CreateInt8Gemm(const Gemm::Config& config);

namespace int8_gemm {

// Columns of a panel: a multiple of two vectors of every target.
inline constexpr size_t kPanelWidth = 32;
// Elements that share a scale.
inline constexpr size_t kGroup = 32;
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
  int8_t quants[kGroup * kPanelWidth];  // [kGroup / run, kPanelWidth, run]
};

// Bytes of one group of `interleave` rows of activations that lie together:
// float scales[interleave], then quants [kGroup / run, interleave, run].
constexpr size_t RowGroupBytes(size_t interleave) {
  return interleave * (sizeof(float) + kGroup);
}

// A rectangle of the result.
struct Block {
  const PanelGroup* panel;  // [groups]
  const uint8_t* rows;      // [row_count / interleave, groups, RowGroupBytes]
  size_t groups;
  size_t row_count;  // <= kBlockRows
  float* sums;       // [row_count padded to 12, kPanelWidth]
};

// One way to multiply, with the layout of the quants that it wants.
struct Kernel {
  const char* name;
  size_t run;          // quants of a row or column that lie together
  size_t interleave;   // rows that lie together; divides 12
  bool unsigned_rows;  // activations are stored as quant + 128
  // Writes sums; rows past row_count up to a multiple of 12 are readable, and
  // their sums of no meaning.
  void (*multiply)(const Block& block);
};

#if defined(__aarch64__)
extern const Kernel kNeonKernel;
extern const Kernel kDotProdKernel;
extern const Kernel kI8mmKernel;
#elif defined(__x86_64__)
extern const Kernel kAvxVnniKernel;
// The same source in AVX-512's encoding of 256-bit vectors, for tests on
// processors that have that one only.
extern const Kernel kAvx512Vnni256Kernel;
#endif

// `kernel` rather than the one CreateInt8Gemm would choose: for tests.
std::unique_ptr<Gemm> CreateGemm(const Gemm::Config& config,
                                 const Kernel& kernel);

}  // namespace int8_gemm
}  // namespace dapple

#endif  // DAPPLE_GEMM_INT8_GEMM_H_
