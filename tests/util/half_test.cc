#include "util/half.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

namespace dapple {
namespace {

TEST_CASE("every binary16 value survives a round trip") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 value{static_cast<uint16_t>(bits)};
    const float wide = ToFloat(value);
    if (std::isnan(wide)) {
      CHECK(std::isnan(ToFloat(ToF16(wide))));
    } else {
      REQUIRE(ToF16(wide).bits == value.bits);
    }
  }
}

TEST_CASE("binary16 rounds to nearest, ties to even") {
  CHECK(ToF16(1.0f + 0x1p-11f).bits == 0x3C00);  // tie, even below
  CHECK(ToF16(1.0f + 3 * 0x1p-11f).bits == 0x3C02);  // tie, even above
  CHECK(ToF16(65519.0f).bits == 0x7BFF);
  CHECK(ToF16(65520.0f).bits == 0x7C00);
  CHECK(ToF16(0x1p-25f).bits == 0);  // tie to zero
  CHECK(ToF16(0x1.8p-25f).bits == 1);
  CHECK(ToF16(-0.0f).bits == 0x8000);
}

TEST_CASE("every bfloat16 value survives a round trip; ties go to even") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BF16 value{static_cast<uint16_t>(bits)};
    if (!std::isnan(ToFloat(value)))
      REQUIRE(ToBF16(ToFloat(value)).bits == value.bits);
  }
  CHECK(ToBF16(1.0f + 0x1p-8f).bits == 0x3F80);
  CHECK(ToBF16(1.0f + 3 * 0x1p-8f).bits == 0x3F82);
  CHECK(std::isnan(
      ToFloat(ToBF16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace dapple
