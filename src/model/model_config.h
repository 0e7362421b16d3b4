// ModelConfig: the hyper-parameters of one model file, checked.
//
// What differs between architectures is data here, so that one decoder layer
// serves all of them. Read from GGUF metadata ("llama.*" keys and the like);
// every value is bounded before it is used in a size.
#ifndef DAPPLE_MODEL_MODEL_CONFIG_H_
#define DAPPLE_MODEL_MODEL_CONFIG_H_

#include <cstddef>
#include <string>
#include <vector>

#include "dapple/status.h"
#include "kernels/rope.h"

namespace dapple {

class GgufFile;

struct RopeConfig {
  double base = 10000.0;  // theta
  size_t dims = 0;        // rotated dims a head, even
  kernels::RopePairs pairs = kernels::RopePairs::kAdjacent;
  double linear_scale = 1.0;  // positions are divided by this
  // Round each frequency to bfloat16, as a framework does that casts a whole
  // module through it: for comparing with such a reference only.
  bool bf16_frequencies = false;
  // Divides each frequency (llama-3 scaling, stored as rope_freqs.weight);
  // [dims / 2] or empty for all ones.
  std::vector<float> factors;
};

struct ModelConfig {
  std::string architecture;
  std::string name;
  size_t layers = 0;
  size_t width = 0;      // d: the residual stream
  size_t ffn_width = 0;  // hidden width of the feed-forward block
  size_t heads = 0;      // query heads
  size_t kv_heads = 0;   // key/value heads; divides heads
  size_t head_dim = 0;
  size_t vocab = 0;
  size_t context = 0;  // tokens the model was trained for
  float norm_epsilon = 0;
  float attention_scale = 0;  // multiplies q·k
  RopeConfig rope;

  size_t query_width() const { return heads * head_dim; }
  size_t kv_width() const { return kv_heads * head_dim; }
  size_t group() const { return heads / kv_heads; }

  // kUnsupported for an architecture or feature Dapple does not have,
  // kCorrupt for missing or contradictory values; messages name the file.
  static Result<ModelConfig> FromGguf(const GgufFile& file);
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_MODEL_CONFIG_H_
