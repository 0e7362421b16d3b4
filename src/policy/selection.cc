#include "policy/selection.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace dapple {
namespace {

// Scores as they are compared: NaN below everything.
float Comparable(float score) {
  return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
}

}  // namespace

void MaxPool(std::span<const float> in, size_t width, std::span<float> out) {
  const size_t half = width / 2;
  // Direct: width is small (7), and this is n × width comparisons a layer.
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t begin = i < half ? 0 : i - half;
    const size_t end = std::min(in.size(), i + half + 1);
    float largest = Comparable(in[begin]);
    for (size_t j = begin + 1; j < end; ++j)
      largest = std::max(largest, Comparable(in[j]));
    out[i] = largest;
  }
}

void MaxPool(std::span<const float> in, std::span<const uint32_t> places,
             size_t next, size_t width, std::span<float> out) {
  const auto place = [&](size_t i) {
    return i < places.size() ? size_t{places[i]} : next + i - places.size();
  };
  const size_t half = width / 2;
  size_t begin = 0, end = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t at = place(i);
    while (place(begin) + half < at) ++begin;
    while (end < in.size() && place(end) <= at + half) ++end;
    float largest = Comparable(in[begin]);
    for (size_t j = begin + 1; j < end; ++j)
      largest = std::max(largest, Comparable(in[j]));
    out[i] = largest;
  }
}

size_t SelectTop(std::span<const float> scores, size_t keep, const Pins& pins,
                 std::span<float> work, std::span<uint32_t> kept) {
  const size_t n = scores.size();
  keep = std::min(keep, n);
  // [0, first) and [last, n) are kept anyway.
  const size_t from_end = std::min(pins.last, keep);
  const size_t first = std::min(pins.first, keep - from_end);
  const size_t last = n - from_end;
  const size_t wanted = keep - from_end - first;  // among [first, last)

  float threshold = std::numeric_limits<float>::infinity();
  size_t at_threshold = 0;  // how many of those equal to it are taken
  if (wanted > 0) {
    size_t count = 0;
    for (size_t i = first; i < last; ++i) work[count++] = Comparable(scores[i]);
    float* const nth = work.data() + (wanted - 1);
    std::nth_element(work.data(), nth, work.data() + count, std::greater<>());
    threshold = *nth;
    size_t above = 0;
    for (size_t i = first; i < last; ++i)
      above += Comparable(scores[i]) > threshold;
    at_threshold = wanted - above;
  }
  size_t out = 0;
  for (size_t i = 0; i < n; ++i) {
    bool take = i < first || i >= last;
    if (!take && wanted > 0) {
      const float score = Comparable(scores[i]);
      take = score > threshold;
      if (score == threshold && at_threshold > 0) {
        --at_threshold;
        take = true;
      }
    }
    if (take) kept[out++] = static_cast<uint32_t>(i);
  }
  return out;
}

double Coverage(std::span<const float> scores, std::span<const uint32_t> kept) {
  double total = 0, covered = 0;
  for (float score : scores) total += score;
  for (uint32_t i : kept) covered += scores[i];
  return total > 0 ? covered / total : 1.0;
}

}  // namespace dapple
