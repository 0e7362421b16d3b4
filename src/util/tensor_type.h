// The tensor element types of GGUF that Dapple computes with, and the layout
// of their quantized blocks (GGUF spec, "ggml_type"; ggml block formats).
//
// Lives in util because both gguf (which checks sizes) and kernels (which may
// include only util) need the layouts.
#ifndef DAPPLE_UTIL_TENSOR_TYPE_H_
#define DAPPLE_UTIL_TENSOR_TYPE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "util/half.h"

namespace dapple {

// Values are the on-disk ids of the GGUF spec.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ8_0 = 8,
  kBF16 = 30,
};

// 32 weights: value = scale * (nibble - 8). Low nibbles hold elements 0..15,
// high nibbles elements 16..31.
struct BlockQ4_0 {
  F16 scale;
  uint8_t nibbles[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// 32 weights: value = scale * quant.
struct BlockQ8_0 {
  F16 scale;
  int8_t quants[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;    // "q8_0": lower case, as users type it
  uint32_t block_elements;  // elements a block; 1 for plain types
  uint32_t block_bytes;
};

inline constexpr TensorTypeInfo kTensorTypes[] = {
    {TensorType::kF32, "f32", 1, 4},
    {TensorType::kF16, "f16", 1, 2},
    {TensorType::kQ4_0, "q4_0", 32, sizeof(BlockQ4_0)},
    {TensorType::kQ8_0, "q8_0", 32, sizeof(BlockQ8_0)},
    {TensorType::kBF16, "bf16", 1, 2},
};

// nullptr when Dapple does not know the id.
inline const TensorTypeInfo* FindTensorType(uint32_t id) {
  for (const TensorTypeInfo& info : kTensorTypes)
    if (static_cast<uint32_t>(info.type) == id) return &info;
  return nullptr;
}

inline const TensorTypeInfo* FindTensorType(std::string_view name) {
  for (const TensorTypeInfo& info : kTensorTypes)
    if (info.name == name) return &info;
  return nullptr;
}

inline const TensorTypeInfo& InfoOf(TensorType type) {
  return *FindTensorType(static_cast<uint32_t>(type));
}

// Bytes of one row of `elements`, which must be a multiple of the block.
inline size_t RowBytes(TensorType type, size_t elements) {
  const TensorTypeInfo& info = InfoOf(type);
  return elements / info.block_elements * info.block_bytes;
}

}  // namespace dapple

#endif  // DAPPLE_UTIL_TENSOR_TYPE_H_
