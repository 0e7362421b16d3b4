#include "needle_score.h"

#include <algorithm>
#include <cmath>

namespace dapple::tool {
namespace {

std::string Lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace

double ShareFound(const std::string& output,
                  const std::vector<std::string>& expected) {
  const std::string text = Lower(output);
  size_t found = 0;
  for (const std::string& answer : expected)
    if (text.find(Lower(answer)) != std::string::npos) ++found;
  return static_cast<double>(found) / static_cast<double>(expected.size());
}

Interval WilsonInterval(double mean, size_t count) {
  if (count == 0) return {};
  constexpr double kZ = 1.959963984540054;  // normal quantile of 0.975
  const double n = static_cast<double>(count);
  const double scale = 1 + kZ * kZ / n;
  const double middle = (mean + kZ * kZ / (2 * n)) / scale;
  const double half =
      kZ / scale * std::sqrt(mean * (1 - mean) / n + kZ * kZ / (4 * n * n));
  // At 0 and 1 the ends are exact; rounding must not cross them.
  return {mean <= 0 ? 0.0 : std::max(0.0, middle - half),
          mean >= 1 ? 1.0 : std::min(1.0, middle + half)};
}

}  // namespace dapple::tool
