// Encoding a row of floats as a GGUF tensor type.
//
// Scalar and exact: the rounding is the one that GGUF producers share, so that
// a block here equals the block another converter makes of the same floats.
// Decoding is here as well, as the reference for tests and tools; the fast
// decoders are in src/kernels.
#ifndef DAPPLE_GGUF_QUANTIZE_H_
#define DAPPLE_GGUF_QUANTIZE_H_

#include <cstddef>
#include <span>

#include "util/tensor_type.h"

namespace dapple {

// row [n], n a multiple of the type's block; out [RowBytes(type, n)], any
// alignment. False when a value is not finite, or the type (f16, or a block's
// f16 scale) cannot hold its magnitude; `out` is then unspecified.
[[nodiscard]] bool EncodeRow(TensorType type, std::span<const float> row,
                             std::span<std::byte> out);

// in [RowBytes(type, n)], row [n].
void DecodeRow(TensorType type, std::span<const std::byte> in,
               std::span<float> row);

}  // namespace dapple

#endif  // DAPPLE_GGUF_QUANTIZE_H_
