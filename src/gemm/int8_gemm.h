// GEMM on 8-bit integers: weights as the file quantized them, activations
// quantized per row and group of 32, integer dot products within a group, the
// two scales folded into a float sum over the groups.
//
// Weights whose groups of 32 share a scale are exact (q8_0, q4_0, q5_0, iq4_nl,
// iq4_xs, mxfp4), and where the kernel takes minima those with a minimum of
// their own as well (q4_1, q5_1, q4_k, q5_k). Others are rounded to 8 bits a
// group of 32, as activations are. Sums are float over the groups, in order: a
// row's result is a function of that row alone.
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

// The name of the code that CreateInt8Gemm would use now: "dotprod", say.
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

// What the quants of a matrix are.
enum class Quants : uint32_t {
  kSigned,  // int8: value = scale * quant
  // Unsigned, of 4 or 5 bits: value = scale * quant - min. Only for kernels
  // with `minima`.
  kFourBits,
  kFiveBits,
  // Unsigned, of 4 bits: value = scale * (quant - kCentre). Likewise.
  kCentredFourBits,
};

inline constexpr int kCentre = 8;

// One group of a panel's columns.
struct PanelGroup {
  float scales[kPanelWidth];
  union {
    // What makes up for activations being stored as quant + 128: -128 Σ
    // weights. Only for kernels with `unsigned_rows`.
    int32_t offsets[kPanelWidth];
    float mins[kPanelWidth];
  };
  int8_t quants[kGroup * kPanelWidth];  // [kGroup / run, kPanelWidth, run]
};

// What kernels with minima find before the quants of a row's group. Its scale
// is `multiple` times the row's: an integer that the widening multiplication of
// sums in 16 bits takes in.
struct RowGroupHeader {
  int32_t multiple;  // twice, as int16; <= kMaxMultiple
  float scale;       // multiple
  float sum;         // multiple * Σ quants
  // Two int16: -kCentre Σ quants, of those in the first half of each four and
  // of those in the second.
  int32_t centres;
};

// Keeps a group's sum in 32 bits: 32 * 31 * 127 * kMaxMultiple < 2^31.
inline constexpr int kMaxMultiple = (1 << 14) - 1;

// Bytes of one group of `interleave` rows of activations that lie together:
// float scales[interleave], or with minima the header of the only row; then
// quants [kGroup / run, interleave, run].
constexpr size_t RowGroupBytes(size_t interleave, bool minima = false) {
  return interleave *
         ((minima ? sizeof(RowGroupHeader) : sizeof(float)) + kGroup);
}

// Bytes of a row by itself: with minima its float scale follows the groups.
constexpr size_t PackedRowBytes(size_t groups, bool minima) {
  return groups * RowGroupBytes(1, minima) + (minima ? sizeof(float) : 0);
}

// A rectangle of the result.
struct Block {
  Quants kind;
  const PanelGroup* panel;  // [groups]
  // [row_count, PackedRowBytes], or where rows lie together
  // [row_count / interleave, groups, RowGroupBytes].
  const uint8_t* rows;
  size_t groups;
  size_t row_count;  // <= kBlockRows
  float* sums;       // [row_count padded to 12, kPanelWidth]
  float* y;          // [row_count, columns], y_stride floats apart
  size_t y_stride;
  size_t columns;  // <= kPanelWidth
};

// Copies sums to y, rows [first, row_count).
void StoreSums(const Block& block, size_t first);

// One way to multiply, with the layout of the quants that it wants.
struct Kernel {
  const char* name;
  size_t run;         // quants of a row or column that lie together: 4, 8 or 32
  size_t interleave;  // rows that lie together; divides 12
  bool unsigned_rows;  // activations are stored as quant + 128
  bool minima;         // takes every kind of Quants; else kSigned alone
  bool writes_y;       // else multiply leaves its result in sums
  // Rows past row_count up to a multiple of 12 are readable, and their sums of
  // no meaning.
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

// What CreateInt8Gemm would use now.
Kernel ActiveKernel();

// Highway's dot product of bytes, emulated where the target has none: it packs
// as every kernel with unsigned rows does. For tests.
Kernel GenericKernel();

// `kernel` rather than the active one: for tests.
std::unique_ptr<Gemm> CreateGemm(const Gemm::Config& config,
                                 const Kernel& kernel);

}  // namespace int8_gemm
}  // namespace dapple

#endif  // DAPPLE_GEMM_INT8_GEMM_H_
