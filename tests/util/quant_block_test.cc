#include "util/quant_block.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "block_fields.h"

namespace dapple {
namespace {

// Blocks of arbitrary bytes with finite scales below 2 in magnitude.
std::vector<uint8_t> ArbitraryBlocks(TensorType type, size_t count) {
  const size_t unit = InfoOf(type).block_bytes;
  std::vector<uint8_t> bytes(count * unit);
  uint32_t state = 12345;
  for (size_t at = 0; at < bytes.size(); at += unit) {
    for (size_t i = 0; i < unit; ++i) {
      state = state * 1664525u + 1013904223u;
      bytes[at + i] = static_cast<uint8_t>(state >> 24);
    }
    for (size_t offset : HalfOffsets(type)) bytes[at + offset + 1] &= 0xBF;
  }
  return bytes;
}

uint64_t Fnv(const std::vector<float>& values) {
  uint64_t hash = 14695981039346656037u;
  for (float value : values) {
    if (value == 0.0f) value = 0.0f;  // no -0
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    for (int shift = 0; shift < 32; shift += 8) {
      hash ^= bits >> shift & 255;
      hash *= 1099511628211u;
    }
  }
  return hash;
}

TEST_CASE("blocks of any bytes mean what the format's inventors make of them") {
  // FNV-1a over the floats that the ggml library (February 2025) makes of the
  // same 64 blocks.
  const struct {
    TensorType type;
    uint64_t hash;
  } cases[] = {
      {TensorType::kQ4_0, 0x507c712c3d252edeu},
      {TensorType::kQ4_1, 0x7798bd74f5b29df0u},
      {TensorType::kQ5_0, 0x7cbf8206ec00cb01u},
      {TensorType::kQ5_1, 0x904bc1e57443dcaeu},
      {TensorType::kQ8_0, 0xf6d35c882278f39du},
      {TensorType::kQ2_K, 0x3e4b36db377af1a8u},
      {TensorType::kQ3_K, 0x42a56fbca5569c95u},
      {TensorType::kQ4_K, 0x288e603ca5c1148bu},
      {TensorType::kQ5_K, 0x30f828d335e8b33fu},
      {TensorType::kQ6_K, 0xd150ab02d4f8ff4fu},
      {TensorType::kIQ4_NL, 0x7add2a33ccceff8du},
      {TensorType::kIQ4_XS, 0x1501cc8512664db2u},
  };
  for (const auto& c : cases) {
    CAPTURE(InfoOf(c.type).name);
    const auto blocks = ArbitraryBlocks(c.type, 64);
    std::vector<float> values(64 * InfoOf(c.type).block_elements);
    DequantizeReference(c.type, blocks.data(), values.size(), values.data());
    CHECK(Fnv(values) == c.hash);
  }
}

TEST_CASE("MXFP4 holds the sixteen E2M1 values times a power of two") {
  // OCP Microscaling Formats 1.0, table 5 (E2M1) and section 5.4.1 (E8M0).
  const float e2m1[16] = {0,  0.5f,  1,  1.5f,  2,  3,  4,  6,
                          -0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  for (int exponent : {0, 1, 2, 64, 126, 127, 128, 200, 254}) {
    BlockMXFP4 block{static_cast<uint8_t>(exponent), {}};
    for (int i = 0; i < 16; ++i)
      block.nibbles[i] = static_cast<uint8_t>(i | (15 - i) << 4);
    float values[32];
    DequantizeReference(TensorType::kMXFP4, &block, 32, values);
    for (int i = 0; i < 16; ++i) {
      CAPTURE(exponent);
      CAPTURE(i);
      CHECK(values[i] == std::ldexp(e2m1[i], exponent - 127));
      CHECK(values[16 + i] == std::ldexp(e2m1[15 - i], exponent - 127));
    }
  }
  const BlockMXFP4 block{255, {}};
  float values[32];
  DequantizeReference(TensorType::kMXFP4, &block, 32, values);
  CHECK(std::isnan(values[5]));
}

TEST_CASE("an unpacked block gives the values, group by group") {
  for (const TensorTypeInfo& info : kTensorTypes) {
    if (info.block_elements == 1) continue;
    CAPTURE(info.name);
    const auto blocks = ArbitraryBlocks(info.type, 3);
    std::vector<float> values(3 * info.block_elements);
    DequantizeReference(info.type, blocks.data(), values.size(), values.data());
    UnpackedBlock block;
    UnpackBlock(info.type, blocks.data() + info.block_bytes, &block);
    CHECK(block.elements == info.block_elements);
    CHECK((block.group == 16 || block.group == 32));
    for (size_t i = 0; i < block.elements; ++i) {
      const size_t g = i / block.group;
      const double exact =
          double{block.scales[g]} * block.quants[i] - double{block.mins[g]};
      const float value = values[info.block_elements + i];
      if (std::isfinite(exact)) CHECK(value == static_cast<float>(exact));
    }
  }
}

}  // namespace
}  // namespace dapple
