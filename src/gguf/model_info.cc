#include "dapple/model_info.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "gguf/architecture.h"
#include "gguf/gguf_file.h"
#include "gguf/pre_tokenizer_names.h"
#include "gguf/printable.h"
#include "util/checked.h"

namespace dapple {
namespace {

// Fills a ModelInfo; look-ups of a wrong type end in a Status.
class Inspector {
 public:
  Inspector(const GgufFile& file, ModelInfo* info)
      : file_(file), info_(*info) {}

  Status Inspect() {
    info_.path = file_.path();
    info_.file_bytes = file_.total_bytes();
    info_.gguf_version = file_.version();
    DAPPLE_RETURN_IF_ERROR(Text("general.architecture", &info_.architecture));
    DAPPLE_RETURN_IF_ERROR(Text("general.name", &info_.name));
    DAPPLE_RETURN_IF_ERROR(Text("general.license", &info_.license));
    DAPPLE_RETURN_IF_ERROR(ReadHyperParameters());
    DAPPLE_RETURN_IF_ERROR(ReadTokenizer());
    SumTensors();
    DAPPLE_RETURN_IF_ERROR(FindObstacles());
    return Status::Ok();
  }

 private:
  Status Text(std::string_view key, std::string* out) {
    DAPPLE_ASSIGN_OR_RETURN(const auto value, file_.String(key));
    if (value.has_value()) *out = *value;
    return Status::Ok();
  }

  std::string Key(const char* suffix) const {
    return info_.architecture + "." + suffix;
  }

  Status Size(const char* suffix, uint64_t* out) {
    DAPPLE_ASSIGN_OR_RETURN(const auto value, file_.Uint(Key(suffix)));
    if (value.has_value()) *out = *value;
    return Status::Ok();
  }

  Status Real(const char* suffix, double* out) {
    DAPPLE_ASSIGN_OR_RETURN(const auto value, file_.Float(Key(suffix)));
    if (value.has_value()) *out = *value;
    return Status::Ok();
  }

  // One number for all layers, or an array with one a layer. *sum is over the
  // layers, 0 when the array has another length.
  Status PerLayer(const char* suffix, uint64_t* most, uint64_t* sum) {
    const std::string key = Key(suffix);
    const GgufValue* value = file_.Find(key);
    if (value == nullptr) return Status::Ok();
    if (value->type != GgufType::kArray) {
      DAPPLE_RETURN_IF_ERROR(Size(suffix, most));
      if (!CheckedMul(*most, info_.layers, sum)) *sum = 0;
      return Status::Ok();
    }
    DAPPLE_ASSIGN_OR_RETURN(const auto values, file_.Ints(key));
    if (!values.has_value()) return Status::Ok();
    *most = *sum = 0;
    bool summed = values->size() == info_.layers;
    for (const int64_t number : *values) {
      if (number < 0)
        return Corrupt(file_.path() + ": key " + Quoted(key) +
                       " has a negative number");
      *most = std::max(*most, static_cast<uint64_t>(number));
      summed = summed && CheckedAdd(*sum, static_cast<uint64_t>(number), sum);
    }
    if (!summed) *sum = 0;
    return Status::Ok();
  }

  Status ReadHyperParameters() {
    uint64_t ignored = 0;
    DAPPLE_RETURN_IF_ERROR(Size("context_length", &info_.context_length));
    DAPPLE_RETURN_IF_ERROR(Size("embedding_length", &info_.embedding_length));
    DAPPLE_RETURN_IF_ERROR(Size("block_count", &info_.layers));
    DAPPLE_RETURN_IF_ERROR(
        PerLayer("feed_forward_length", &info_.feed_forward_length, &ignored));
    uint64_t head_sum = 0;
    DAPPLE_RETURN_IF_ERROR(
        PerLayer("attention.head_count", &info_.heads, &head_sum));
    // Without the key every head has its own keys and values.
    info_.kv_heads = info_.heads;
    uint64_t kv_sum = head_sum;
    DAPPLE_RETURN_IF_ERROR(
        PerLayer("attention.head_count_kv", &info_.kv_heads, &kv_sum));
    if (info_.heads != 0)
      info_.key_length = info_.embedding_length / info_.heads;
    info_.value_length = info_.key_length;
    DAPPLE_RETURN_IF_ERROR(Size("attention.key_length", &info_.key_length));
    DAPPLE_RETURN_IF_ERROR(Size("attention.value_length", &info_.value_length));
    info_.rope_dimensions = info_.key_length;
    DAPPLE_RETURN_IF_ERROR(
        Size("rope.dimension_count", &info_.rope_dimensions));
    DAPPLE_RETURN_IF_ERROR(Real("rope.freq_base", &info_.rope_base));
    DAPPLE_RETURN_IF_ERROR(
        Real("attention.layer_norm_rms_epsilon", &info_.norm_epsilon));
    uint64_t length = 0;
    if (!CheckedAdd(info_.key_length, info_.value_length, &length) ||
        !CheckedMul(length, kv_sum, &info_.kv_bytes_per_token) ||
        !CheckedMul(info_.kv_bytes_per_token, 2, &info_.kv_bytes_per_token))
      info_.kv_bytes_per_token = 0;
    return Status::Ok();
  }

  Status ReadTokenizer() {
    TokenizerSummary& out = info_.tokenizer;
    DAPPLE_RETURN_IF_ERROR(Text("tokenizer.ggml.model", &out.model));
    if (const GgufValue* tokens = file_.Find("tokenizer.ggml.tokens"))
      out.vocab_size = tokens->type == GgufType::kArray ? tokens->count : 0;
    DAPPLE_ASSIGN_OR_RETURN(out.bos_id,
                            file_.Uint("tokenizer.ggml.bos_token_id"));
    DAPPLE_ASSIGN_OR_RETURN(out.eos_id,
                            file_.Uint("tokenizer.ggml.eos_token_id"));
    DAPPLE_ASSIGN_OR_RETURN(out.unk_id,
                            file_.Uint("tokenizer.ggml.unknown_token_id"));
    DAPPLE_ASSIGN_OR_RETURN(out.pad_id,
                            file_.Uint("tokenizer.ggml.padding_token_id"));
    DAPPLE_ASSIGN_OR_RETURN(out.add_bos,
                            file_.Bool("tokenizer.ggml.add_bos_token"));
    out.has_chat_template = file_.Find("tokenizer.chat_template") != nullptr;
    return Status::Ok();
  }

  void SumTensors() {
    // No sum overflows: the tensors are disjoint parts of one file, and an
    // element takes at least half a byte.
    for (const GgufTensor& tensor : file_.tensors()) {
      const std::string type(InfoOf(tensor.type).name);
      info_.tensors.push_back(
          {std::string(tensor.name), type,
           std::vector<uint64_t>(tensor.dims, tensor.dims + tensor.dim_count),
           tensor.data.size()});
      info_.parameters += tensor.elements();
      info_.tensor_bytes += tensor.data.size();
      auto at = std::find_if(
          info_.types.begin(), info_.types.end(),
          [&type](const TypeSummary& summary) { return summary.type == type; });
      if (at == info_.types.end())
        at = info_.types.insert(at, TypeSummary{type});
      ++at->tensors;
      at->elements += tensor.elements();
      at->bytes += tensor.data.size();
    }
    std::stable_sort(info_.types.begin(), info_.types.end(),
                     [](const TypeSummary& a, const TypeSummary& b) {
                       return a.bytes > b.bytes;
                     });
    info_.has_rope_factors =
        file_.FindTensor("rope_freqs.weight") != nullptr ||
        file_.FindTensor("rope_factors_long.weight") != nullptr;
    info_.tied_embeddings = file_.FindTensor("token_embd.weight") != nullptr &&
                            file_.FindTensor("output.weight") == nullptr;
  }

  void Obstacle(std::string reason) {
    info_.obstacles.push_back(std::move(reason));
  }

  Status FindObstacles() {
    const Architecture* architecture = FindArchitecture(info_.architecture);
    if (architecture == nullptr) {
      Obstacle(info_.architecture.empty()
                   ? "it names no architecture"
                   : "architecture " + Quoted(info_.architecture) +
                         " is not supported (supported: " +
                         ArchitectureNames() + ")");
    }
    if (info_.tokenizer.model != "llama" && info_.tokenizer.model != "gpt2") {
      Obstacle(info_.tokenizer.model.empty()
                   ? "it has no tokenizer"
                   : "tokenizer " + Quoted(info_.tokenizer.model) +
                         " is not supported (llama and gpt2 are)");
    }
    if (info_.tokenizer.model == "gpt2") {
      std::string pre;
      DAPPLE_RETURN_IF_ERROR(Text("tokenizer.ggml.pre", &pre));
      std::string obstacle = PreTokenizerObstacle(pre);
      if (!obstacle.empty()) Obstacle(std::move(obstacle));
    }
    if (info_.tensors.empty()) {
      Obstacle("it has no tensors: a vocabulary alone");
      return Status::Ok();
    }
    if (architecture == nullptr) return Status::Ok();
    const std::pair<const char*, uint64_t> sizes[] = {
        {"context_length", info_.context_length},
        {"embedding_length", info_.embedding_length},
        {"block_count", info_.layers},
        {"attention.head_count", info_.heads},
        {"feed_forward_length", info_.feed_forward_length},
    };
    for (const auto& [suffix, value] : sizes)
      if (value == 0) Obstacle("key '" + Key(suffix) + "' is missing or 0");
    if (info_.key_length != info_.value_length)
      Obstacle("keys and values differ in length");
    std::string scaling;
    DAPPLE_RETURN_IF_ERROR(Text(Key("rope.scaling.type"), &scaling));
    if (!scaling.empty() && scaling != "none" && scaling != "linear" &&
        scaling != "yarn" && scaling != "longrope")
      Obstacle("rope scaling " + Quoted(scaling) + " is not supported");
    uint64_t experts = 0;
    DAPPLE_RETURN_IF_ERROR(Size("expert_count", &experts));
    if (experts > 1) Obstacle("mixtures of experts are not supported");
    FindMissingTensor(*architecture);
    return Status::Ok();
  }

  // The first one only: a file without one layer lacks hundreds.
  void FindMissingTensor(const Architecture& architecture) {
    const auto has = [this](const std::string& name) {
      if (file_.FindTensor(name) != nullptr) return true;
      Obstacle("tensor '" + name + "' is missing");
      return false;
    };
    if (!has("token_embd.weight") || !has("output_norm.weight")) return;
    std::vector<const char*> parts = {"attn_norm", "attn_output", "ffn_norm",
                                      "ffn_up", "ffn_down"};
    if (architecture.fused)
      parts.push_back("attn_qkv");
    else
      parts.insert(parts.end(), {"attn_q", "attn_k", "attn_v", "ffn_gate"});
    if (architecture.qk_norm)
      parts.insert(parts.end(), {"attn_q_norm", "attn_k_norm"});
    if (architecture.post_norms)
      parts.insert(parts.end(), {"post_attention_norm", "post_ffw_norm"});
    for (uint64_t layer = 0; layer < info_.layers; ++layer)
      for (const char* part : parts)
        if (!has("blk." + std::to_string(layer) + "." + part + ".weight"))
          return;
  }

  const GgufFile& file_;
  ModelInfo& info_;
};

}  // namespace

Result<ModelInfo> InspectModel(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  ModelInfo info;
  DAPPLE_RETURN_IF_ERROR(Inspector(file, &info).Inspect());
  return info;
}

}  // namespace dapple
