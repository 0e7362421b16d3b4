// RopeTable: cosines and sines of the rotary embedding for runs of positions.
//
// Angles are exact to double precision at any position: a block of positions
// takes one sincos a frequency at its first position, and the rest of the
// block follows by rotating with precomputed offsets. Owns kBlock * dims
// doubles, made at construction; Fill allocates nothing.
#ifndef DAPPLE_MODEL_ROPE_TABLE_H_
#define DAPPLE_MODEL_ROPE_TABLE_H_

#include <cstddef>
#include <vector>

#include "model/model_config.h"

namespace dapple {

class RopeTable {
 public:
  explicit RopeTable(const RopeConfig& config);

  size_t half() const { return frequencies_.size(); }  // dims / 2

  // cos, sin: [count, half] for positions first … first + count - 1.
  void Fill(size_t first, size_t count, float* cos, float* sin) const;

 private:
  static constexpr size_t kBlock = 32;

  std::vector<double> frequencies_;  // [half], radians a position
  std::vector<double> offset_cos_;   // [kBlock, half]
  std::vector<double> offset_sin_;   // [kBlock, half]
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_ROPE_TABLE_H_
