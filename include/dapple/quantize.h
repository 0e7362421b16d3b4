// Quantize: a GGUF file to another with smaller tensor types.
//
// Tensor by tensor and a megabyte at a time: memory does not grow with the
// model. All metadata is kept but general.file_type. The output appears under
// its name only when complete; it may not be the input.
#ifndef DAPPLE_QUANTIZE_H_
#define DAPPLE_QUANTIZE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"

namespace dapple {

struct QuantizeProgress {
  uint64_t bytes_done = 0;  // of the input's tensor data
  uint64_t bytes_total = 0;
  std::string_view tensor;  // the one at work
};

struct QuantizeOptions {
  std::string input_path;
  std::string output_path;
  // A name of QuantizeTypes(). Those of mixtures ("q4_k_m") give the tensors
  // that suffer most a larger type; all others but f32, f16, bf16, q8_0 and
  // q6_k still store the matrix that makes the logits as q6_k.
  std::string type;
  bool pure = false;  // one type for all matrices after all
  // How much each input of each matrix matters: a file of llama-imatrix, of
  // its older (.dat) or newer (GGUF) kind; "": equally.
  std::string importance_path;
  int threads = 0;  // 0: one per physical core
  // Called often; false cancels (kCancelled, nothing written). May be empty.
  std::function<bool(const QuantizeProgress&)> progress;
  // Called with one line for each thing that the user should know. May be
  // empty.
  std::function<void(const std::string&)> note;
};

struct QuantizeResult {
  uint64_t input_bytes = 0;
  uint64_t output_bytes = 0;
  size_t tensors = 0;
  size_t fallbacks = 0;  // matrices whose rows the wanted type does not divide
};

// Lower-case names, in the order of a help text.
const std::vector<std::string>& QuantizeTypes();

// kUnsupported when the input's matrices are quantized already (q8_0 aside).
Result<QuantizeResult> Quantize(const QuantizeOptions& options);

}  // namespace dapple

#endif  // DAPPLE_QUANTIZE_H_
