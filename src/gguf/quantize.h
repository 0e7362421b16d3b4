// Encoding a row of floats as a GGUF tensor type.
//
// Scalar and exact: the rounding is the one that GGUF producers share, so that
// a block here equals the block another converter makes of the same floats.
// Decoding is here as well, as the reference for tests and tools; the fast
// decoders are in src/kernels.
#ifndef DAPPLE_GGUF_QUANTIZE_H_
#define DAPPLE_GGUF_QUANTIZE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "util/tensor_type.h"

namespace dapple {

// row [n], n a multiple of the type's block; out [RowBytes(type, n)], any
// alignment. False when a value is not finite, or the type (f16, or a block's
// f16 scale) cannot hold its magnitude; `out` is then unspecified.
[[nodiscard]] bool EncodeRow(TensorType type, std::span<const float> row,
                             std::span<std::byte> out);

// Whether EncodeRow makes this type; the others are only read.
bool CanEncode(TensorType type);
// "f32, f16 and q8_0": the names of the types that CanEncode, for messages.
std::string EncodableTypes();

// in [RowBytes(type, n)], row [n].
void DecodeRow(TensorType type, std::span<const std::byte> in,
               std::span<float> row);

// general.file_type of a file whose matrices are mostly of this type (GGUF
// spec, "LLAMA_FTYPE").
uint32_t FileTypeOf(TensorType type);

}  // namespace dapple

#endif  // DAPPLE_GGUF_QUANTIZE_H_
