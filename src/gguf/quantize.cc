#include "gguf/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "gguf/block_encoder.h"

#include "util/half.h"
#include "util/quant_block.h"

namespace dapple {
namespace {

constexpr size_t kBlock = 32;
constexpr uint16_t kF16Infinity = 0x7C00;

bool IsFinite(F16 value) { return (value.bits & 0x7C00) != kF16Infinity; }

// Symmetric: the largest magnitude maps to ±127, halves round away from zero.
bool EncodeBlock(const float* x /*[32]*/, BlockQ8_0* block) {
  float largest = 0.0f;
  for (size_t i = 0; i < kBlock; ++i)
    largest = std::max(largest, std::fabs(x[i]));
  const float scale = largest / 127.0f;
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  block->scale = ToF16(scale);
  // The quants come from the scale before its rounding to f16; a denormal
  // scale has no finite inverse, and its weights are zero in f16 anyhow.
  for (size_t i = 0; i < kBlock; ++i) {
    const float q = std::isfinite(inverse) ? std::round(x[i] * inverse) : 0.0f;
    block->quants[i] = static_cast<int8_t>(q);
  }
  return IsFinite(block->scale);
}

// The value of largest magnitude, with its sign, maps to -8 exactly, so the
// scale is negative for a positive extreme; the range is [-8, 7].
bool EncodeBlock(const float* x /*[32]*/, BlockQ4_0* block) {
  float largest = 0.0f;
  float extreme = 0.0f;
  for (size_t i = 0; i < kBlock; ++i) {
    if (std::fabs(x[i]) > largest) {
      largest = std::fabs(x[i]);
      extreme = x[i];
    }
  }
  const float scale = extreme / -8.0f;
  float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  if (!std::isfinite(inverse)) inverse = 0.0f;
  block->scale = ToF16(scale);
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const auto nibble = [&](float value) {
      // Truncation after +8.5 rounds halves up; 16 is the extreme's mirror.
      return static_cast<uint8_t>(
          std::min(15, static_cast<int>(value * inverse + 8.5f)));
    };
    block->nibbles[i] =
        static_cast<uint8_t>(nibble(x[i]) | nibble(x[i + kBlock / 2]) << 4);
  }
  return IsFinite(block->scale);
}

template <class Block>
bool EncodeBlocks(std::span<const float> row, std::byte* out) {
  for (size_t i = 0; i < row.size(); i += kBlock, out += sizeof(Block)) {
    Block block;
    if (!EncodeBlock(row.data() + i, &block)) return false;
    std::memcpy(out, &block, sizeof(Block));
  }
  return true;
}

}  // namespace

bool EncodeRow(TensorType type, std::span<const float> row,
               std::span<std::byte> out, std::span<const float> importance) {
  for (const float value : row)
    if (!std::isfinite(value)) return false;
  switch (type) {
    case TensorType::kF32:
      std::memcpy(out.data(), row.data(), row.size_bytes());
      return true;
    case TensorType::kF16:
      for (size_t i = 0; i < row.size(); ++i) {
        const F16 value = ToF16(row[i]);
        if (!IsFinite(value)) return false;
        std::memcpy(out.data() + 2 * i, &value, 2);
      }
      return true;
    case TensorType::kBF16:
      for (size_t i = 0; i < row.size(); ++i) {
        const BF16 value = ToBF16(row[i]);
        if (!std::isfinite(ToFloat(value))) return false;
        std::memcpy(out.data() + 2 * i, &value, 2);
      }
      return true;
    case TensorType::kQ8_0:
      if (!importance.empty()) break;
      return EncodeBlocks<BlockQ8_0>(row, out.data());
    case TensorType::kQ4_0:
      if (!importance.empty()) break;
      return EncodeBlocks<BlockQ4_0>(row, out.data());
    default:
      break;
  }
  const TensorTypeInfo& info = InfoOf(type);
  for (size_t i = 0; i < row.size(); i += info.block_elements)
    if (!EncodeBlockBySearch(
            type, row.data() + i,
            importance.empty() ? nullptr : importance.data() + i,
            out.data() + RowBytes(type, i)))
      return false;
  return true;
}

std::string TensorTypeNames() {
  std::string names;
  constexpr size_t kCount = std::size(kTensorTypes);
  for (size_t i = 0; i < kCount; ++i) {
    names += i == 0 ? "" : i + 1 == kCount ? " and " : ", ";
    names += kTensorTypes[i].name;
  }
  return names;
}

uint32_t FileTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return 0;
    case TensorType::kF16:
      return 1;
    case TensorType::kQ4_0:
      return 2;
    case TensorType::kQ4_1:
      return 3;
    case TensorType::kQ8_0:
      return 7;
    case TensorType::kQ5_0:
      return 8;
    case TensorType::kQ5_1:
      return 9;
    case TensorType::kQ2_K:
      return 10;
    case TensorType::kQ3_K:
      return 12;  // "mostly Q3_K, medium", and so on
    case TensorType::kQ4_K:
      return 15;
    case TensorType::kQ5_K:
      return 17;
    case TensorType::kQ6_K:
      return 18;
    case TensorType::kIQ4_NL:
      return 25;
    case TensorType::kIQ4_XS:
      return 30;
    case TensorType::kBF16:
      return 32;
    case TensorType::kMXFP4:
      return 38;
  }
  return 0;
}

void DecodeRow(TensorType type, std::span<const std::byte> in,
               std::span<float> row) {
  DequantizeReference(type, in.data(), row.size(), row.data());
}

}  // namespace dapple
