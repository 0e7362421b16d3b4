// TensorPlan: which tensor of the checkpoint becomes which tensor of the GGUF
// file, in what type and row order.
//
// Made before a byte is written, so that a model with a missing, misshapen or
// unknown tensor is refused at once. Borrows the checkpoint. Without one, the
// same tensors are planned with random values: a file of a real shape.
#ifndef DAPPLE_CONVERT_TENSOR_PLAN_H_
#define DAPPLE_CONVERT_TENSOR_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "convert/hf_config.h"
#include "convert/safetensors.h"
#include "dapple/status.h"
#include "util/tensor_type.h"

namespace dapple {

struct PlannedTensor {
  std::string name;            // in the GGUF file: "blk.0.attn_q.weight"
  std::vector<uint64_t> dims;  // GGUF order: the contiguous one first
  TensorType type = TensorType::kF32;
  // Where the values come from: at most one of these two is set; neither
  // means random ones, even within ±spread around `offset`.
  Checkpoint::Entry source = {nullptr, nullptr};
  std::vector<float> values;  // [dims[0]]: computed, not read
  float spread = 0;
  // Stored is (value + offset) * factor: Gemma's norms weigh by 1 + w.
  float offset = 0;
  float factor = 1;
  // Rows a head whose halves are interleaved (see SourceRow); 0: order kept.
  uint64_t rotary_rows = 0;

  uint64_t columns() const { return dims[0]; }
  uint64_t rows() const { return dims.size() > 1 ? dims[1] : 1; }

  // The checkpoint's row that becomes row `row`. Hugging Face rotates element
  // i with i + head_dim/2, llama.cpp's llama architecture 2i with 2i + 1: the
  // rows of q and k are reordered within each head so that both agree.
  uint64_t SourceRow(uint64_t row) const;
};

struct TensorPlan {
  // `type` is that of matrices. checkpoint: nullptr for random values. Notes
  // are appended for the user.
  static Result<TensorPlan> Make(const HfConfig& config,
                                 const Checkpoint* checkpoint,
                                 const std::string& folder, TensorType type,
                                 std::vector<std::string>* notes);

  std::vector<PlannedTensor> tensors;  // in file order
  uint64_t parameters = 0;
  uint64_t bytes = 0;  // of tensor data
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_TENSOR_PLAN_H_
