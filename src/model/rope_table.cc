#include "model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "util/half.h"

namespace dapple {

std::vector<double> RopeTable::Frequencies(const RopeConfig& config,
                                           bool long_context) {
  const size_t half = config.dims / 2;
  const double dims = static_cast<double>(config.dims);
  const std::vector<float>& factors =
      long_context && !config.long_factors.empty() ? config.long_factors
                                                   : config.factors;
  // The dim whose wavelength fits `turns` times into the original context.
  const auto dim_of = [&](double turns) {
    const double length = static_cast<double>(config.original_context);
    return dims * std::log(length / (turns * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(config.base));
  };
  double low = 0, high = 0;
  if (config.yarn_factor != 0) {
    low = std::max(0.0, std::floor(dim_of(config.yarn_beta_fast)));
    high = std::min(dims - 1.0, std::ceil(dim_of(config.yarn_beta_slow)));
  }
  std::vector<double> frequencies(half);
  for (size_t i = 0; i < half; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / dims;
    const double factor = factors.empty() ? 1.0 : factors[i];
    double frequency =
        std::pow(config.base, exponent) / (factor * config.linear_scale);
    if (config.yarn_factor != 0) {
      const double ramp = std::clamp(
          (static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0,
          1.0);
      frequency *= ramp / config.yarn_factor + (1.0 - ramp);
    }
    if (config.bf16_frequencies)
      frequency = ToFloat(ToBF16(static_cast<float>(frequency)));
    frequencies[i] = frequency;
  }
  return frequencies;
}

RopeTable::RopeTable(const RopeConfig& config, bool long_context)
    : frequencies_(Frequencies(config, long_context)),
      offset_cos_(kBlock * half()),
      offset_sin_(kBlock * half()) {
  for (size_t row = 0; row < kBlock; ++row) {
    for (size_t i = 0; i < half(); ++i) {
      const double angle = static_cast<double>(row) * frequencies_[i];
      offset_cos_[row * half() + i] = config.magnitude * std::cos(angle);
      offset_sin_[row * half() + i] = config.magnitude * std::sin(angle);
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

ModelRopes::ModelRopes(const ModelConfig& config)
    : original_context_(config.rope.original_context), global_(config.rope) {
  if (!config.rope.long_factors.empty()) long_.emplace(config.rope, true);
  if (config.architecture->local_rope) local_.emplace(config.LocalRope());
}

LayerRopes ModelRopes::For(size_t positions) const {
  const RopeTable* global =
      long_.has_value() && positions > original_context_ ? &*long_ : &global_;
  return {global, local_.has_value() ? &*local_ : global};
}

}  // namespace dapple
