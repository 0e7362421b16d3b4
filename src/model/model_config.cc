#include "model/model_config.h"

#include <cmath>
#include <optional>
#include <string_view>

#include "gguf/gguf_file.h"
#include "gguf/printable.h"
#include "kernels/convert.h"

namespace dapple {
namespace {

// Bounds that no real model reaches, so that later products of two of them
// cannot overflow 64 bits.
constexpr uint64_t kMaxLayers = 1024;
constexpr uint64_t kMaxWidth = 1 << 20;
constexpr uint64_t kMaxHeads = 4096;
constexpr uint64_t kMaxVocab = 1 << 24;
constexpr uint64_t kMaxContext = 1ull << 32;
constexpr uint64_t kMaxHeadDim = 256;

// Reads one architecture's keys; remembers the file for messages.
class KeyReader {
 public:
  KeyReader(const GgufFile& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  std::string Key(std::string_view suffix) const {
    return architecture_ + "." + std::string(suffix);
  }

  // A required integer in [1, max].
  Status Required(std::string_view suffix, uint64_t max, size_t* out) const {
    const std::string key = Key(suffix);
    DAPPLE_ASSIGN_OR_RETURN(auto value, file_.Uint(key));
    if (!value) return Corrupt(file_.path() + ": key " + key + " is missing");
    if (*value == 0 || *value > max)
      return Corrupt(file_.path() + ": " + key + " = " +
                     std::to_string(*value) + " is out of range [1, " +
                     std::to_string(max) + "]");
    *out = static_cast<size_t>(*value);
    return Status::Ok();
  }

  // *out = the number, if the key is there; at least `least` and finite.
  Status Real(std::string_view suffix, double least, double* out) const {
    const std::string key = Key(suffix);
    DAPPLE_ASSIGN_OR_RETURN(auto value, file_.Float(key));
    if (!value) return Status::Ok();
    if (!(*value >= least) || !std::isfinite(*value))
      return Corrupt(file_.path() + ": " + key + " must be at least " +
                     std::to_string(static_cast<int>(least)));
    *out = *value;
    return Status::Ok();
  }

  Status Optional(std::string_view suffix, uint64_t max, size_t fallback,
                  size_t* out) const {
    *out = fallback;
    if (file_.Find(Key(suffix)) == nullptr) return Status::Ok();
    return Required(suffix, max, out);
  }

 private:
  const GgufFile& file_;
  std::string architecture_;
};

// Reads everything about rotary embeddings into config->rope.
class RopeReader {
 public:
  RopeReader(const GgufFile& file, const KeyReader& keys, ModelConfig* config)
      : file_(file), keys_(keys), config_(*config), rope_(config->rope) {}

  Status Read() {
    rope_.pairs = config_.architecture->adjacent_rope
                      ? kernels::RopePairs::kAdjacent
                      : kernels::RopePairs::kHalves;
    DAPPLE_RETURN_IF_ERROR(keys_.Optional("rope.dimension_count", kMaxHeadDim,
                                          config_.head_dim, &rope_.dims));
    if (rope_.dims % 2 != 0 || rope_.dims > config_.head_dim)
      return Corrupt(file_.path() + ": " + keys_.Key("rope.dimension_count") +
                     " = " + std::to_string(rope_.dims) +
                     " must be even and at most the head size " +
                     std::to_string(config_.head_dim));
    DAPPLE_RETURN_IF_ERROR(keys_.Real("rope.freq_base", 1.0, &rope_.base));
    if (config_.architecture->local_rope)
      DAPPLE_RETURN_IF_ERROR(
          keys_.Real("rope.freq_base_swa", 1.0, &config_.local_rope_base));
    DAPPLE_RETURN_IF_ERROR(
        keys_.Optional("rope.scaling.original_context_length", kMaxContext, 0,
                       &rope_.original_context));
    // Of old files, which name no type.
    DAPPLE_RETURN_IF_ERROR(
        keys_.Real("rope.scale_linear", 1.0, &rope_.linear_scale));
    DAPPLE_RETURN_IF_ERROR(ReadScaling());
    DAPPLE_RETURN_IF_ERROR(ReadFactors("rope_freqs.weight", &rope_.factors));
    DAPPLE_RETURN_IF_ERROR(
        ReadFactors("rope_factors_short.weight", &rope_.factors));
    DAPPLE_RETURN_IF_ERROR(
        ReadFactors("rope_factors_long.weight", &rope_.long_factors));
    if (!rope_.long_factors.empty()) {
      if (rope_.factors.empty() || rope_.original_context == 0)
        return Corrupt(file_.path() +
                       ": rope_factors_long.weight needs short factors and " +
                       keys_.Key("rope.scaling.original_context_length"));
      DAPPLE_RETURN_IF_ERROR(
          keys_.Real("rope.scaling.attn_factor", 0.0, &rope_.magnitude));
    }
    return Status::Ok();
  }

 private:
  Status ReadScaling() {
    const std::string type_key = keys_.Key("rope.scaling.type");
    DAPPLE_ASSIGN_OR_RETURN(auto type, file_.String(type_key));
    // LongRoPE is told by its factors, which are tensors.
    if (!type || *type == "none" || *type == "longrope") return Status::Ok();
    if (*type != "linear" && *type != "yarn")
      return Unsupported(file_.path() + ": RoPE scaling " + Quoted(*type) +
                         " is not supported (linear, yarn and longrope are)");
    double factor = 0;
    DAPPLE_RETURN_IF_ERROR(keys_.Real("rope.scaling.factor", 1.0, &factor));
    if (factor == 0)
      return Corrupt(file_.path() + ": " + std::string(*type) +
                     " RoPE scaling needs " + keys_.Key("rope.scaling.factor"));
    if (*type == "linear") {
      rope_.linear_scale = factor;
      return Status::Ok();
    }
    rope_.yarn_factor = factor;
    if (rope_.original_context == 0) rope_.original_context = config_.context;
    DAPPLE_RETURN_IF_ERROR(
        keys_.Real("rope.scaling.yarn_beta_fast", 0.0, &rope_.yarn_beta_fast));
    DAPPLE_RETURN_IF_ERROR(
        keys_.Real("rope.scaling.yarn_beta_slow", 0.0, &rope_.yarn_beta_slow));
    double attention = 1.0, again = 1.0;
    DAPPLE_RETURN_IF_ERROR(
        keys_.Real("rope.scaling.attn_factor", 0.0, &attention));
    DAPPLE_RETURN_IF_ERROR(
        keys_.Real("rope.scaling.yarn_attn_factor", 0.0, &again));
    // §3.4: the logits' temperature, as a factor of both q and k.
    rope_.magnitude = attention * again * (0.1 * std::log(factor) + 1.0);
    return Status::Ok();
  }

  Status ReadFactors(const char* name, std::vector<float>* out) {
    const GgufTensor* factors = file_.FindTensor(name);
    if (factors == nullptr) return Status::Ok();
    if (factors->type != TensorType::kF32 ||
        factors->elements() != rope_.dims / 2)
      return Corrupt(file_.path() + ": " + name + " must be f32 of " +
                     std::to_string(rope_.dims / 2) + " elements");
    out->resize(rope_.dims / 2);
    kernels::Dequantize(TensorType::kF32, factors->data.data(), rope_.dims / 2,
                        out->data());
    for (float factor : *out)
      if (!(factor > 0) || !std::isfinite(factor))
        return Corrupt(file_.path() + ": " + name +
                       " holds a factor that is not positive");
    return Status::Ok();
  }

  const GgufFile& file_;
  const KeyReader& keys_;
  ModelConfig& config_;
  RopeConfig& rope_;
};

// Windows and caps: what the newer architectures add.
Status ReadAttention(const GgufFile& file, const KeyReader& keys,
                     ModelConfig* config) {
  const Architecture& arch = *config->architecture;
  const size_t scaled_by = config->layers == arch.wide_scale_layers
                               ? config->width / config->heads
                               : config->head_dim;
  config->attention_scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(scaled_by)));
  if (arch.scaled_embedding)
    config->embedding_scale =
        static_cast<float>(std::sqrt(static_cast<double>(config->width)));
  // Files made before the key existed.
  size_t window = 0;
  if (arch.name == "gemma2") window = 4096;
  if (arch.name == "phi3" && config->context == 4096 &&
      (config->layers == 32 || config->layers == 40))
    window = 2047;
  DAPPLE_RETURN_IF_ERROR(keys.Optional("attention.sliding_window", kMaxContext,
                                       window, &config->window));
  if (arch.window_period != 0 && config->window == 0)
    return Corrupt(file.path() + ": key " +
                   keys.Key("attention.sliding_window") + " is missing");
  if (const GgufValue* period =
          file.Find(keys.Key("attention.sliding_window_pattern"));
      period != nullptr && arch.window_period != 0) {
    DAPPLE_ASSIGN_OR_RETURN(
        auto value, file.Uint(keys.Key("attention.sliding_window_pattern")));
    if (value && *value != arch.window_period)
      return Unsupported(file.path() + ": a sliding window pattern of " +
                         std::to_string(*value) + " is not supported (" +
                         std::to_string(arch.window_period) + " is)");
  }
  double attention = 0, logits = 0;
  DAPPLE_RETURN_IF_ERROR(keys.Real("attn_logit_softcapping", 0.0, &attention));
  DAPPLE_RETURN_IF_ERROR(keys.Real("final_logit_softcapping", 0.0, &logits));
  config->attention_softcap = static_cast<float>(attention);
  config->logit_softcap = static_cast<float>(logits);
  return Status::Ok();
}

}  // namespace

Result<ModelConfig> ModelConfig::FromGguf(const GgufFile& file) {
  ModelConfig config;
  DAPPLE_ASSIGN_OR_RETURN(auto architecture,
                          file.String("general.architecture"));
  if (!architecture)
    return Corrupt(file.path() + ": key general.architecture is missing");
  config.architecture = FindArchitecture(*architecture);
  if (config.architecture == nullptr)
    return Unsupported(file.path() + ": architecture " + Quoted(*architecture) +
                       " is not supported (supported: " + ArchitectureNames() +
                       ")");
  DAPPLE_ASSIGN_OR_RETURN(auto name, file.String("general.name"));
  if (name) config.name = std::string(*name);

  const KeyReader keys(file, std::string(config.architecture->name));
  DAPPLE_RETURN_IF_ERROR(
      keys.Required("block_count", kMaxLayers, &config.layers));
  DAPPLE_RETURN_IF_ERROR(
      keys.Required("embedding_length", kMaxWidth, &config.width));
  DAPPLE_RETURN_IF_ERROR(
      keys.Required("feed_forward_length", kMaxWidth, &config.ffn_width));
  DAPPLE_RETURN_IF_ERROR(
      keys.Required("attention.head_count", kMaxHeads, &config.heads));
  DAPPLE_RETURN_IF_ERROR(keys.Optional("attention.head_count_kv", kMaxHeads,
                                       config.heads, &config.kv_heads));
  DAPPLE_RETURN_IF_ERROR(
      keys.Required("context_length", kMaxContext, &config.context));
  if (config.heads % config.kv_heads != 0)
    return Corrupt(file.path() + ": " + std::to_string(config.heads) +
                   " query heads cannot share " +
                   std::to_string(config.kv_heads) + " key/value heads");
  if (file.Find(keys.Key("attention.key_length")) == nullptr &&
      config.width % config.heads != 0)
    return Corrupt(file.path() + ": width " + std::to_string(config.width) +
                   " is not a multiple of " + std::to_string(config.heads) +
                   " heads, and no head size is given");
  size_t value_length = 0;
  DAPPLE_RETURN_IF_ERROR(keys.Optional("attention.key_length", kMaxHeadDim,
                                       config.width / config.heads,
                                       &config.head_dim));
  DAPPLE_RETURN_IF_ERROR(keys.Optional("attention.value_length", kMaxHeadDim,
                                       config.head_dim, &value_length));
  if (value_length != config.head_dim)
    return Unsupported(file.path() +
                       ": keys and values of different sizes are not "
                       "supported");
  if (config.head_dim % 8 != 0 || config.head_dim > kMaxHeadDim)
    return Unsupported(file.path() + ": head size " +
                       std::to_string(config.head_dim) +
                       " is not a multiple of 8 up to 256");
  size_t experts = 0;
  if (file.Find(keys.Key("expert_count")) != nullptr) {
    DAPPLE_ASSIGN_OR_RETURN(auto count, file.Uint(keys.Key("expert_count")));
    if (count) experts = static_cast<size_t>(*count);
  }
  if (experts > 1)
    return Unsupported(file.path() +
                       ": mixture-of-experts models are not supported");

  DAPPLE_ASSIGN_OR_RETURN(
      auto epsilon, file.Float(keys.Key("attention.layer_norm_rms_epsilon")));
  if (!epsilon || !(*epsilon > 0) || !(*epsilon < 1))
    return Corrupt(file.path() + ": " +
                   keys.Key("attention.layer_norm_rms_epsilon") +
                   " is missing or not in (0, 1)");
  config.norm_epsilon = static_cast<float>(*epsilon);
  DAPPLE_RETURN_IF_ERROR(ReadAttention(file, keys, &config));
  DAPPLE_RETURN_IF_ERROR(RopeReader(file, keys, &config).Read());

  const GgufTensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr)
    return Corrupt(file.path() + ": tensor token_embd.weight is missing");
  if (embedding->dims[1] == 0 || embedding->dims[1] > kMaxVocab)
    return Corrupt(file.path() + ": vocabulary of " +
                   std::to_string(embedding->dims[1]) + " is out of range");
  config.vocab = static_cast<size_t>(embedding->dims[1]);
  return config;
}

}  // namespace dapple
