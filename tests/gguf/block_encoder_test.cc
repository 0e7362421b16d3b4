#include "gguf/block_encoder.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "gguf/quantize.h"
#include "gguf/scale_search.h"
#include "util/quant_block.h"

namespace dapple {
namespace {

std::vector<float> Normals(size_t n, unsigned seed, float sigma = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> row(n);
  for (float& value : row) value = normal(random);
  return row;
}

std::vector<float> RoundTrip(TensorType type, const std::vector<float>& row,
                             const std::vector<float>& importance = {}) {
  std::vector<std::byte> bytes(RowBytes(type, row.size()));
  REQUIRE(EncodeRow(type, row, bytes, importance));
  std::vector<float> back(row.size());
  DecodeRow(type, bytes, back);
  return back;
}

// Root of Σ w (a - b)² / Σ w a².
double RelativeError(const std::vector<float>& a, const std::vector<float>& b,
                     const std::vector<float>& w = {}) {
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double weight = w.empty() ? 1.0 : w[i];
    error += weight * (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    size += weight * double{a[i]} * a[i];
  }
  return std::sqrt(error / size);
}

bool IsQuantized(const TensorTypeInfo& info) { return info.block_elements > 1; }

TEST_CASE("encoded rows are as near as their number of bits allows") {
  // About 1.1 times what is measured on normally distributed values, whose
  // best possible (Lloyd-Max, a scale for all) error is 0.095 with 16 levels
  // and 0.34 with 4.
  const struct {
    TensorType type;
    double bound;
  } cases[] = {
      {TensorType::kQ8_0, 0.0065},  {TensorType::kQ6_K, 0.020},
      {TensorType::kQ5_0, 0.046},   {TensorType::kQ5_1, 0.041},
      {TensorType::kQ5_K, 0.042},   {TensorType::kQ4_0, 0.098},
      {TensorType::kQ4_1, 0.082},   {TensorType::kQ4_K, 0.085},
      {TensorType::kIQ4_NL, 0.083}, {TensorType::kIQ4_XS, 0.084},
      {TensorType::kMXFP4, 0.13},   {TensorType::kQ3_K, 0.17},
      {TensorType::kQ2_K, 0.33},
  };
  for (const auto& c : cases) {
    CAPTURE(InfoOf(c.type).name);
    for (const float sigma : {1e-3f, 0.02f, 1.0f, 300.0f}) {
      const auto row = Normals(256 * 16, 1, sigma);
      const double error = RelativeError(row, RoundTrip(c.type, row));
      CHECK(error < c.bound);
      CHECK(error > c.bound / 2);  // the bound means something
    }
  }
}

TEST_CASE("inputs that matter more are nearer") {
  for (const TensorTypeInfo& info : kTensorTypes) {
    if (!IsQuantized(info)) continue;
    CAPTURE(info.name);
    const auto row = Normals(256 * 16, 2);
    std::vector<float> importance(row.size(), 1.0f);
    for (size_t i = 0; i < row.size(); i += 9) importance[i] = 100.0f;
    const double plain =
        RelativeError(row, RoundTrip(info.type, row), importance);
    const double weighted =
        RelativeError(row, RoundTrip(info.type, row, importance), importance);
    CHECK(weighted < (info.type == TensorType::kQ8_0 ? 1.02 : 0.99) * plain);
    // What was never seen counts as equal, not as nothing.
    const std::vector<float> zeros(row.size(), 0.0f);
    CHECK(RelativeError(row, RoundTrip(info.type, row, zeros)) < 0.4);
  }
}

TEST_CASE("rows of zeros, of one value, of one sign and of spikes survive") {
  for (const TensorTypeInfo& info : kTensorTypes) {
    if (!IsQuantized(info)) continue;
    CAPTURE(info.name);
    const std::vector<float> zeros(512, 0.0f);
    for (const float value : RoundTrip(info.type, zeros)) CHECK(value == 0.0f);
    for (const float constant : {0.37f, -0.37f, 1e-20f, 40.0f}) {
      const std::vector<float> same(512, constant);
      // Powers of two and 1.5 times them are all that MXFP4 has.
      const float bound = info.type == TensorType::kMXFP4 ? 0.21f : 0.01f;
      for (const float value : RoundTrip(info.type, same))
        CHECK(std::fabs(value - constant) <=
              bound * std::fabs(constant) + 1e-7f);
    }
    for (const float sign : {1.0f, -1.0f}) {
      auto row = Normals(512, 3);
      for (float& value : row) value = sign * (5.0f + std::fabs(value));
      CHECK(RelativeError(row, RoundTrip(info.type, row)) < 0.25);
    }
    std::vector<float> spike(512, 0.0f);
    spike[300] = -2.0f;
    const auto back = RoundTrip(info.type, spike);
    CHECK(back[300] == doctest::Approx(-2.0f).epsilon(0.02));
    for (size_t i = 0; i < 512; ++i)
      if (i / 32 != 300 / 32) CHECK(back[i] == 0.0f);
  }
}

TEST_CASE("the largest and smallest floats neither crash nor lie") {
  for (const TensorTypeInfo& info : kTensorTypes) {
    if (!IsQuantized(info)) continue;
    CAPTURE(info.name);
    for (const float size :
         {1e-45f, 1e-38f, 1e-30f, 1e-12f, 1e4f, 1e30f, 3.4e38f}) {
      auto row = Normals(256, 4);
      for (float& value : row) value = std::tanh(value) * size;
      std::vector<std::byte> bytes(RowBytes(info.type, row.size()));
      if (!EncodeRow(info.type, row, bytes)) {
        CHECK(size > 1e5f);
        continue;
      }
      std::vector<float> back(row.size());
      DecodeRow(info.type, bytes, back);
      for (size_t i = 0; i < row.size(); ++i)
        CHECK(std::fabs(double{back[i]} - row[i]) <= 0.8 * double{size} + 1e-6);
    }
  }
}

TEST_CASE("scale searches find the scales that values were made with") {
  std::mt19937 random(5);
  std::vector<float> x(32);
  const std::vector<float> w(32, 1.0f);
  for (const float scale : {0.031f, -0.017f}) {
    for (float& value : x)
      value = scale * static_cast<float>(static_cast<int>(random() % 16) - 8);
    x[3] = -8 * scale;
    CHECK(SearchScale(UniformGrid{-8, 7}, x.data(), w.data(), 32) ==
          doctest::Approx(scale).epsilon(1e-5));
  }
  for (float& value : x)
    value = 0.05f * static_cast<float>(random() % 16) - 0.3f;
  x[0] = -0.3f;
  x[1] = 0.05f * 15 - 0.3f;
  const AffineScale fit = SearchAffine(15, true, x.data(), w.data(), 32);
  CHECK(fit.scale == doctest::Approx(0.05f).epsilon(1e-4));
  CHECK(fit.offset == doctest::Approx(-0.3f).epsilon(1e-4));
}

}  // namespace
}  // namespace dapple
