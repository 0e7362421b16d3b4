// Encoding a row of floats as a GGUF tensor type.
//
// q8_0 and q4_0 are encoded with the rounding that GGUF producers share, so
// that a block here equals the block another converter makes of the same
// floats. The other types, and those two where importances are given, search
// for scales (block_encoder.h). Decoding is scalar, for tests and tools; the
// fast decoders are in src/kernels.
#ifndef DAPPLE_GGUF_QUANTIZE_H_
#define DAPPLE_GGUF_QUANTIZE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "util/tensor_type.h"

namespace dapple {

// row [n], n a multiple of the type's block; out [RowBytes(type, n)], any
// alignment; importance [n] (how much an error in each input matters, >= 0) or
// empty. False when a value is not finite, or the type (f16, or a block's f16
// scale) cannot hold its magnitude; `out` is then unspecified.
[[nodiscard]] bool EncodeRow(TensorType type, std::span<const float> row,
                             std::span<std::byte> out,
                             std::span<const float> importance = {});

// "f32, f16 and q8_0": the names of all types, for messages.
std::string TensorTypeNames();

// in [RowBytes(type, n)], row [n].
void DecodeRow(TensorType type, std::span<const std::byte> in,
               std::span<float> row);

// general.file_type of a file whose matrices are mostly of this type (GGUF
// spec, "LLAMA_FTYPE").
uint32_t FileTypeOf(TensorType type);

}  // namespace dapple

#endif  // DAPPLE_GGUF_QUANTIZE_H_
