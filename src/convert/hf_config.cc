#include "convert/hf_config.h"

#include <cmath>
#include <string_view>

#include "convert/json_file.h"
#include "gguf/printable.h"

namespace dapple {
namespace {

using nlohmann::json;

// Far above any model; keeps every product of two sizes inside 64 bits.
constexpr uint64_t kMaxSize = uint64_t{1} << 31;

// A model type: its name in GGUF, and what the library that defines it assumes
// where config.json is silent.
struct HfFamily {
  std::string_view model_type;
  std::string_view architecture;
  bool tied = false;
  bool windowed = false;  // sliding_window counts
  // sliding_window counts only with use_sliding_window, and then not for
  // layers that Dapple could tell: refused.
  bool optional_window = false;
  bool qkv_bias = false;
  uint64_t head_dim = 0;  // 0: the width a head
  uint64_t window = 0;    // 0: none
  double theta = 10000.0;
  double softcap[2] = {0, 0};  // of attention, of the logits
};

constexpr HfFamily kFamilies[] = {
    {.model_type = "llama", .architecture = "llama"},
    {.model_type = "mistral", .architecture = "llama", .windowed = true},
    {.model_type = "qwen2",
     .architecture = "qwen2",
     .optional_window = true,
     .qkv_bias = true},
    {.model_type = "qwen3",
     .architecture = "qwen3",
     .optional_window = true,
     .head_dim = 128},
    {.model_type = "gemma2",
     .architecture = "gemma2",
     .tied = true,
     .windowed = true,
     .head_dim = 256,
     .window = 4096,
     .softcap = {50, 30}},
    {.model_type = "gemma3_text",
     .architecture = "gemma3",
     .tied = true,
     .windowed = true,
     .head_dim = 256,
     .window = 4096,
     .theta = 1e6},
    {.model_type = "phi3", .architecture = "phi3", .windowed = true},
    {.model_type = "smollm3",
     .architecture = "smollm3",
     .tied = true,
     .optional_window = true,
     .theta = 2e6},
};

std::string FamilyNames() {
  std::string names;
  for (const HfFamily& family : kFamilies) {
    if (!names.empty()) names += ", ";
    names += family.model_type;
  }
  return names;
}

Status ReadSize(const JsonFields& fields, const char* key,
                std::optional<uint64_t> fallback, uint64_t* out) {
  DAPPLE_ASSIGN_OR_RETURN(std::optional<uint64_t> value, fields.Uint(key));
  if (!value.has_value()) value = fallback;
  if (!value.has_value()) return fields.Wrong(key, "is missing");
  if (*value == 0 || *value > kMaxSize)
    return fields.Wrong(
        key, "is " + std::to_string(*value) + ", which is out of range");
  *out = *value;
  return Status::Ok();
}

Status ReadPositive(const JsonFields& fields, const char* key, double* out) {
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<double> value,
                          fields.Number(key));
  if (!value.has_value()) return Status::Ok();
  if (!(*value > 0.0) || !std::isfinite(*value))
    return fields.Wrong(key, "is not a positive number");
  *out = *value;
  return Status::Ok();
}

// An id, or the first of a list of ids.
Status ReadTokenId(const JsonFields& fields, const char* key,
                   std::optional<uint64_t>* out) {
  const json* value = fields.Find(key);
  if (value == nullptr) return Status::Ok();
  if (value->is_array() && !value->empty()) value = &value->front();
  if (!value->is_number_unsigned())
    return fields.Wrong(key, "is not a token id");
  *out = *value->get_ptr<const uint64_t*>();
  return Status::Ok();
}

// Fills an HfConfig from one family's config.json.
class ConfigReader {
 public:
  ConfigReader(const std::string& path, const json& object,
               const HfFamily& family, HfConfig* config)
      : path_(path), fields_(object, path), family_(family), config_(*config) {}

  Status Read() {
    config_.architecture = FindArchitecture(family_.architecture);
    if (config_.architecture == nullptr)
      return Internal("unknown architecture");
    DAPPLE_RETURN_IF_ERROR(CheckVariant());
    DAPPLE_RETURN_IF_ERROR(ReadSizes());
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "rms_norm_eps", &config_.rms_eps));
    config_.rope.theta = family_.theta;
    DAPPLE_RETURN_IF_ERROR(
        config_.rope.Read(path_, fields_, config_.architecture->local_rope,
                          config_.context, config_.head_dim));
    // Reordering the rows of a partly rotated head is not needed by any model.
    if (config_.architecture->adjacent_rope &&
        config_.rope.Dims(config_.head_dim) != config_.head_dim)
      return Unsupported(path_ + ": 'partial_rotary_factor' is not supported " +
                         "for " + config_.model_type);
    DAPPLE_RETURN_IF_ERROR(ReadWindow());
    DAPPLE_RETURN_IF_ERROR(CheckLayerTypes());
    DAPPLE_RETURN_IF_ERROR(ReadScales());
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> tied,
                            fields_.Bool("tie_word_embeddings"));
    config_.tied_embeddings = tied.value_or(family_.tied);
    config_.qkv_bias = family_.qkv_bias;
    return Status::Ok();
  }

 private:
  // Switches that would add tensors or change the maths.
  Status CheckVariant() {
    for (const char* key :
         {"attention_bias", "mlp_bias", "use_bidirectional_attention"}) {
      DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> set, fields_.Bool(key));
      if (set.value_or(false))
        return Unsupported(path_ + ": '" + key + "' is not supported");
    }
    const char* wanted =
        config_.architecture->gelu ? "gelu_pytorch_tanh" : "silu";
    DAPPLE_ASSIGN_OR_RETURN(std::optional<std::string> activation,
                            fields_.String("hidden_activation"));
    if (!activation.has_value()) {
      DAPPLE_ASSIGN_OR_RETURN(activation, fields_.String("hidden_act"));
    }
    if (activation.value_or(wanted) != wanted)
      return Unsupported(path_ + ": activation " + Quoted(*activation) +
                         " is not supported (" + wanted + " is)");
    if (fields_.Find("quantization_config") != nullptr)
      return Unsupported(path_ +
                         ": the weights are already quantized; convert the "
                         "original model");
    return Status::Ok();
  }

  Status ReadSizes() {
    HfConfig& c = config_;
    DAPPLE_RETURN_IF_ERROR(ReadSize(fields_, "vocab_size", {}, &c.vocab_size));
    DAPPLE_RETURN_IF_ERROR(
        ReadSize(fields_, "hidden_size", {}, &c.hidden_size));
    DAPPLE_RETURN_IF_ERROR(
        ReadSize(fields_, "num_hidden_layers", {}, &c.layers));
    DAPPLE_RETURN_IF_ERROR(
        ReadSize(fields_, "num_attention_heads", {}, &c.heads));
    DAPPLE_RETURN_IF_ERROR(
        ReadSize(fields_, "num_key_value_heads", c.heads, &c.kv_heads));
    DAPPLE_RETURN_IF_ERROR(
        ReadSize(fields_, "intermediate_size", {}, &c.ffn_size));
    DAPPLE_RETURN_IF_ERROR(
        ReadSize(fields_, "max_position_embeddings", {}, &c.context));
    if (c.heads % c.kv_heads != 0)
      return fields_.Wrong("num_key_value_heads",
                           "does not divide num_attention_heads");
    std::optional<uint64_t> head_dim;
    if (family_.head_dim != 0)
      head_dim = family_.head_dim;
    else if (c.hidden_size % c.heads == 0)
      head_dim = c.hidden_size / c.heads;
    DAPPLE_RETURN_IF_ERROR(
        ReadSize(fields_, "head_dim", head_dim, &c.head_dim));
    if (c.head_dim % 2 != 0) return fields_.Wrong("head_dim", "is odd");
    return Status::Ok();
  }

  Status ReadWindow() {
    DAPPLE_ASSIGN_OR_RETURN(std::optional<uint64_t> window,
                            fields_.Uint("sliding_window"));
    if (window == 0u) return fields_.Wrong("sliding_window", "is 0");
    if (family_.optional_window) {
      DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> used,
                              fields_.Bool("use_sliding_window"));
      if (used.value_or(false))
        return Unsupported(path_ +
                           ": 'use_sliding_window' is not supported for " +
                           config_.model_type);
      return Status::Ok();
    }
    if (!family_.windowed) return Status::Ok();  // the library ignores it
    if (!window.has_value() && family_.window != 0) window = family_.window;
    config_.sliding_window = window;
    return Status::Ok();
  }

  // What the file says of single layers must be what GGUF readers assume.
  Status CheckLayerTypes() {
    const Architecture& arch = *config_.architecture;
    const json* types = fields_.Find("layer_types");
    if (types != nullptr) {
      if (!types->is_array() || types->size() != config_.layers)
        return fields_.Wrong("layer_types", "is not a list of one a layer");
      for (size_t i = 0; i < types->size(); ++i) {
        const bool window =
            config_.sliding_window.has_value() && arch.Windowed(i);
        const char* wanted = window ? "sliding_attention" : "full_attention";
        const std::string* type = (*types)[i].get_ptr<const std::string*>();
        if (type == nullptr || *type != wanted)
          return Unsupported(path_ + ": 'layer_types' of layer " +
                             std::to_string(i) + " is not " + wanted +
                             ", as it is in a " + config_.model_type +
                             " model that Dapple knows");
      }
    }
    for (const char* key :
         {"sliding_window_pattern", "_sliding_window_pattern"}) {
      DAPPLE_ASSIGN_OR_RETURN(const std::optional<uint64_t> period,
                              fields_.Uint(key));
      if (period.has_value() && arch.window_period != 0 &&
          *period != arch.window_period)
        return Unsupported(path_ + ": '" + key + "' " +
                           std::to_string(*period) + " is not supported (" +
                           std::to_string(arch.window_period) + " is)");
    }
    if (arch.rope_period == 0) return Status::Ok();
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<uint64_t> interval,
                            fields_.Uint("no_rope_layer_interval"));
    const json* rotates = fields_.Find("no_rope_layers");  // 1: has RoPE
    if (rotates == nullptr) {
      if (interval.value_or(arch.rope_period) != arch.rope_period)
        return Unsupported(path_ + ": 'no_rope_layer_interval' " +
                           std::to_string(*interval) + " is not supported (" +
                           std::to_string(arch.rope_period) + " is)");
      return Status::Ok();
    }
    if (!rotates->is_array() || rotates->size() != config_.layers)
      return fields_.Wrong("no_rope_layers", "is not a list of one a layer");
    for (size_t i = 0; i < rotates->size(); ++i)
      if ((*rotates)[i] != json(arch.Rotates(i) ? 1 : 0))
        return Unsupported(path_ + ": 'no_rope_layers' is not every " +
                           std::to_string(arch.rope_period) +
                           "th layer, as GGUF readers assume");
    return Status::Ok();
  }

  Status ReadScales() {
    const Architecture& arch = *config_.architecture;
    const std::pair<const char*, double*> caps[] = {
        {"attn_logit_softcapping", &config_.attention_softcap},
        {"final_logit_softcapping", &config_.logit_softcap}};
    for (size_t i = 0; i < 2; ++i) {
      const auto [key, cap] = caps[i];
      // null switches the cap off; absence means the family's own.
      if (!fields_.Has(key)) *cap = family_.softcap[i];
      DAPPLE_RETURN_IF_ERROR(ReadPositive(fields_, key, cap));
      if (*cap != 0 && family_.softcap[i] == 0)
        return Unsupported(path_ + ": '" + std::string(key) +
                           "' is not supported for " + config_.model_type);
    }
    if (!arch.scaled_embedding) return Status::Ok();
    // Gemma divides q·k by the root of a number of its own. GGUF has no key
    // for it: readers know the published models' numbers. For any other number
    // the ratio goes into the queries' weights.
    const double implied = config_.layers == arch.wide_scale_layers
                               ? static_cast<double>(config_.hidden_size) /
                                     static_cast<double>(config_.heads)
                               : static_cast<double>(config_.head_dim);
    double wanted = 256;
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "query_pre_attn_scalar", &wanted));
    config_.query_factor = std::sqrt(implied / wanted);
    return Status::Ok();
  }

  const std::string& path_;
  const JsonFields fields_;
  const HfFamily& family_;
  HfConfig& config_;
};

// Gemma 3 with images: the defaults of its text part, which are not those of a
// text model alone.
json WithGemma3Defaults(json text) {
  const std::pair<const char*, uint64_t> defaults[] = {
      {"vocab_size", 262208},
      {"num_attention_heads", 8},
      {"num_key_value_heads", 4},
      {"max_position_embeddings", 131072}};
  for (const auto& [key, value] : defaults)
    if (!text.contains(key)) text[key] = value;
  return text;
}

}  // namespace

Result<HfConfig> HfConfig::Read(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(const json object, ReadJsonObject(path));
  const JsonFields fields(object, path);
  HfConfig config;
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> type,
                          fields.String("model_type"));
  if (!type.has_value()) return fields.Wrong("model_type", "is missing");
  config.model_type = *type;
  json model = object;
  if (*type == "gemma3") {
    const json* text = fields.Find("text_config");
    if (text == nullptr || !text->is_object())
      return fields.Wrong("text_config", "is not an object");
    config.nested = true;
    config.model_type = "gemma3_text";
    model = WithGemma3Defaults(*text);
  }
  const HfFamily* family = nullptr;
  for (const HfFamily& known : kFamilies)
    if (known.model_type == config.model_type) family = &known;
  if (family == nullptr)
    return Unsupported(path + ": model type " + Quoted(*type) +
                       " is not supported (supported: " + FamilyNames() + ")");
  DAPPLE_RETURN_IF_ERROR(ConfigReader(path, model, *family, &config).Read());
  DAPPLE_RETURN_IF_ERROR(ReadTokenId(fields, "bos_token_id", &config.bos_id));
  DAPPLE_RETURN_IF_ERROR(ReadTokenId(fields, "eos_token_id", &config.eos_id));
  DAPPLE_RETURN_IF_ERROR(ReadTokenId(fields, "pad_token_id", &config.pad_id));
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> name,
                          fields.String("_name_or_path"));
  if (name.has_value()) config.name = name->substr(name->find_last_of('/') + 1);
  return config;
}

}  // namespace dapple
