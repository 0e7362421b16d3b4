#include "model/model_config.h"

#include <cmath>
#include <optional>
#include <string_view>

#include "gguf/gguf_file.h"
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

Status ReadRope(const GgufFile& file, const KeyReader& keys,
                ModelConfig* config) {
  RopeConfig& rope = config->rope;
  DAPPLE_RETURN_IF_ERROR(keys.Optional("rope.dimension_count", kMaxHeadDim,
                                       config->head_dim, &rope.dims));
  if (rope.dims % 2 != 0 || rope.dims > config->head_dim)
    return Corrupt(file.path() + ": " + keys.Key("rope.dimension_count") +
                   " = " + std::to_string(rope.dims) +
                   " must be even and at most the head size " +
                   std::to_string(config->head_dim));
  DAPPLE_ASSIGN_OR_RETURN(auto base, file.Float(keys.Key("rope.freq_base")));
  if (base) rope.base = *base;
  if (!(rope.base >= 1.0) || !std::isfinite(rope.base))
    return Corrupt(file.path() + ": " + keys.Key("rope.freq_base") +
                   " must be at least 1");
  DAPPLE_ASSIGN_OR_RETURN(auto scaling,
                          file.String(keys.Key("rope.scaling.type")));
  if (scaling && *scaling == "linear") {
    DAPPLE_ASSIGN_OR_RETURN(auto factor,
                            file.Float(keys.Key("rope.scaling.factor")));
    if (!factor || !(*factor >= 1.0) || !std::isfinite(*factor))
      return Corrupt(file.path() + ": linear RoPE scaling needs a factor >= 1");
    rope.linear_scale = *factor;
  } else if (scaling && *scaling != "none") {
    return Unsupported(file.path() + ": RoPE scaling '" +
                       std::string(*scaling) + "' is not supported yet");
  }
  if (const GgufTensor* factors = file.FindTensor("rope_freqs.weight")) {
    if (factors->type != TensorType::kF32 ||
        factors->elements() != rope.dims / 2)
      return Corrupt(file.path() + ": rope_freqs.weight must be f32 of " +
                     std::to_string(rope.dims / 2) + " elements");
    rope.factors.resize(rope.dims / 2);
    kernels::Dequantize(TensorType::kF32, factors->data.data(), rope.dims / 2,
                        rope.factors.data());
    for (float factor : rope.factors)
      if (!(factor > 0) || !std::isfinite(factor))
        return Corrupt(file.path() +
                       ": rope_freqs.weight holds a factor that is not "
                       "positive");
  }
  return Status::Ok();
}

}  // namespace

Result<ModelConfig> ModelConfig::FromGguf(const GgufFile& file) {
  ModelConfig config;
  DAPPLE_ASSIGN_OR_RETURN(auto architecture,
                          file.String("general.architecture"));
  if (!architecture)
    return Corrupt(file.path() + ": key general.architecture is missing");
  config.architecture = std::string(*architecture);
  if (config.architecture != "llama")
    return Unsupported(file.path() + ": architecture '" + config.architecture +
                       "' is not supported (supported: llama)");
  DAPPLE_ASSIGN_OR_RETURN(auto name, file.String("general.name"));
  if (name) config.name = std::string(*name);

  const KeyReader keys(file, config.architecture);
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
  DAPPLE_RETURN_IF_ERROR(keys.Optional("expert_count", kMaxWidth, 1, &experts));
  if (experts != 1)
    return Unsupported(file.path() +
                       ": mixture-of-experts models are not supported");

  DAPPLE_ASSIGN_OR_RETURN(
      auto epsilon, file.Float(keys.Key("attention.layer_norm_rms_epsilon")));
  if (!epsilon || !(*epsilon > 0) || !(*epsilon < 1))
    return Corrupt(file.path() + ": " +
                   keys.Key("attention.layer_norm_rms_epsilon") +
                   " is missing or not in (0, 1)");
  config.norm_epsilon = static_cast<float>(*epsilon);
  config.attention_scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  DAPPLE_RETURN_IF_ERROR(ReadRope(file, keys, &config));

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
