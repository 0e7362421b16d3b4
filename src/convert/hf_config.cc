#include "convert/hf_config.h"

#include <cmath>
#include <numbers>

#include "convert/json_file.h"
#include "gguf/printable.h"

namespace dapple {
namespace {

using nlohmann::json;

// Far above any model; keeps every product of two sizes inside 64 bits.
constexpr uint64_t kMaxSize = uint64_t{1} << 31;

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

// Switches that would add tensors or change the maths.
Status CheckVariant(const std::string& path, const JsonFields& fields) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> bias, fields.Bool(key));
    if (bias.value_or(false))
      return Unsupported(path + ": '" + key + "' is not supported");
  }
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> activation,
                          fields.String("hidden_act"));
  if (activation.value_or("silu") != "silu")
    return Unsupported(path + ": activation " + Quoted(*activation) +
                       " is not supported (silu is)");
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<double> rotary,
                          fields.Number("partial_rotary_factor"));
  if (rotary.value_or(1.0) != 1.0)
    return Unsupported(path + ": 'partial_rotary_factor' is not supported");
  if (fields.Find("quantization_config") != nullptr)
    return Unsupported(path +
                       ": the weights are already quantized; convert the "
                       "original model");
  return Status::Ok();
}

Status ReadRope(const std::string& path, const JsonFields& top,
                HfConfig* config) {
  DAPPLE_RETURN_IF_ERROR(ReadPositive(top, "rope_theta", &config->rope_theta));
  // Newer files have rope_parameters, which also holds the base.
  const char* key = top.Find("rope_parameters") != nullptr ? "rope_parameters"
                                                           : "rope_scaling";
  const json* rope = top.Find(key);
  if (rope == nullptr) return Status::Ok();
  if (!rope->is_object()) return top.Wrong(key, "is not an object");
  const std::string where = path + ": '" + key + "'";
  const JsonFields fields(*rope, where);
  DAPPLE_RETURN_IF_ERROR(
      ReadPositive(fields, "rope_theta", &config->rope_theta));
  DAPPLE_ASSIGN_OR_RETURN(std::optional<std::string> type,
                          fields.String("rope_type"));
  if (!type.has_value()) {
    DAPPLE_ASSIGN_OR_RETURN(type, fields.String("type"));
  }
  for (const auto& [name, value] : rope->items())
    if (value.is_object())
      return Unsupported(where + " differs by layer type (" + Quoted(name) +
                         "), which is not supported");
  if (type.value_or("default") == "default") return Status::Ok();
  if (*type != "llama3")
    return Unsupported(path + ": rope scaling " + Quoted(*type) +
                       " is not supported (llama3 is)");
  Llama3Rope scaling;
  DAPPLE_RETURN_IF_ERROR(ReadPositive(fields, "factor", &scaling.factor));
  DAPPLE_RETURN_IF_ERROR(
      ReadPositive(fields, "low_freq_factor", &scaling.low_freq_factor));
  DAPPLE_RETURN_IF_ERROR(
      ReadPositive(fields, "high_freq_factor", &scaling.high_freq_factor));
  DAPPLE_RETURN_IF_ERROR(ReadPositive(
      fields, "original_max_position_embeddings", &scaling.original_context));
  if (scaling.high_freq_factor <= scaling.low_freq_factor)
    return Corrupt(where + " has high_freq_factor not above low_freq_factor");
  config->llama3_rope = scaling;
  return Status::Ok();
}

}  // namespace

Result<HfConfig> HfConfig::Read(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(const json object, ReadJsonObject(path));
  const JsonFields fields(object, path);
  HfConfig config;
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> type,
                          fields.String("model_type"));
  if (!type.has_value()) return fields.Wrong("model_type", "is missing");
  if (*type != "llama" && *type != "mistral")
    return Unsupported(path + ": model type " + Quoted(*type) +
                       " is not supported (llama and mistral are)");
  config.model_type = *type;
  DAPPLE_RETURN_IF_ERROR(CheckVariant(path, fields));

  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "vocab_size", {}, &config.vocab_size));
  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "hidden_size", {}, &config.hidden_size));
  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "num_hidden_layers", {}, &config.layers));
  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "num_attention_heads", {}, &config.heads));
  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "num_key_value_heads", config.heads, &config.kv_heads));
  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "intermediate_size", {}, &config.ffn_size));
  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "max_position_embeddings", {}, &config.context));
  if (config.heads % config.kv_heads != 0)
    return fields.Wrong("num_key_value_heads",
                        "does not divide num_attention_heads");
  std::optional<uint64_t> head_dim;
  if (config.hidden_size % config.heads == 0)
    head_dim = config.hidden_size / config.heads;
  DAPPLE_RETURN_IF_ERROR(
      ReadSize(fields, "head_dim", head_dim, &config.head_dim));
  if (config.head_dim % 2 != 0) return fields.Wrong("head_dim", "is odd");

  DAPPLE_RETURN_IF_ERROR(ReadPositive(fields, "rms_norm_eps", &config.rms_eps));
  DAPPLE_RETURN_IF_ERROR(ReadRope(path, fields, &config));
  DAPPLE_ASSIGN_OR_RETURN(config.sliding_window, fields.Uint("sliding_window"));
  if (config.sliding_window == 0u)
    return fields.Wrong("sliding_window", "is 0");
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> tied,
                          fields.Bool("tie_word_embeddings"));
  config.tied_embeddings = tied.value_or(false);
  DAPPLE_RETURN_IF_ERROR(ReadTokenId(fields, "bos_token_id", &config.bos_id));
  DAPPLE_RETURN_IF_ERROR(ReadTokenId(fields, "eos_token_id", &config.eos_id));
  DAPPLE_RETURN_IF_ERROR(ReadTokenId(fields, "pad_token_id", &config.pad_id));
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> name,
                          fields.String("_name_or_path"));
  if (name.has_value()) config.name = name->substr(name->find_last_of('/') + 1);
  return config;
}

std::vector<float> HfConfig::RopeFactors() const {
  std::vector<float> factors;
  if (!llama3_rope.has_value()) return factors;
  const Llama3Rope& rope = *llama3_rope;
  // Wavelengths shorter than the original context / high_freq_factor keep
  // their frequency, those longer than / low_freq_factor are stretched by
  // `factor`, and between the two the frequency is interpolated linearly.
  for (uint64_t i = 0; i < head_dim; i += 2) {
    const double frequency =
        1.0 / std::pow(rope_theta,
                       static_cast<double>(i) / static_cast<double>(head_dim));
    const double turns =  // in the original context
        rope.original_context * frequency / (2.0 * std::numbers::pi);
    double factor = 1.0;
    if (turns < rope.low_freq_factor) {
      factor = rope.factor;
    } else if (turns <= rope.high_freq_factor) {
      const double smooth = (turns - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor);
      factor = 1.0 / ((1.0 - smooth) / rope.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

}  // namespace dapple
