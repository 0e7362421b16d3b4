// TensorMix: which type each tensor of a file gets when it is quantized.
//
// The mixtures are those that GGUF producers share under the same names, so
// that a "q4_k_m" file is what people expect of one.
#ifndef DAPPLE_GGUF_TENSOR_MIX_H_
#define DAPPLE_GGUF_TENSOR_MIX_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf_file.h"
#include "util/tensor_type.h"

namespace dapple {

struct TensorMix {
  std::string_view name;  // "q4_k_m"
  TensorType type;        // of most matrices
  uint32_t file_type;     // general.file_type
  bool mixed;             // the tensors that suffer most get more bits

  // nullptr: no such name.
  static const TensorMix* Find(std::string_view name);
  static const std::vector<TensorMix>& All();

  // Whether a tensor is quantized at all: matrices that multiply activations.
  static bool Applies(const GgufTensor& tensor);
  // The type for a matrix that Applies(); `layers` of the model, `tied` when
  // the embedding makes the logits too. *fallback is set when the wanted type
  // does not divide its rows.
  TensorType TypeFor(const GgufTensor& tensor, uint64_t layers, bool tied,
                     bool pure, bool* fallback) const;
};

}  // namespace dapple

#endif  // DAPPLE_GGUF_TENSOR_MIX_H_
