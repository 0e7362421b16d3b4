// Matrix-vector products of the most common quantized types in code for one
// set of ARM instructions (kernels/byte_dot.h), four rows at a time: their
// integer sums meet in one vector, so that scaling costs a quarter.
//
// Integer sums are exact; per row, float sums run over the blocks in order,
// whatever the number of rows.
#ifndef DAPPLE_KERNELS_DOT_ROWS_H_
#define DAPPLE_KERNELS_DOT_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/gemv.h"
#include "util/tensor_type.h"

namespace dapple::kernels {

// w: [rows, k] of a tensor type, stride bytes apart; x: [k / 32]; y: [rows].
using DotRowsFunction = void (*)(const uint8_t* w, size_t stride, size_t k,
                                 size_t rows, const BlockActivation* x,
                                 float* y);

// One implementation a set of instructions; nullptr for a type without.
struct DotRowsTable {
  DotRowsFunction q4_0, q8_0, q4_k, q6_k;
};

#if defined(__aarch64__)
extern const DotRowsTable kNeonDotRows;
extern const DotRowsTable kDotProdDotRows;
#endif

// For ActiveByteDot(); nullptr where Highway's kernel is to run.
DotRowsFunction FindDotRows(TensorType type);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_DOT_ROWS_H_
