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

}  // namespace
}  // namespace dapple
