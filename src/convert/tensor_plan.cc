#include "convert/tensor_plan.h"

#include <cmath>
#include <set>
#include <string_view>
#include <utility>

#include "gguf/printable.h"

namespace dapple {
namespace {

std::string ShapeText(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

// A tensor to add: its names, shape, and what is done to its values.
struct Wanted {
  std::string source;
  std::string name;
  uint64_t rows = 0;  // 0: a vector
  uint64_t columns = 0;
  uint64_t rotary_rows = 0;
  float offset = 0;
  float factor = 1;
  float centre = 0;  // random values lie around it: 1 for norms
};

// Tensors of other parts of a model with images.
constexpr const char* kOtherParts[] = {
    "vision_tower.", "multi_modal_projector.", "model.vision_tower.",
    "model.multi_modal_projector."};

class Planner {
 public:
  Planner(const HfConfig& config, const Checkpoint* checkpoint,
          const std::string& folder, TensorType type, TensorPlan* plan)
      : config_(config),
        checkpoint_(checkpoint),
        folder_(folder),
        type_(type),
        plan_(*plan) {
    if (!config.nested || checkpoint == nullptr) return;
    // Older and newer names of the text part.
    const bool newer =
        checkpoint->Find("model.language_model.norm.weight") != nullptr;
    prefix_ = newer ? "model.language_model." : "language_model.model.";
    if (!newer) head_ = "language_model.lm_head.weight";
  }

  Status AddAll() {
    const HfConfig& c = config_;
    const uint64_t d = c.hidden_size;
    logits_name_ = c.tied_embeddings ? "token_embd.weight" : "output.weight";
    DAPPLE_RETURN_IF_ERROR(Add({.source = prefix_ + "embed_tokens.weight",
                                .name = "token_embd.weight",
                                .rows = c.vocab_size,
                                .columns = d}));
    for (uint64_t layer = 0; layer < c.layers; ++layer)
      DAPPLE_RETURN_IF_ERROR(AddLayer(layer));
    DAPPLE_RETURN_IF_ERROR(
        Add(Norm(prefix_ + "norm.weight", "output_norm.weight", d)));
    if (c.tied_embeddings)
      used_.insert(head_);  // some files repeat the embeddings
    else
      DAPPLE_RETURN_IF_ERROR(Add({.source = head_,
                                  .name = "output.weight",
                                  .rows = c.vocab_size,
                                  .columns = d}));
    AddValues("rope_freqs.weight", c.rope.Llama3Factors(c.head_dim));
    AddValues("rope_factors_long.weight", c.rope.long_factors);
    AddValues("rope_factors_short.weight", c.rope.short_factors);
    return checkpoint_ == nullptr ? Status::Ok() : CheckAllUsed();
  }

  uint64_t narrow_rows() const { return narrow_rows_; }

 private:
  Status Add(const Wanted& wanted) {
    PlannedTensor planned;
    planned.name = wanted.name;
    planned.dims = {wanted.columns};
    if (wanted.rows != 0) planned.dims.push_back(wanted.rows);
    planned.type = wanted.rows == 0 ? TensorType::kF32
                                    : MatrixType(wanted.name, wanted.columns);
    planned.rotary_rows = wanted.rotary_rows;
    if (checkpoint_ == nullptr) {
      // Of a width that keeps activations near 1 (Glorot & Bengio 2010).
      planned.spread = static_cast<float>(
          wanted.rows == 0
              ? 0.1
              : std::sqrt(3.0 / static_cast<double>(wanted.columns)));
      planned.offset = wanted.centre;
    } else {
      planned.offset = wanted.offset;
      planned.factor = wanted.factor;
      DAPPLE_RETURN_IF_ERROR(FindSource(wanted, &planned));
    }
    Push(std::move(planned));
    return Status::Ok();
  }

  Status FindSource(const Wanted& wanted, PlannedTensor* planned) {
    const std::string& source = wanted.source;
    const Checkpoint::Entry* entry = checkpoint_->Find(source);
    if (entry == nullptr)
      return Corrupt(folder_ + ": tensor '" + source + "' is missing");
    const SafeTensor& tensor = *entry->tensor;
    const std::string where = entry->file->path() + ": tensor '" + source + "'";
    const std::vector<uint64_t> shape(planned->dims.rbegin(),
                                      planned->dims.rend());
    if (tensor.shape != shape)
      return Corrupt(where + " has shape " + ShapeText(tensor.shape) +
                     ", but config.json says " + ShapeText(shape));
    if (tensor.dtype != "F32" && tensor.dtype != "F16" &&
        tensor.dtype != "BF16")
      return Unsupported(where + " has dtype " + tensor.dtype +
                         ", which is not supported (BF16, F16 and F32 are)");
    planned->source = *entry;
    used_.insert(source);
    return Status::Ok();
  }

  Wanted Norm(const std::string& source, const std::string& name,
              uint64_t columns, double factor = 1.0) const {
    return {.source = source,
            .name = name,
            .columns = columns,
            // Gemma's files hold w, and weigh by 1 + w.
            .offset = config_.architecture->scaled_embedding ? 1.0f : 0.0f,
            .factor = static_cast<float>(factor),
            .centre = 1.0f};
  }

  Status AddLayer(uint64_t layer) {
    const Architecture& arch = *config_.architecture;
    const std::string from = prefix_ + "layers." + std::to_string(layer) + ".";
    const std::string to = "blk." + std::to_string(layer) + ".";
    const uint64_t d = config_.hidden_size, head = config_.head_dim;
    const uint64_t q = config_.heads * head, kv = config_.kv_heads * head;
    const uint64_t ffn = config_.ffn_size;
    const uint64_t rotary = arch.adjacent_rope ? head : 0;
    // The ratio goes where the query is last scaled: into its norm, if it has
    // one, which would undo a scaling of the matrix.
    const double query_factor = arch.qk_norm ? 1.0 : config_.query_factor;
    const double norm_factor = arch.qk_norm ? config_.query_factor : 1.0;
    const auto norm = [&](const char* source, const char* name,
                          uint64_t columns, double factor = 1.0) {
      return Add(Norm(from + source + ".weight", to + name + ".weight", columns,
                      factor));
    };
    const auto matrix = [&](const char* source, const char* name, uint64_t rows,
                            uint64_t columns, uint64_t rotary_rows = 0,
                            double factor = 1.0) {
      return Add({.source = from + source + ".weight",
                  .name = to + name + ".weight",
                  .rows = rows,
                  .columns = columns,
                  .rotary_rows = rotary_rows,
                  .factor = static_cast<float>(factor)});
    };
    DAPPLE_RETURN_IF_ERROR(norm("input_layernorm", "attn_norm", d));
    if (arch.fused) {
      DAPPLE_RETURN_IF_ERROR(
          matrix("self_attn.qkv_proj", "attn_qkv", q + 2 * kv, d));
    } else {
      DAPPLE_RETURN_IF_ERROR(
          matrix("self_attn.q_proj", "attn_q", q, d, rotary, query_factor));
      DAPPLE_RETURN_IF_ERROR(
          matrix("self_attn.k_proj", "attn_k", kv, d, rotary));
      DAPPLE_RETURN_IF_ERROR(matrix("self_attn.v_proj", "attn_v", kv, d));
    }
    if (config_.qkv_bias) {
      const std::pair<const char*, uint64_t> biases[] = {
          {"q", q}, {"k", kv}, {"v", kv}};
      for (const auto& [part, columns] : biases)
        DAPPLE_RETURN_IF_ERROR(
            Add({.source = from + "self_attn." + part + "_proj.bias",
                 .name = to + "attn_" + part + ".bias",
                 .columns = columns}));
    }
    if (arch.qk_norm) {
      DAPPLE_RETURN_IF_ERROR(
          norm("self_attn.q_norm", "attn_q_norm", head, norm_factor));
      DAPPLE_RETURN_IF_ERROR(norm("self_attn.k_norm", "attn_k_norm", head));
    }
    DAPPLE_RETURN_IF_ERROR(matrix("self_attn.o_proj", "attn_output", d, q));
    if (arch.post_norms) {
      DAPPLE_RETURN_IF_ERROR(
          norm("post_attention_layernorm", "post_attention_norm", d));
      DAPPLE_RETURN_IF_ERROR(norm("pre_feedforward_layernorm", "ffn_norm", d));
      DAPPLE_RETURN_IF_ERROR(
          norm("post_feedforward_layernorm", "post_ffw_norm", d));
    } else {
      DAPPLE_RETURN_IF_ERROR(norm("post_attention_layernorm", "ffn_norm", d));
    }
    if (arch.fused) {
      DAPPLE_RETURN_IF_ERROR(matrix("mlp.gate_up_proj", "ffn_up", 2 * ffn, d));
    } else {
      DAPPLE_RETURN_IF_ERROR(matrix("mlp.gate_proj", "ffn_gate", ffn, d));
      DAPPLE_RETURN_IF_ERROR(matrix("mlp.up_proj", "ffn_up", ffn, d));
    }
    return matrix("mlp.down_proj", "ffn_down", d, ffn);
  }

  void AddValues(const std::string& name, std::vector<float> values) {
    if (values.empty()) return;
    PlannedTensor planned;
    planned.name = name;
    planned.dims = {values.size()};
    planned.values = std::move(values);
    Push(std::move(planned));
  }

  // A tensor that nothing asked for would change the model's answers.
  Status CheckAllUsed() const {
    for (const auto& [name, entry] : checkpoint_->entries()) {
      // Derived from rope_theta; older files store it.
      if (name.ends_with(".rotary_emb.inv_freq")) continue;
      if (config_.nested && OtherPart(name)) continue;
      if (!used_.contains(name))
        return Unsupported(entry.file->path() + ": tensor " + Quoted(name) +
                           " is not part of a " + config_.model_type +
                           " model that Dapple knows");
    }
    return Status::Ok();
  }

  static bool OtherPart(std::string_view name) {
    for (const char* part : kOtherParts)
      if (name.starts_with(part)) return true;
    return false;
  }

  TensorType MatrixType(const std::string& name, uint64_t columns) {
    TensorType type = type_;
    if (type == TensorType::kQ4_0 && name == logits_name_)
      type = TensorType::kQ8_0;
    if (columns % InfoOf(type).block_elements != 0) {
      ++narrow_rows_;
      type = TensorType::kF16;
    }
    return type;
  }

  void Push(PlannedTensor planned) {
    plan_.parameters += planned.rows() * planned.columns();
    plan_.bytes += planned.rows() * RowBytes(planned.type, planned.columns());
    plan_.tensors.push_back(std::move(planned));
  }

  const HfConfig& config_;
  const Checkpoint* checkpoint_;
  const std::string& folder_;
  const TensorType type_;
  TensorPlan& plan_;
  std::string prefix_ = "model.";
  std::string head_ = "lm_head.weight";
  std::string logits_name_;
  std::set<std::string, std::less<>> used_;
  uint64_t narrow_rows_ = 0;
};

}  // namespace

uint64_t PlannedTensor::SourceRow(uint64_t row) const {
  if (rotary_rows == 0) return row;
  const uint64_t in_head = row % rotary_rows;
  return row - in_head + in_head % 2 * (rotary_rows / 2) + in_head / 2;
}

Result<TensorPlan> TensorPlan::Make(const HfConfig& config,
                                    const Checkpoint* checkpoint,
                                    const std::string& folder, TensorType type,
                                    std::vector<std::string>* notes) {
  TensorPlan plan;
  Planner planner(config, checkpoint, folder, type, &plan);
  DAPPLE_RETURN_IF_ERROR(planner.AddAll());
  if (planner.narrow_rows() != 0)
    notes->push_back(std::to_string(planner.narrow_rows()) +
                     " matrices have rows that are not a multiple of 32: "
                     "stored as f16");
  return plan;
}

}  // namespace dapple
