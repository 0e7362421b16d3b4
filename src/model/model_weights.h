// ModelWeights: every weight by its role, with shapes checked.
//
// Matrices stay in the file's own layout and pages (views into the mapping);
// only norm weights stored in a half-width type are copied out to float. The
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

struct LayerWeights {
  const float* attention_norm = nullptr;  // [width]
  const float* ffn_norm = nullptr;        // [width]
  WeightMatrix query;                     // [query_width, width]
  WeightMatrix key;                       // [kv_width, width]
  WeightMatrix value;                     // [kv_width, width]
  WeightMatrix output;                    // [width, query_width]
  WeightMatrix gate;                      // [ffn_width, width]
  WeightMatrix up;                        // [ffn_width, width]
  WeightMatrix down;                      // [width, ffn_width]
};

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
  // Floats of norms that the file does not hold as f32.
  std::vector<std::vector<float>> owned_;
  friend class WeightReader;
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_MODEL_WEIGHTS_H_
