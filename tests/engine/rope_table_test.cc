#include "model/rope_table.h"

#include <doctest/doctest.h>

#include <cmath>

namespace dapple {
namespace {

TEST_CASE("cosines and sines are right at any position") {
  RopeConfig config;
  config.base = 500000;
  config.dims = 64;
  const RopeTable table(config);
  REQUIRE(table.half() == 32);
  for (const size_t first : {0u, 1u, 31u, 8191u, 131071u, 1000003u}) {
    std::vector<float> cos(70 * 32), sin(70 * 32);
    table.Fill(first, 70, cos.data(), sin.data());
    for (size_t row = 0; row < 70; ++row) {
      for (size_t i = 0; i < 32; ++i) {
        const double angle =
            static_cast<double>(first + row) *
            std::pow(500000.0, -2.0 * static_cast<double>(i) / 64.0);
        CHECK(std::abs(cos[row * 32 + i] - std::cos(angle)) < 1e-6);
        CHECK(std::abs(sin[row * 32 + i] - std::sin(angle)) < 1e-6);
      }
    }
  }
}

TEST_CASE("a position's angles do not depend on where the run begins") {
  RopeConfig config;
  config.dims = 16;
  const RopeTable table(config);
  std::vector<float> cos(100 * 8), sin(100 * 8), one_cos(8), one_sin(8);
  table.Fill(5, 100, cos.data(), sin.data());
  for (size_t row = 0; row < 100; ++row) {
    table.Fill(5 + row, 1, one_cos.data(), one_sin.data());
    for (size_t i = 0; i < 8; ++i) {
      CHECK(one_cos[i] == cos[row * 8 + i]);
      CHECK(one_sin[i] == sin[row * 8 + i]);
    }
  }
}

TEST_CASE("frequency factors and linear scaling divide the angle") {
  RopeConfig config;
  config.dims = 4;
  config.factors = {2.0f, 8.0f};
  config.linear_scale = 4.0;
  const RopeTable table(config);
  float cos[2], sin[2];
  table.Fill(12, 1, cos, sin);
  CHECK(cos[0] == doctest::Approx(std::cos(12.0 / 8)));
  CHECK(sin[1] == doctest::Approx(std::sin(12.0 * 0.01 / 32)));
}

// The wording of the paper's reference: a mask between two frequencies.
TEST_CASE("YaRN blends kept and stretched frequencies, and adds its factor") {
  RopeConfig config;
  config.base = 10000;
  config.dims = 64;
  config.yarn_factor = 4;
  config.original_context = 2048;
  config.magnitude = 0.1 * std::log(4.0) + 1.0;
  const RopeTable table(config);
  const auto dim_of = [](double rotations) {
    return 64 * std::log(2048 / (rotations * 2 * 3.14159265358979323846)) /
           (2 * std::log(10000.0));
  };
  const double low = std::floor(dim_of(32)), high = std::ceil(dim_of(1));
  REQUIRE(low > 0);
  REQUIRE(high < 32);
  std::vector<float> cos(32), sin(32);
  table.Fill(77, 1, cos.data(), sin.data());
  for (size_t i = 0; i < 32; ++i) {
    const double kept = std::pow(10000.0, -2.0 * static_cast<double>(i) / 64.0);
    double mask = (static_cast<double>(i) - low) / (high - low);
    mask = 1.0 - std::min(1.0, std::max(0.0, mask));
    const double angle = 77 * (kept / 4 * (1 - mask) + kept * mask);
    CHECK(std::abs(cos[i] - 1.1386294361 * std::cos(angle)) < 1e-5);
    CHECK(std::abs(sin[i] - 1.1386294361 * std::sin(angle)) < 1e-5);
  }
}

TEST_CASE("long factors serve sessions beyond the original context only") {
  ModelConfig config;
  config.architecture = FindArchitecture("phi3");
  REQUIRE(config.architecture != nullptr);
  config.rope.dims = 8;
  config.rope.original_context = 100;
  config.rope.factors = {1, 2, 3, 4};
  config.rope.long_factors = {2, 4, 8, 16};
  config.rope.magnitude = 1.5;
  const ModelRopes ropes(config);
  const auto angle_of = [&](size_t positions, size_t i) {
    float cos[4], sin[4];
    ropes.For(positions).global->Fill(1, 1, cos, sin);
    CHECK(std::hypot(cos[i], sin[i]) == doctest::Approx(1.5));
    return std::atan2(sin[i], cos[i]);
  };
  for (size_t i = 0; i < 4; ++i) {
    const double plain = std::pow(10000.0, -static_cast<double>(i) / 4.0);
    CHECK(angle_of(100, i) ==
          doctest::Approx(plain / static_cast<double>(i + 1)));
    CHECK(angle_of(101, i) ==
          doctest::Approx(plain / static_cast<double>(2 << i)));
  }
  CHECK(ropes.For(100).local == ropes.For(100).global);
}

TEST_CASE("windowed layers have a base of their own where they should") {
  ModelConfig config;
  config.architecture = FindArchitecture("gemma3");
  REQUIRE(config.architecture != nullptr);
  config.rope.dims = 4;
  config.rope.base = 1e6;
  config.rope.linear_scale = 8;
  config.local_rope_base = 1e4;
  const ModelRopes tables(config);
  const LayerRopes ropes = tables.For(10);
  float cos[2], sin[2];
  ropes.local->Fill(3, 1, cos, sin);
  CHECK(sin[0] == doctest::Approx(std::sin(3.0)));
  CHECK(sin[1] == doctest::Approx(std::sin(3.0 / 100)));
  ropes.global->Fill(3, 1, cos, sin);
  CHECK(sin[0] == doctest::Approx(std::sin(3.0 / 8)));
  CHECK(sin[1] == doctest::Approx(std::sin(3.0 / 8 / 1000)));
}

}  // namespace
}  // namespace dapple
