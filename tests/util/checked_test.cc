#include "util/checked.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <limits>

namespace dapple {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST_CASE("checked sums and products report what does not fit 64 bits") {
  uint64_t out = 0;
  CHECK(CheckedAdd(kMax - 1, 1, &out));
  CHECK(out == kMax);
  CHECK_FALSE(CheckedAdd(kMax, 1, &out));
  CHECK(CheckedMul(uint64_t{1} << 32, (uint64_t{1} << 32) - 1, &out));
  CHECK(out == (((uint64_t{1} << 32) - 1) << 32));
  CHECK_FALSE(CheckedMul(uint64_t{1} << 32, uint64_t{1} << 32, &out));
  CHECK(CheckedMul(kMax, 0, &out));
  CHECK(out == 0);
}

TEST_CASE("aligning up agrees with counting up, and reports overflow") {
  for (uint64_t alignment : {1, 2, 32, 64, 4096}) {
    for (uint64_t value : {0, 1, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097}) {
      uint64_t expected = value;
      while (expected % alignment != 0) ++expected;
      CHECK(AlignUp(value, alignment) == expected);
      uint64_t out = 0;
      CHECK(CheckedAlignUp(value, alignment, &out));
      CHECK(out == expected);
    }
  }
  uint64_t out = 0;
  CHECK_FALSE(CheckedAlignUp(kMax - 5, 64, &out));
  CHECK(CheckedAlignUp(kMax - 63, 64, &out));
  CHECK(out == kMax - 63);
}

TEST_CASE("division rounds up") {
  CHECK(CeilDiv(0, 7) == 0);
  CHECK(CeilDiv(1, 7) == 1);
  CHECK(CeilDiv(7, 7) == 1);
  CHECK(CeilDiv(8, 7) == 2);
}

}  // namespace
}  // namespace dapple
