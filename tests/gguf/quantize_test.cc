#include "gguf/quantize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace dapple {
namespace {

constexpr TensorType kAll[] = {TensorType::kF32, TensorType::kF16,
                               TensorType::kBF16, TensorType::kQ8_0,
                               TensorType::kQ4_0};

std::vector<std::byte> Encode(TensorType type, const std::vector<float>& row) {
  std::vector<std::byte> out(RowBytes(type, row.size()));
  REQUIRE(EncodeRow(type, row, out));
  return out;
}

std::vector<float> RoundTrip(TensorType type, const std::vector<float>& row) {
  std::vector<float> back(row.size());
  DecodeRow(type, Encode(type, row), back);
  return back;
}

template <class Block>
Block FirstBlock(const std::vector<std::byte>& bytes) {
  Block block;
  std::memcpy(&block, bytes.data(), sizeof(block));
  return block;
}

std::vector<float> RandomRow(size_t n, unsigned seed, float sigma) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> row(n);
  for (float& value : row) value = normal(random);
  return row;
}

TEST_CASE("q8_0 blocks hold the values computed in double precision") {
  for (const float sigma : {1e-3f, 0.02f, 1.0f, 300.0f}) {
    const std::vector<float> row = RandomRow(32 * 40, 1, sigma);
    const std::vector<std::byte> bytes = Encode(TensorType::kQ8_0, row);
    size_t different = 0;
    for (size_t b = 0; b < row.size() / 32; ++b) {
      BlockQ8_0 block;
      std::memcpy(&block, bytes.data() + b * sizeof(block), sizeof(block));
      double largest = 0;
      for (size_t i = 0; i < 32; ++i)
        largest = std::max(largest, std::fabs(double{row[b * 32 + i]}));
      const double scale = largest / 127.0;
      CHECK(block.scale.bits == ToF16(static_cast<float>(scale)).bits);
      for (size_t i = 0; i < 32; ++i) {
        const double exact = row[b * 32 + i] / scale;
        // Within half a step, but for float rounding at an exact half.
        REQUIRE(std::fabs(exact - block.quants[i]) <= 0.5 + 1e-4);
        different += block.quants[i] != std::lround(exact);
      }
    }
    CHECK(different <= 1);
  }
}

TEST_CASE("q4_0 blocks hold the values computed in double precision") {
  for (const float sigma : {1e-3f, 0.02f, 1.0f, 300.0f}) {
    const std::vector<float> row = RandomRow(32 * 40, 2, sigma);
    const std::vector<std::byte> bytes = Encode(TensorType::kQ4_0, row);
    for (size_t b = 0; b < row.size() / 32; ++b) {
      BlockQ4_0 block;
      std::memcpy(&block, bytes.data() + b * sizeof(block), sizeof(block));
      const float* x = row.data() + b * 32;
      const float extreme = *std::max_element(x, x + 32, [](float a, float c) {
        return std::fabs(a) < std::fabs(c);
      });
      const double scale = extreme / -8.0;
      CHECK(block.scale.bits == ToF16(static_cast<float>(scale)).bits);
      for (size_t i = 0; i < 32; ++i) {
        const int nibble =
            i < 16 ? block.nibbles[i] & 15 : block.nibbles[i - 16] >> 4;
        const double exact = x[i] / scale;  // in [-8, 8]
        if (exact <= 7.0)
          REQUIRE(std::fabs(exact - (nibble - 8)) <= 0.5 + 1e-4);
        else
          REQUIRE(nibble == 15);
      }
    }
  }
}

TEST_CASE("rounding and layout of quantized blocks are the format's own") {
  std::vector<float> row(32, 0.0f);
  row[0] = 127.0f;  // scale 1
  row[1] = 2.5f;    // halves away from zero
  row[2] = -2.5f;
  row[31] = -127.0f;
  const auto q8 = FirstBlock<BlockQ8_0>(Encode(TensorType::kQ8_0, row));
  CHECK(ToFloat(q8.scale) == 1.0f);
  CHECK(q8.quants[0] == 127);
  CHECK(q8.quants[1] == 3);
  CHECK(q8.quants[2] == -3);
  CHECK(q8.quants[31] == -127);

  std::fill(row.begin(), row.end(), 0.0f);
  row[3] = -8.0f;  // the extreme is negative: scale 1
  row[4] = 7.0f;
  row[16 + 3] = 8.0f;  // the mirror of the extreme is out of range
  row[16 + 4] = -1.0f;
  const auto q4 = FirstBlock<BlockQ4_0>(Encode(TensorType::kQ4_0, row));
  CHECK(ToFloat(q4.scale) == 1.0f);
  CHECK(q4.nibbles[0] == 0x88);
  CHECK(q4.nibbles[3] == (0 | 15 << 4));
  CHECK(q4.nibbles[4] == (15 | 7 << 4));
  row[3] = 0.0f;  // now the extreme is positive: scale -1
  const std::vector<float> back = RoundTrip(TensorType::kQ4_0, row);
  CHECK(back[16 + 3] == 8.0f);
  CHECK(back[4] == 7.0f);
  CHECK(back[16 + 4] == -1.0f);
}

TEST_CASE("blocks of zeros, denormals and one spike survive") {
  for (const TensorType type : kAll) {
    CAPTURE(InfoOf(type).name);
    const std::vector<float> zeros(96, 0.0f);
    CHECK(RoundTrip(type, zeros) == zeros);
    std::vector<float> spike(64, 0.0f);
    spike[40] = -2.0f;
    const std::vector<float> back = RoundTrip(type, spike);
    CHECK(back[40] == doctest::Approx(-2.0f).epsilon(1e-3));
    CHECK(back[39] == 0.0f);
    std::vector<float> denormals(32, 1e-45f);
    denormals[7] = -3e-45f;
    for (const float value : RoundTrip(type, denormals))
      CHECK(std::fabs(value) < 1e-40f);
  }
}

TEST_CASE("plain types keep what they can represent") {
  const std::vector<float> exact = {0.0f, -1.5f, 0.25f, 96.0f, -0.0625f};
  for (const TensorType type :
       {TensorType::kF32, TensorType::kF16, TensorType::kBF16})
    CHECK(RoundTrip(type, exact) == exact);
  const std::vector<float> any = RandomRow(77, 5, 3.0f);
  CHECK(RoundTrip(TensorType::kF32, any) == any);
}

TEST_CASE("values that a type cannot hold are reported") {
  const auto fails = [](TensorType type, float value) {
    std::vector<float> row(32, 0.5f);
    row[9] = value;
    std::vector<std::byte> out(RowBytes(type, row.size()));
    return !EncodeRow(type, row, out);
  };
  for (const TensorType type : kAll) {
    CAPTURE(InfoOf(type).name);
    CHECK(fails(type, std::numeric_limits<float>::quiet_NaN()));
    CHECK(fails(type, -std::numeric_limits<float>::infinity()));
  }
  CHECK(fails(TensorType::kF16, 65520.0f));
  CHECK_FALSE(fails(TensorType::kF16, 65504.0f));
  CHECK(fails(TensorType::kQ8_0, 1e8f));
  CHECK_FALSE(fails(TensorType::kQ8_0, 8e6f));
  CHECK(fails(TensorType::kQ4_0, -1e8f));
  CHECK(fails(TensorType::kBF16, 3.4028e38f));
  CHECK_FALSE(fails(TensorType::kF32, 3.4028e38f));
}

}  // namespace
}  // namespace dapple
