// Matrix–vector products straight on the file's weight layout (decode).
#ifndef DAPPLE_KERNELS_GEMV_H_
#define DAPPLE_KERNELS_GEMV_H_

#include <cstddef>
#include <cstdint>

#include "util/tensor_type.h"

namespace dapple::kernels {

// 32 activations: value = scale * quant; sum = scale * Σ quant, which the
// unsigned-nibble types need to take their offset out.
struct BlockActivation {
  float scale;
  float sum;
  int8_t quants[32];
};

// x: [k], k a multiple of 32. Symmetric, scale = max|x| / 127; ties to even.
void QuantizeActivations(const float* x, size_t k, BlockActivation* out);

// Whether GemvQuantized supports this weight type: every quantized one.
bool HasQuantizedGemv(TensorType type);

// y[r] = Σ_i w[r][i] * x[i], rows [first, last). w: [n, k] in file layout,
// row_bytes apart; x: [k] float; y: [n], float accumulation. Any type.
// The result of a row does not depend on [first, last).
void Gemv(TensorType type, const void* w, size_t row_bytes, size_t k,
          size_t first, size_t last, const float* x, float* y);

// The same with quantized activations: x: [k / 32] blocks. Integer dot
// products within a group of weights that share a scale, float across groups.
void GemvQuantized(TensorType type, const void* w, size_t row_bytes, size_t k,
                   size_t first, size_t last, const BlockActivation* x,
                   float* y);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_GEMV_H_
