// ModelWeights: every weight by its role, with shapes checked.
//
// Matrices stay in the file's own layout and pages (views into the mapping; of
// a tensor that fuses several, each is a run of its rows);
// only vectors stored in a half-width type are copied out to float. The
// GgufFile must outlive it.
#ifndef DAPPLE_MODEL_MODEL_WEIGHTS_H_
#define DAPPLE_MODEL_MODEL_WEIGHTS_H_

#include <array>
#include <span>
#include <vector>

#include "dapple/status.h"
#include "gemm/gemm.h"
#include "model/model_config.h"

namespace dapple {

class GgufFile;

// What an architecture lacks is null.
struct LayerWeights {
  size_t index = 0;                       // of the layer
  const float* attention_norm = nullptr;  // [width]
  const float* ffn_norm = nullptr;        // [width]
  // Norms of what attention and feed-forward add to the residual.
  const float* attention_post_norm = nullptr;  // [width]
  const float* ffn_post_norm = nullptr;        // [width]
  const float* query_norm = nullptr;           // [head_dim]: of every head
  const float* key_norm = nullptr;             // [head_dim]
  const float* query_bias = nullptr;           // [query_width]
  const float* key_bias = nullptr;             // [kv_width]
  const float* value_bias = nullptr;           // [kv_width]
  WeightMatrix query;                          // [query_width, width]
  WeightMatrix key;                            // [kv_width, width]
  WeightMatrix value;                          // [kv_width, width]
  WeightMatrix output;                         // [width, query_width]
  WeightMatrix gate;                           // [ffn_width, width]
  WeightMatrix up;                             // [ffn_width, width]
  WeightMatrix down;                           // [width, ffn_width]

  // Every matrix there is.
  std::array<const WeightMatrix*, 7> Matrices() const {
    return {&query, &key, &value, &output, &gate, &up, &down};
  }
};

// A matrix's bytes in the mapped file.
inline std::span<const std::byte> PagesOf(const WeightMatrix& w) {
  return {w.data, w.row_bytes * w.n};
}

class ModelWeights {
 public:
  static Result<ModelWeights> FromGguf(const GgufFile& file,
                                       const ModelConfig& config);

  WeightMatrix embedding;  // [vocab, width]
  WeightMatrix head;       // [vocab, width]; the embedding where tied
  const float* output_norm = nullptr;  // [width]
  std::vector<LayerWeights> layers;
  uint64_t bytes = 0;  // of all tensors used, in the file

 private:
  // Floats of vectors that the file does not hold as f32.
  std::vector<std::vector<float>> owned_;
  friend class WeightReader;
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_MODEL_WEIGHTS_H_
