#include "model/rope_table.h"

#include <algorithm>
#include <cmath>

#include "util/half.h"

namespace dapple {

RopeTable::RopeTable(const RopeConfig& config)
    : frequencies_(config.dims / 2),
      offset_cos_(kBlock * half()),
      offset_sin_(kBlock * half()) {
  for (size_t i = 0; i < half(); ++i) {
    const double exponent =
        -2.0 * static_cast<double>(i) / static_cast<double>(config.dims);
    const double factor = config.factors.empty() ? 1.0 : config.factors[i];
    frequencies_[i] =
        std::pow(config.base, exponent) / (factor * config.linear_scale);
    if (config.bf16_frequencies)
      frequencies_[i] = ToFloat(ToBF16(static_cast<float>(frequencies_[i])));
  }
  for (size_t row = 0; row < kBlock; ++row) {
    for (size_t i = 0; i < half(); ++i) {
      const double angle = static_cast<double>(row) * frequencies_[i];
      offset_cos_[row * half() + i] = std::cos(angle);
      offset_sin_[row * half() + i] = std::sin(angle);
    }
  }
}

void RopeTable::Fill(size_t first, size_t count, float* cos, float* sin) const {
  // Blocks start at multiples of kBlock, so that a position's values do not
  // depend on where the run begins (results must not depend on tiling).
  size_t row = 0;
  while (row < count) {
    const size_t position = first + row;
    const size_t block = position / kBlock * kBlock;
    const size_t offset = position - block;
    const size_t rows = std::min(kBlock - offset, count - row);
    for (size_t i = 0; i < half(); ++i) {
      const double angle = static_cast<double>(block) * frequencies_[i];
      const double base_cos = std::cos(angle), base_sin = std::sin(angle);
      for (size_t r = 0; r < rows; ++r) {
        const double step_cos = offset_cos_[(offset + r) * half() + i];
        const double step_sin = offset_sin_[(offset + r) * half() + i];
        cos[(row + r) * half() + i] =
            static_cast<float>(base_cos * step_cos - base_sin * step_sin);
        sin[(row + r) * half() + i] =
            static_cast<float>(base_sin * step_cos + base_cos * step_sin);
      }
    }
    row += rows;
  }
}

}  // namespace dapple
