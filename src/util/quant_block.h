// Quantized blocks taken apart, by scalar code: the definition of what each
// tensor type means, and the reference that kernels, encoders and tests share.
//
// Any bytes are a valid block; a scale that is NaN or infinite makes values
// that are not finite, nothing worse.
#ifndef DAPPLE_UTIL_QUANT_BLOCK_H_
#define DAPPLE_UTIL_QUANT_BLOCK_H_

#include <cstddef>
#include <cstdint>

#include "util/tensor_type.h"

namespace dapple {

// value[i] = scales[i / group] * quants[i] - mins[i / group]. The product is
// exact in float for every type (at most 24 significant bits), so a value is
// rounded once.
struct UnpackedBlock {
  size_t elements = 0;
  size_t group = 0;  // 16 or 32
  int8_t quants[kMaxBlockElements];
  float scales[kMaxBlockElements / 16];
  float mins[kMaxBlockElements / 16];  // 0 for types without
};

// block: block_bytes of `type`, any alignment. `type` is a quantized one
// (block_elements > 1).
void UnpackBlock(TensorType type, const void* block, UnpackedBlock* out);

// row: [RowBytes(type, count)], any alignment; out: [count]. Any type.
void DequantizeReference(TensorType type, const void* row, size_t count,
                         float* out);

}  // namespace dapple

#endif  // DAPPLE_UTIL_QUANT_BLOCK_H_
