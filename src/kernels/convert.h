// Row conversions between float and the half-width storage types, and the
// residual stream's read-modify-write. All [count], unaligned allowed.
#ifndef DAPPLE_KERNELS_CONVERT_H_
#define DAPPLE_KERNELS_CONVERT_H_

#include <cstddef>

#include "util/half.h"
#include "util/tensor_type.h"

namespace dapple::kernels {

void ToFloat(const F16* in, size_t count, float* out);
void ToFloat(const BF16* in, size_t count, float* out);
// Rounds to nearest even. Values beyond ±65504 saturate to ±65504 rather than
// becoming infinite: one overflow must not poison a row. NaN stays NaN.
void ToF16(const float* in, size_t count, F16* out);
void ToBF16(const float* in, size_t count, BF16* out);

// sum[i] += delta[i]
void Add(const float* delta, size_t count, float* sum);

// One row of `count` elements (a multiple of the type's block) to float.
void Dequantize(TensorType type, const void* row, size_t count, float* out);
// The same to bf16, rounded once from the exact float value.
void DequantizeToBF16(TensorType type, const void* row, size_t count,
                      BF16* out);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_CONVERT_H_
