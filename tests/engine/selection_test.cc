#include "policy/selection.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

namespace dapple {
namespace {

std::vector<uint32_t> Select(const std::vector<float>& scores, size_t keep,
                             Pins pins = {}) {
  std::vector<float> work(scores.size());
  std::vector<uint32_t> kept(std::min(keep, scores.size()));
  CHECK(SelectTop(scores, keep, pins, work, kept) == kept.size());
  return kept;
}

TEST_CASE("the largest scores are kept, in order; ties go to the earlier") {
  CHECK(Select({1, 5, 3, 4}, 2) == std::vector<uint32_t>{1, 3});
  CHECK(Select({2, 2, 2, 2}, 3) == std::vector<uint32_t>{0, 1, 2});
  CHECK(Select({0, 2, 1, 2, 1, 1}, 4) == std::vector<uint32_t>{1, 2, 3, 4});
  CHECK(Select({1, 2}, 9) == std::vector<uint32_t>{0, 1});
  CHECK(Select({1, 2}, 0).empty());
  CHECK(Select({}, 3).empty());
}

TEST_CASE("pins are kept whatever their score, the newest first of all") {
  CHECK(Select({0, 0, 9, 8, 0, 0}, 4, {1, 2}) ==
        std::vector<uint32_t>{0, 2, 4, 5});
  CHECK(Select({0, 0, 9, 8, 0, 0}, 2, {4, 2}) == std::vector<uint32_t>{4, 5});
  CHECK(Select({0, 0, 9, 8, 0, 0}, 3, {4, 2}) ==
        std::vector<uint32_t>{0, 4, 5});
  CHECK(Select({0, 0}, 2, {4, 4}) == std::vector<uint32_t>{0, 1});
}

TEST_CASE("NaN and infinities have their place") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(Select({nan, 1, nan, inf, -inf}, 2) == std::vector<uint32_t>{1, 3});
  CHECK(Select({nan, nan, nan}, 2) == std::vector<uint32_t>{0, 1});
}

TEST_CASE("selection and pooling agree with sorting and plain maxima") {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 1 + random() % 60;
    std::vector<float> scores(n);
    for (float& score : scores) score = static_cast<float>(random() % 9);
    const size_t keep = random() % (n + 2);
    std::vector<uint32_t> order(n);
    for (size_t i = 0; i < n; ++i) order[i] = static_cast<uint32_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return scores[a] > scores[b];
    });
    order.resize(std::min(keep, n));
    std::sort(order.begin(), order.end());
    CHECK(Select(scores, keep) == order);

    const size_t width = 1 + 2 * (random() % 5);
    std::vector<float> pooled(n);
    MaxPool(scores, width, pooled);
    for (size_t i = 0; i < n; ++i) {
      float largest = scores[i];
      for (size_t j = 0; j < n; ++j)
        if (std::max(i, j) - std::min(i, j) <= width / 2)
          largest = std::max(largest, scores[j]);
      REQUIRE(pooled[i] == largest);
    }
  }
}

}  // namespace
}  // namespace dapple
