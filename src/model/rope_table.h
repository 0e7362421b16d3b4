// RopeTable: cosines and sines of the rotary embedding for runs of positions.
//
// Angles are exact to double precision at any position: a block of positions
// takes one sincos a frequency at its first position, and the rest of the
// block follows by rotating with precomputed offsets. Owns kBlock * dims
// doubles, made at construction; Fill allocates nothing.
#ifndef DAPPLE_MODEL_ROPE_TABLE_H_
#define DAPPLE_MODEL_ROPE_TABLE_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "model/model_config.h"

namespace dapple {

class RopeTable {
 public:
  // long_context: with config.long_factors, where there are any.
  explicit RopeTable(const RopeConfig& config, bool long_context = false);

  size_t half() const { return frequencies_.size(); }  // dims / 2

  // cos, sin: [count, half] for positions first … first + count - 1, times
  // RopeConfig::magnitude.
  void Fill(size_t first, size_t count, float* cos, float* sin) const;

 private:
  static constexpr size_t kBlock = 32;

  static std::vector<double> Frequencies(const RopeConfig& config,
                                         bool long_context);

  std::vector<double> frequencies_;  // [half], radians a position
  std::vector<double> offset_cos_;   // [kBlock, half]
  std::vector<double> offset_sin_;   // [kBlock, half]
};

// The tables that a session's layers rotate with; the model owns them.
struct LayerRopes {
  const RopeTable* global = nullptr;
  const RopeTable* local = nullptr;  // of windowed layers
};

// Every table of a model.
class ModelRopes {
 public:
  explicit ModelRopes(const ModelConfig& config);

  // For a session of so many positions.
  LayerRopes For(size_t positions) const;

 private:
  size_t original_context_;
  RopeTable global_;
  std::optional<RopeTable> long_;   // beyond original_context_
  std::optional<RopeTable> local_;  // of windowed layers
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_ROPE_TABLE_H_
