// Encoders of the quantized blocks, by search for good scales.
#ifndef DAPPLE_GGUF_BLOCK_ENCODER_H_
#define DAPPLE_GGUF_BLOCK_ENCODER_H_

#include <cstddef>

#include "util/tensor_type.h"

namespace dapple {

// x: [block_elements] finite values; importance: the same number of weights
// (not negative), or nullptr for equal ones; out: [block_bytes]. The error that
// is made small is Σ importance * sqrt(m + x²) * (x - decoded)² with m the mean
// square of the block: large weights matter more than small ones, but not
// without limit. False when f16 scales cannot hold the magnitude.
bool EncodeBlockBySearch(TensorType type, const float* x,
                         const float* importance, std::byte* out);

}  // namespace dapple

#endif  // DAPPLE_GGUF_BLOCK_ENCODER_H_
