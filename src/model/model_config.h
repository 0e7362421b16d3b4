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
#include "gguf/architecture.h"
#include "kernels/attention_params.h"
#include "kernels/rope.h"

namespace dapple {

class GgufFile;

struct RopeConfig {
  double base = 10000.0;  // theta
  size_t dims = 0;        // rotated dims a head, even
  kernels::RopePairs pairs = kernels::RopePairs::kAdjacent;
  double linear_scale = 1.0;  // positions are divided by this
  // YaRN (Peng et al. 2023, arXiv 2309.00071 §3.2): frequencies of less than
  // beta_slow turns in the original context are divided by yarn_factor, those
  // of more than beta_fast are kept. yarn_factor 0: no YaRN.
  double yarn_factor = 0.0;
  double yarn_beta_fast = 32.0;
  double yarn_beta_slow = 1.0;
  size_t original_context = 0;  // that YaRN or long_factors stretch
  double magnitude = 1.0;       // of cosines and sines
  // Round each frequency to bfloat16, as a framework does that casts a whole
  // module through it: for comparing with such a reference only.
  bool bf16_frequencies = false;
  // Divides each frequency (llama-3 scaling, stored as rope_freqs.weight, or
  // LongRoPE's short factors); [dims / 2] or empty for all ones.
  std::vector<float> factors;
  // LongRoPE (Ding et al. 2024, arXiv 2402.13753): in place of `factors` where
  // a session is longer than original_context; [dims / 2] or empty.
  std::vector<float> long_factors;
};

struct ModelConfig {
  const Architecture* architecture = nullptr;  // one of kArchitectures
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
  float attention_scale = 0;    // multiplies q·k
  float attention_softcap = 0;  // of the scaled q·k; 0: none
  float logit_softcap = 0;      // 0: none
  float embedding_scale = 1;    // multiplies rows of the embedding
  // Of the layers that have a sliding window; 0: no layer has one.
  size_t window = 0;
  RopeConfig rope;
  double local_rope_base = 10000.0;  // of windowed layers (local_rope)

  size_t query_width() const { return heads * head_dim; }
  size_t kv_width() const { return kv_heads * head_dim; }
  size_t group() const { return heads / kv_heads; }

  // Tokens that a layer's rows see, their own included; 0: all before them.
  size_t WindowOf(size_t layer) const {
    return architecture->Windowed(layer) ? window : 0;
  }
  // Of `length` prompt keys, the first that the token after them sees.
  size_t FirstSeen(size_t layer, size_t length) const {
    const size_t seen = WindowOf(layer);
    return seen == 0 || length < seen ? 0 : length + 1 - seen;
  }
  kernels::AttentionParams AttentionOf(size_t layer) const {
    return {attention_scale, WindowOf(layer), attention_softcap};
  }
  // The rotary embedding of windowed layers, where they have their own.
  RopeConfig LocalRope() const {
    RopeConfig local;
    local.base = local_rope_base;
    local.dims = rope.dims;
    local.pairs = rope.pairs;
    local.bf16_frequencies = rope.bf16_frequencies;
    return local;
  }

  // kUnsupported for an architecture or feature Dapple does not have,
  // kCorrupt for missing or contradictory values; messages name the file.
  static Result<ModelConfig> FromGguf(const GgufFile& file);
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_MODEL_CONFIG_H_
