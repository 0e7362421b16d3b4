#include "model/model_weights.h"

#include <initializer_list>
#include <string>
#include <unordered_set>
#include <utility>

#include "gguf/gguf_file.h"
#include "gguf/printable.h"
#include "kernels/convert.h"

namespace dapple {

// Looks tensors up by name and checks their shapes.
class WeightReader {
 public:
  WeightReader(const GgufFile& file, ModelWeights* weights)
      : file_(file), weights_(weights) {}

  Status Matrix(const std::string& name, size_t n, size_t k,
                WeightMatrix* out) {
    const GgufTensor* tensor = Find(name);
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

  Status Vector(const std::string& name, size_t n, const float** out) {
    const GgufTensor* tensor = Find(name);
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

  // As Vector; a missing one stays null.
  Status OptionalVector(const std::string& name, size_t n, const float** out) {
    return file_.FindTensor(name) == nullptr ? Status::Ok()
                                             : Vector(name, n, out);
  }

  // Matrices below each other in one tensor.
  Status Stacked(
      const std::string& name, size_t k,
      std::initializer_list<std::pair<size_t, WeightMatrix*>> parts) {
    size_t rows = 0;
    for (const auto& [n, out] : parts) rows += n;
    WeightMatrix all;
    DAPPLE_RETURN_IF_ERROR(Matrix(name, rows, k, &all));
    for (const auto& [n, out] : parts) {
      *out = all;
      out->n = n;
      all.data += n * all.row_bytes;
    }
    return Status::Ok();
  }

  Status Layer(const ModelConfig& config, LayerWeights* layer) {
    const Architecture& arch = *config.architecture;
    const std::string base = "blk." + std::to_string(layer->index) + ".";
    const size_t d = config.width, ffn = config.ffn_width;
    const size_t head = config.head_dim;
    const size_t q = config.query_width(), kv = config.kv_width();
    const auto matrix = [&](const char* name, size_t n, size_t k,
                            WeightMatrix* out) {
      return Matrix(base + name + ".weight", n, k, out);
    };
    const auto norm = [&](const char* name, size_t n, const float** out) {
      return Vector(base + name + ".weight", n, out);
    };
    const auto bias = [&](const char* name, size_t n, const float** out) {
      return OptionalVector(base + name + ".bias", n, out);
    };
    DAPPLE_RETURN_IF_ERROR(norm("attn_norm", d, &layer->attention_norm));
    if (arch.fused) {
      DAPPLE_RETURN_IF_ERROR(Stacked(
          base + "attn_qkv.weight", d,
          {{q, &layer->query}, {kv, &layer->key}, {kv, &layer->value}}));
    } else {
      DAPPLE_RETURN_IF_ERROR(matrix("attn_q", q, d, &layer->query));
      DAPPLE_RETURN_IF_ERROR(matrix("attn_k", kv, d, &layer->key));
      DAPPLE_RETURN_IF_ERROR(matrix("attn_v", kv, d, &layer->value));
      DAPPLE_RETURN_IF_ERROR(bias("attn_q", q, &layer->query_bias));
      DAPPLE_RETURN_IF_ERROR(bias("attn_k", kv, &layer->key_bias));
      DAPPLE_RETURN_IF_ERROR(bias("attn_v", kv, &layer->value_bias));
    }
    if (arch.qk_norm) {
      DAPPLE_RETURN_IF_ERROR(norm("attn_q_norm", head, &layer->query_norm));
      DAPPLE_RETURN_IF_ERROR(norm("attn_k_norm", head, &layer->key_norm));
    }
    DAPPLE_RETURN_IF_ERROR(matrix("attn_output", d, q, &layer->output));
    DAPPLE_RETURN_IF_ERROR(norm("ffn_norm", d, &layer->ffn_norm));
    if (arch.post_norms) {
      DAPPLE_RETURN_IF_ERROR(
          norm("post_attention_norm", d, &layer->attention_post_norm));
      DAPPLE_RETURN_IF_ERROR(norm("post_ffw_norm", d, &layer->ffn_post_norm));
    }
    if (arch.fused) {
      DAPPLE_RETURN_IF_ERROR(Stacked(base + "ffn_up.weight", d,
                                     {{ffn, &layer->gate}, {ffn, &layer->up}}));
    } else {
      DAPPLE_RETURN_IF_ERROR(matrix("ffn_gate", ffn, d, &layer->gate));
      DAPPLE_RETURN_IF_ERROR(matrix("ffn_up", ffn, d, &layer->up));
    }
    return matrix("ffn_down", d, ffn, &layer->down);
  }

  // A weight that nothing asked for would change the model's answers.
  Status CheckAllUsed() const {
    for (const GgufTensor& tensor : file_.tensors()) {
      // Read with the configuration, or (the last) derived from it.
      if (tensor.name.starts_with("rope_f") ||
          tensor.name.ends_with(".attn_rot_embd"))
        continue;
      if (!used_.contains(&tensor))
        return Unsupported(file_.path() + ": tensor " + Quoted(tensor.name) +
                           " is not one that Dapple knows of this "
                           "architecture");
    }
    return Status::Ok();
  }

 private:
  const GgufTensor* Find(const std::string& name) {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor != nullptr) used_.insert(tensor);
    return tensor;
  }
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
  std::unordered_set<const GgufTensor*> used_;
};

Result<ModelWeights> ModelWeights::FromGguf(const GgufFile& file,
                                            const ModelConfig& config) {
  ModelWeights weights;
  WeightReader reader(file, &weights);
  const size_t d = config.width;
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
    weights.layers[i].index = i;
    DAPPLE_RETURN_IF_ERROR(reader.Layer(config, &weights.layers[i]));
  }
  DAPPLE_RETURN_IF_ERROR(reader.CheckAllUsed());
  return weights;
}

}  // namespace dapple
