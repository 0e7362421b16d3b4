#include "model/model_weights.h"

#include <string>

#include "gguf/gguf_file.h"
#include "kernels/convert.h"

namespace dapple {

// Looks tensors up by name and checks their shapes.
class WeightReader {
 public:
  WeightReader(const GgufFile& file, ModelWeights* weights)
      : file_(file), weights_(weights) {}

  Status Matrix(const std::string& name, size_t n, size_t k,
                WeightMatrix* out) const {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) return Missing(name);
    if (tensor->dims[0] != k || tensor->dims[1] != n || tensor->dims[2] != 1 ||
        tensor->dims[3] != 1)
      return BadShape(*tensor,
                      "[" + std::to_string(k) + ", " + std::to_string(n) + "]");
    out->type = tensor->type;
    out->data = tensor->data.data();
    out->row_bytes = RowBytes(tensor->type, k);
    out->n = n;
    out->k = k;
    weights_->bytes += tensor->data.size();
    return Status::Ok();
  }

  Status Vector(const std::string& name, size_t n, const float** out) const {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) return Missing(name);
    if (tensor->elements() != n || tensor->dims[0] != n)
      return BadShape(*tensor, "[" + std::to_string(n) + "]");
    weights_->bytes += tensor->data.size();
    const bool aligned =
        reinterpret_cast<uintptr_t>(tensor->data.data()) % alignof(float) == 0;
    if (tensor->type == TensorType::kF32 && aligned) {
      *out = reinterpret_cast<const float*>(tensor->data.data());
      return Status::Ok();
    }
    std::vector<float>& copy = weights_->owned_.emplace_back(n);
    kernels::Dequantize(tensor->type, tensor->data.data(), n, copy.data());
    *out = copy.data();
    return Status::Ok();
  }

 private:
  Status Missing(const std::string& name) const {
    return Corrupt(file_.path() + ": tensor " + name + " is missing");
  }
  Status BadShape(const GgufTensor& tensor, const std::string& wanted) const {
    std::string shape;
    for (uint32_t i = 0; i < tensor.dim_count; ++i)
      shape += (i ? ", " : "") + std::to_string(tensor.dims[i]);
    return Corrupt(file_.path() + ": tensor " + std::string(tensor.name) +
                   " has shape [" + shape + "], expected " + wanted);
  }

  const GgufFile& file_;
  ModelWeights* weights_;
};

Result<ModelWeights> ModelWeights::FromGguf(const GgufFile& file,
                                            const ModelConfig& config) {
  ModelWeights weights;
  const WeightReader reader(file, &weights);
  const size_t d = config.width, ffn = config.ffn_width;
  const size_t q = config.query_width(), kv = config.kv_width();
  DAPPLE_RETURN_IF_ERROR(
      reader.Matrix("token_embd.weight", config.vocab, d, &weights.embedding));
  weights.head = weights.embedding;
  if (file.FindTensor("output.weight") != nullptr)
    DAPPLE_RETURN_IF_ERROR(
        reader.Matrix("output.weight", config.vocab, d, &weights.head));
  DAPPLE_RETURN_IF_ERROR(
      reader.Vector("output_norm.weight", d, &weights.output_norm));
  weights.layers.resize(config.layers);
  for (size_t i = 0; i < config.layers; ++i) {
    LayerWeights& layer = weights.layers[i];
    const std::string base = "blk." + std::to_string(i) + ".";
    if (file.FindTensor(base + "attn_q.bias") != nullptr)
      return Unsupported(file.path() +
                         ": attention biases are not supported yet");
    const struct {
      const char* name;
      size_t n, k;
      WeightMatrix* out;
    } matrices[] = {
        {"attn_q", q, d, &layer.query},    {"attn_k", kv, d, &layer.key},
        {"attn_v", kv, d, &layer.value},   {"attn_output", d, q, &layer.output},
        {"ffn_gate", ffn, d, &layer.gate}, {"ffn_up", ffn, d, &layer.up},
        {"ffn_down", d, ffn, &layer.down}};
    for (const auto& m : matrices)
      DAPPLE_RETURN_IF_ERROR(
          reader.Matrix(base + m.name + ".weight", m.n, m.k, m.out));
    DAPPLE_RETURN_IF_ERROR(
        reader.Vector(base + "attn_norm.weight", d, &layer.attention_norm));
    DAPPLE_RETURN_IF_ERROR(
        reader.Vector(base + "ffn_norm.weight", d, &layer.ffn_norm));
  }
  return weights;
}

}  // namespace dapple
