#include "util/quant_block.h"

#include <cstring>
#include <limits>

#include "util/half.h"

namespace dapple {
namespace {

// Nibbles of a 32-weight block: low ones first.
int Nibble(const uint8_t* nibbles, size_t i) {
  return i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
}

int FifthBit(const uint8_t* high, size_t i) {
  return (high[i / 8] >> (i % 8) & 1) << 4;
}

void SetGroups(UnpackedBlock* out, size_t elements, size_t group) {
  out->elements = elements;
  out->group = group;
  for (float& min : out->mins) min = 0.0f;
}

template <class Quant>
void Fill32(F16 scale, const Quant& quant, UnpackedBlock* out) {
  SetGroups(out, 32, 32);
  out->scales[0] = ToFloat(scale);
  for (size_t i = 0; i < 32; ++i)
    out->quants[i] = static_cast<int8_t>(quant(i));
}

void Unpack(const BlockQ4_0& b, UnpackedBlock* out) {
  Fill32(
      b.scale, [&](size_t i) { return Nibble(b.nibbles, i) - 8; }, out);
}

void Unpack(const BlockQ4_1& b, UnpackedBlock* out) {
  Fill32(
      b.scale, [&](size_t i) { return Nibble(b.nibbles, i); }, out);
  out->mins[0] = -ToFloat(b.minimum);
}

void Unpack(const BlockQ5_0& b, UnpackedBlock* out) {
  Fill32(
      b.scale,
      [&](size_t i) {
        return (Nibble(b.nibbles, i) | FifthBit(b.high, i)) - 16;
      },
      out);
}

void Unpack(const BlockQ5_1& b, UnpackedBlock* out) {
  Fill32(
      b.scale,
      [&](size_t i) { return Nibble(b.nibbles, i) | FifthBit(b.high, i); },
      out);
  out->mins[0] = -ToFloat(b.minimum);
}

void Unpack(const BlockQ8_0& b, UnpackedBlock* out) {
  Fill32(
      b.scale, [&](size_t i) { return b.quants[i]; }, out);
}

void Unpack(const BlockIQ4_NL& b, UnpackedBlock* out) {
  Fill32(
      b.scale, [&](size_t i) { return kIq4Values[Nibble(b.nibbles, i)]; }, out);
}

void Unpack(const BlockMXFP4& b, UnpackedBlock* out) {
  Fill32(
      F16{0}, [&](size_t i) { return kMxfp4Values[Nibble(b.nibbles, i)]; },
      out);
  out->scales[0] = MxScale(b.exponent);
}

void Unpack(const BlockQ2_K& b, UnpackedBlock* out) {
  SetGroups(out, 256, 16);
  for (size_t g = 0; g < 16; ++g) {
    out->scales[g] =
        ToFloat(b.scale) * static_cast<float>(b.group_scales[g] & 15);
    out->mins[g] =
        ToFloat(b.minimum) * static_cast<float>(b.group_scales[g] >> 4);
  }
  for (size_t i = 0; i < 256; ++i)
    out->quants[i] = static_cast<int8_t>(
        b.quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3);
}

void Unpack(const BlockQ3_K& b, UnpackedBlock* out) {
  SetGroups(out, 256, 16);
  for (size_t g = 0; g < 16; ++g) {
    const int low = b.group_scales[g % 8] >> (g / 8 * 4) & 15;
    const int high = b.group_scales[8 + g % 4] >> (g / 4 * 2) & 3;
    out->scales[g] =
        ToFloat(b.scale) * static_cast<float>((low | high << 4) - 32);
  }
  for (size_t i = 0; i < 256; ++i) {
    const int low = b.quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    const int high = b.high[i % 32] >> (i / 32) & 1;
    out->quants[i] = static_cast<int8_t>((low | high << 2) - 4);
  }
}

// Of Q4_K and Q5_K.
void GroupScales(const uint8_t* packed /*[12]*/, size_t g, int* scale,
                 int* minimum) {
  if (g < 4) {
    *scale = packed[g] & 63;
    *minimum = packed[g + 4] & 63;
  } else {
    *scale = (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
    *minimum = packed[g + 4] >> 4 | packed[g] >> 6 << 4;
  }
}

template <class Block>
void UnpackKScales(const Block& b, UnpackedBlock* out) {
  SetGroups(out, 256, 32);
  for (size_t g = 0; g < 8; ++g) {
    int scale;
    int minimum;
    GroupScales(b.group_scales, g, &scale, &minimum);
    out->scales[g] = ToFloat(b.scale) * static_cast<float>(scale);
    out->mins[g] = ToFloat(b.minimum) * static_cast<float>(minimum);
  }
}

void Unpack(const BlockQ4_K& b, UnpackedBlock* out) {
  UnpackKScales(b, out);
  for (size_t i = 0; i < 256; ++i)
    out->quants[i] = static_cast<int8_t>(
        b.nibbles[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15);
}

void Unpack(const BlockQ5_K& b, UnpackedBlock* out) {
  UnpackKScales(b, out);
  for (size_t i = 0; i < 256; ++i) {
    const int low = b.nibbles[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    const int high = b.high[i % 32] >> (i / 32) & 1;
    out->quants[i] = static_cast<int8_t>(low | high << 4);
  }
}

void Unpack(const BlockQ6_K& b, UnpackedBlock* out) {
  SetGroups(out, 256, 16);
  for (size_t g = 0; g < 16; ++g)
    out->scales[g] = ToFloat(b.scale) * static_cast<float>(b.group_scales[g]);
  for (size_t i = 0; i < 256; ++i) {
    const size_t half = i / 128;
    const size_t part = i / 32 % 4;
    const int low = b.low[64 * half + i % 64] >> (part / 2 * 4) & 15;
    const int high = b.high[32 * half + i % 32] >> (2 * part) & 3;
    out->quants[i] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

void Unpack(const BlockIQ4_XS& b, UnpackedBlock* out) {
  SetGroups(out, 256, 32);
  for (size_t g = 0; g < 8; ++g) {
    const int low = b.scales_low[g / 2] >> (g % 2 * 4) & 15;
    const int high = b.scales_high[g / 4] >> (g % 4 * 2) & 3;
    out->scales[g] =
        ToFloat(b.scale) * static_cast<float>((low | high << 4) - 32);
  }
  for (size_t i = 0; i < 256; ++i)
    out->quants[i] = kIq4Values[Nibble(b.nibbles + i / 32 * 16, i % 32)];
}

template <class Block>
void UnpackAs(const void* bytes, UnpackedBlock* out) {
  Block block;
  std::memcpy(&block, bytes, sizeof(block));
  Unpack(block, out);
}

template <class T>
T Element(const void* row, size_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(row) + i * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

void UnpackBlock(TensorType type, const void* block, UnpackedBlock* out) {
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
      return;  // the caller's mistake: these have no blocks
    case TensorType::kQ4_0:
      return UnpackAs<BlockQ4_0>(block, out);
    case TensorType::kQ4_1:
      return UnpackAs<BlockQ4_1>(block, out);
    case TensorType::kQ5_0:
      return UnpackAs<BlockQ5_0>(block, out);
    case TensorType::kQ5_1:
      return UnpackAs<BlockQ5_1>(block, out);
    case TensorType::kQ8_0:
      return UnpackAs<BlockQ8_0>(block, out);
    case TensorType::kQ2_K:
      return UnpackAs<BlockQ2_K>(block, out);
    case TensorType::kQ3_K:
      return UnpackAs<BlockQ3_K>(block, out);
    case TensorType::kQ4_K:
      return UnpackAs<BlockQ4_K>(block, out);
    case TensorType::kQ5_K:
      return UnpackAs<BlockQ5_K>(block, out);
    case TensorType::kQ6_K:
      return UnpackAs<BlockQ6_K>(block, out);
    case TensorType::kIQ4_NL:
      return UnpackAs<BlockIQ4_NL>(block, out);
    case TensorType::kIQ4_XS:
      return UnpackAs<BlockIQ4_XS>(block, out);
    case TensorType::kMXFP4:
      return UnpackAs<BlockMXFP4>(block, out);
  }
}

void DequantizeReference(TensorType type, const void* row, size_t count,
                         float* out) {
  switch (type) {
    case TensorType::kF32:
      std::memcpy(out, row, count * sizeof(float));
      return;
    case TensorType::kF16:
      for (size_t i = 0; i < count; ++i) out[i] = ToFloat(Element<F16>(row, i));
      return;
    case TensorType::kBF16:
      for (size_t i = 0; i < count; ++i)
        out[i] = ToFloat(Element<BF16>(row, i));
      return;
    default:
      break;
  }
  const TensorTypeInfo& info = InfoOf(type);
  const auto* block = static_cast<const char*>(row);
  UnpackedBlock unpacked;
  for (size_t first = 0; first < count;
       first += info.block_elements, block += info.block_bytes) {
    UnpackBlock(type, block, &unpacked);
    for (size_t i = 0; i < info.block_elements; ++i) {
      const size_t g = i / unpacked.group;
      const float product =
          unpacked.scales[g] * static_cast<float>(unpacked.quants[i]);
      out[first + i] = product - unpacked.mins[g];
    }
  }
}

}  // namespace dapple
