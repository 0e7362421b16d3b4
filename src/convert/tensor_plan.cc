#include "convert/tensor_plan.h"

#include <set>
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

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const std::string& folder,
          TensorType type, TensorPlan* plan)
      : checkpoint_(checkpoint), folder_(folder), type_(type), plan_(*plan) {}

  // `rows` 0: a vector.
  Status Add(const std::string& source, const std::string& name, uint64_t rows,
             uint64_t columns, uint64_t rotary_rows = 0) {
    const Checkpoint::Entry* entry = checkpoint_.Find(source);
    if (entry == nullptr)
      return Corrupt(folder_ + ": tensor '" + source + "' is missing");
    const SafeTensor& tensor = *entry->tensor;
    const std::string where = entry->file->path() + ": tensor '" + source + "'";
    std::vector<uint64_t> shape;
    if (rows != 0) shape.push_back(rows);
    shape.push_back(columns);
    if (tensor.shape != shape)
      return Corrupt(where + " has shape " + ShapeText(tensor.shape) +
                     ", but config.json says " + ShapeText(shape));
    if (tensor.dtype != "F32" && tensor.dtype != "F16" &&
        tensor.dtype != "BF16")
      return Unsupported(where + " has dtype " + tensor.dtype +
                         ", which is not supported (BF16, F16 and F32 are)");
    PlannedTensor planned;
    planned.name = name;
    planned.dims.assign(shape.rbegin(), shape.rend());
    planned.type = rows == 0 ? TensorType::kF32 : MatrixType(name, columns);
    planned.source = *entry;
    planned.rotary_rows = rotary_rows;
    used_.insert(source);
    Push(std::move(planned));
    return Status::Ok();
  }

  void AddValues(const std::string& name, std::vector<float> values) {
    PlannedTensor planned;
    planned.name = name;
    planned.dims = {values.size()};
    planned.values = std::move(values);
    Push(std::move(planned));
  }

  void Ignore(const std::string& source) { used_.insert(source); }

  // A tensor that nothing asked for would change the model's answers.
  Status CheckAllUsed(const std::string& model_type) const {
    for (const auto& [name, entry] : checkpoint_.entries()) {
      // Derived from rope_theta; older files store it.
      if (name.ends_with(".rotary_emb.inv_freq")) continue;
      if (!used_.contains(name))
        return Unsupported(entry.file->path() + ": tensor " + Quoted(name) +
                           " is not part of a " + model_type +
                           " model that Dapple knows");
    }
    return Status::Ok();
  }

  uint64_t narrow_rows() const { return narrow_rows_; }
  void set_logits_name(std::string name) { logits_name_ = std::move(name); }

 private:
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

  const Checkpoint& checkpoint_;
  const std::string& folder_;
  const TensorType type_;
  TensorPlan& plan_;
  std::string logits_name_;
  std::set<std::string, std::less<>> used_;
  uint64_t narrow_rows_ = 0;
};

Status AddLayer(const HfConfig& config, uint64_t layer, Planner* planner) {
  const std::string from = "model.layers." + std::to_string(layer) + ".";
  const std::string to = "blk." + std::to_string(layer) + ".";
  const uint64_t d = config.hidden_size;
  const uint64_t q = config.heads * config.head_dim;
  const uint64_t kv = config.kv_heads * config.head_dim;
  const uint64_t ffn = config.ffn_size;
  struct Row {
    const char* source;
    const char* name;
    uint64_t rows;
    uint64_t columns;
    uint64_t rotary_rows;
  };
  const Row rows[] = {
      {"input_layernorm", "attn_norm", 0, d, 0},
      {"self_attn.q_proj", "attn_q", q, d, config.head_dim},
      {"self_attn.k_proj", "attn_k", kv, d, config.head_dim},
      {"self_attn.v_proj", "attn_v", kv, d, 0},
      {"self_attn.o_proj", "attn_output", d, q, 0},
      {"post_attention_layernorm", "ffn_norm", 0, d, 0},
      {"mlp.gate_proj", "ffn_gate", ffn, d, 0},
      {"mlp.up_proj", "ffn_up", ffn, d, 0},
      {"mlp.down_proj", "ffn_down", d, ffn, 0},
  };
  for (const Row& row : rows)
    DAPPLE_RETURN_IF_ERROR(planner->Add(from + row.source + ".weight",
                                        to + row.name + ".weight", row.rows,
                                        row.columns, row.rotary_rows));
  return Status::Ok();
}

}  // namespace

uint64_t PlannedTensor::SourceRow(uint64_t row) const {
  if (rotary_rows == 0) return row;
  const uint64_t in_head = row % rotary_rows;
  return row - in_head + in_head % 2 * (rotary_rows / 2) + in_head / 2;
}

Result<TensorPlan> TensorPlan::Make(const HfConfig& config,
                                    const Checkpoint& checkpoint,
                                    const std::string& folder, TensorType type,
                                    std::vector<std::string>* notes) {
  TensorPlan plan;
  Planner planner(checkpoint, folder, type, &plan);
  planner.set_logits_name(config.tied_embeddings ? "token_embd.weight"
                                                 : "output.weight");
  const uint64_t d = config.hidden_size;
  DAPPLE_RETURN_IF_ERROR(planner.Add(
      "model.embed_tokens.weight", "token_embd.weight", config.vocab_size, d));
  for (uint64_t layer = 0; layer < config.layers; ++layer)
    DAPPLE_RETURN_IF_ERROR(AddLayer(config, layer, &planner));
  DAPPLE_RETURN_IF_ERROR(
      planner.Add("model.norm.weight", "output_norm.weight", 0, d));
  if (config.tied_embeddings) {
    planner.Ignore("lm_head.weight");  // some files repeat the embeddings
  } else {
    DAPPLE_RETURN_IF_ERROR(
        planner.Add("lm_head.weight", "output.weight", config.vocab_size, d));
  }
  std::vector<float> factors = config.RopeFactors();
  if (!factors.empty())
    planner.AddValues("rope_freqs.weight", std::move(factors));
  DAPPLE_RETURN_IF_ERROR(planner.CheckAllUsed(config.model_type));
  if (planner.narrow_rows() != 0)
    notes->push_back(std::to_string(planner.narrow_rows()) +
                     " matrices have rows that are not a multiple of 32: "
                     "stored as f16");
  return plan;
}

}  // namespace dapple
