// A tiny random model for tests: written to a temporary GGUF file, with its
// weights also at hand as doubles for an independent reference.
#ifndef DAPPLE_TESTS_TINY_MODEL_H_
#define DAPPLE_TESTS_TINY_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "dapple/tokenizer.h"

namespace dapple::test {

struct TinyShape {
  size_t layers = 3;
  size_t width = 64;
  size_t ffn = 96;
  size_t heads = 4;
  size_t kv_heads = 2;
  size_t head_dim = 16;
  size_t vocab = 300;
  size_t context = 512;
  // "llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3" or "smollm3".
  std::string architecture = "llama";
  size_t window = 0;  // gemma2, gemma3, llama, phi3
  // For files that lie: more keys (under the architecture's prefix), and a
  // vector of `width` floats that no model has.
  std::vector<std::pair<std::string, uint32_t>> extra_numbers = {};
  std::vector<std::pair<std::string, std::string>> extra_texts = {};
  std::string extra_tensor = {};
  size_t rope_dims = 0;       // elements of a head that rotate; 0: all
  bool rope_factors = false;  // llama: rope_freqs.weight, as Llama 3 has it
  // phi3: LongRoPE. The reference rotates by the long factors: for sessions of
  // more positions than this.
  size_t original_context = 0;

  // What sets each apart, told here independently of src/.
  bool Is(const char* name) const { return architecture == name; }
  bool gemma() const { return Is("gemma2") || Is("gemma3"); }
  bool qk_norm() const { return Is("qwen3") || Is("gemma3"); }
  // Keys that a row of the layer sees, itself included; 0: all.
  size_t WindowOf(size_t layer) const {
    if (Is("gemma2") && layer % 2 == 1) return 0;
    if (Is("gemma3") && layer % 6 == 5) return 0;
    return window;
  }
  double attention_cap() const { return Is("gemma2") ? 5.0 : 0.0; }
  size_t rotated() const { return rope_dims == 0 ? head_dim : rope_dims; }
  double logit_cap() const { return Is("gemma2") ? 3.0 : 0.0; }
};

class TinyModel {
 public:
  // Deterministic in `seed`. The file is removed by the destructor.
  explicit TinyModel(const TinyShape& shape, uint32_t seed = 1);
  ~TinyModel();
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  const TinyShape& shape() const { return shape_; }
  const std::string& path() const { return path_; }

  // The whole model in double precision with full attention matrices: logits
  // of every row, [ids, vocab]. Plain loops; shares no code with src/.
  std::vector<std::vector<double>> ReferenceLogits(
      const std::vector<TokenId>& ids) const;

  // One layer of that computation: rotated queries and keys, and values, a
  // row a token: [ids][heads * head_dim] and [ids][kv_heads * head_dim].
  struct LayerTrace {
    std::vector<std::vector<double>> queries, keys, values;
    size_t window = 0;
    double cap = 0;
  };
  // As above; also fills *layers when it is not null.
  std::vector<std::vector<double>> ReferenceLogits(
      const std::vector<TokenId>& ids, std::vector<LayerTrace>* layers) const;
  // Row-major [width, heads * head_dim] of a layer's output projection.
  const std::vector<float>& OutputProjection(size_t layer) const;

 private:
  const std::vector<float>& W(const std::string& name) const {
    return weights_.at(name);
  }

  TinyShape shape_;
  std::string path_;
  std::map<std::string, std::vector<float>> weights_;
};

// `count` ids in [0, vocab), deterministic in `seed`.
std::vector<TokenId> RandomIds(size_t count, size_t vocab, uint32_t seed);

}  // namespace dapple::test

#endif  // DAPPLE_TESTS_TINY_MODEL_H_
