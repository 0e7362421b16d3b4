#include "convert/hf_rope.h"

#include <cmath>
#include <numbers>

#include "gguf/printable.h"

namespace dapple {
namespace {

using nlohmann::json;

Status ReadPositive(const JsonFields& fields, const char* key, double* out) {
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<double> value,
                          fields.Number(key));
  if (!value.has_value()) return Status::Ok();
  if (!(*value > 0.0) || !std::isfinite(*value))
    return fields.Wrong(key, "is not a positive number");
  *out = *value;
  return Status::Ok();
}

Status ReadFactors(const JsonFields& fields, const char* key, uint64_t count,
                   std::vector<float>* out) {
  const json* list = fields.Find(key);
  if (list == nullptr || !list->is_array() || list->size() != count)
    return fields.Wrong(
        key, "is not a list of " + std::to_string(count) + " numbers");
  for (const json& entry : *list) {
    if (!entry.is_number())
      return fields.Wrong(key, "is not a list of numbers");
    const float factor = entry.get<float>();
    if (!(factor > 0) || !std::isfinite(factor))
      return fields.Wrong(key, "holds a factor that is not positive");
    out->push_back(factor);
  }
  return Status::Ok();
}

// Reads one scaling object ("rope_scaling", or a part of "rope_parameters").
class ScalingReader {
 public:
  ScalingReader(const std::string& where, const JsonFields& fields,
                HfRope* rope)
      : where_(where), fields_(fields), rope_(*rope) {}

  Status Read(uint64_t context, uint64_t head_dim) {
    DAPPLE_RETURN_IF_ERROR(ReadPositive(fields_, "rope_theta", &rope_.theta));
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "partial_rotary_factor", &rope_.rotary_share));
    DAPPLE_ASSIGN_OR_RETURN(std::optional<std::string> type,
                            fields_.String("rope_type"));
    if (!type.has_value()) {
      DAPPLE_ASSIGN_OR_RETURN(type, fields_.String("type"));
    }
    if (type.value_or("default") == "default") return Status::Ok();
    if (*type == "linear") return ReadLinear();
    if (*type == "llama3") return ReadLlama3();
    if (*type == "yarn") return ReadYarn(context);
    // "su" is the name that the first Phi-3 files have for it.
    if (*type == "longrope" || *type == "su")
      return ReadLongRope(context, head_dim);
    return Unsupported(where_ + ": rope scaling " + Quoted(*type) +
                       " is not supported (linear, llama3, yarn and longrope "
                       "are)");
  }

 private:
  Status ReadLinear() {
    rope_.scaling = HfRope::Scaling::kLinear;
    return ReadPositive(fields_, "factor", &rope_.factor);
  }

  Status ReadLlama3() {
    rope_.scaling = HfRope::Scaling::kLlama3;
    rope_.factor = 8.0;
    rope_.original_context = 8192.0;
    DAPPLE_RETURN_IF_ERROR(ReadPositive(fields_, "factor", &rope_.factor));
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "low_freq_factor", &rope_.low_freq_factor));
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "high_freq_factor", &rope_.high_freq_factor));
    DAPPLE_RETURN_IF_ERROR(ReadPositive(
        fields_, "original_max_position_embeddings", &rope_.original_context));
    if (rope_.high_freq_factor <= rope_.low_freq_factor)
      return Corrupt(where_ +
                     " has high_freq_factor not above low_freq_factor");
    return Status::Ok();
  }

  // Peng et al. 2023, "YaRN".
  Status ReadYarn(uint64_t context) {
    rope_.scaling = HfRope::Scaling::kYarn;
    for (const char* key : {"mscale", "mscale_all_dim"})
      if (fields_.Find(key) != nullptr)
        return Unsupported(where_ + ": '" + key + "' is not supported");
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> truncate,
                            fields_.Bool("truncate"));
    if (!truncate.value_or(true))
      return Unsupported(where_ + ": 'truncate' false is not supported");
    rope_.original_context = static_cast<double>(context);
    DAPPLE_RETURN_IF_ERROR(ReadPositive(
        fields_, "original_max_position_embeddings", &rope_.original_context));
    DAPPLE_RETURN_IF_ERROR(ReadPositive(fields_, "factor", &rope_.factor));
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "beta_fast", &rope_.beta_fast));
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "beta_slow", &rope_.beta_slow));
    if (rope_.factor < 1.0) return fields_.Wrong("factor", "is below 1");
    const double own = 0.1 * std::log(rope_.factor) + 1.0;
    double attention = own;
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "attention_factor", &attention));
    rope_.attention_factor = attention / own;
    return Status::Ok();
  }

  // Ding et al. 2024, "LongRoPE", as Phi-3 has it.
  Status ReadLongRope(uint64_t context, uint64_t head_dim) {
    rope_.scaling = HfRope::Scaling::kLongRope;
    DAPPLE_RETURN_IF_ERROR(ReadPositive(
        fields_, "original_max_position_embeddings", &rope_.original_context));
    if (rope_.original_context == 0)
      return Corrupt(where_ +
                     ": longrope needs original_max_position_embeddings");
    rope_.factor = static_cast<double>(context) / rope_.original_context;
    DAPPLE_RETURN_IF_ERROR(ReadPositive(fields_, "factor", &rope_.factor));
    if (rope_.factor > 1.0)
      rope_.attention_factor = std::sqrt(
          1.0 + std::log(rope_.factor) / std::log(rope_.original_context));
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(fields_, "attention_factor", &rope_.attention_factor));
    const uint64_t count = rope_.Dims(head_dim) / 2;
    DAPPLE_RETURN_IF_ERROR(
        ReadFactors(fields_, "short_factor", count, &rope_.short_factors));
    return ReadFactors(fields_, "long_factor", count, &rope_.long_factors);
  }

  const std::string& where_;
  const JsonFields& fields_;
  HfRope& rope_;
};

// Kinds of layers that rope_parameters may tell apart.
constexpr const char* kFullLayers = "full_attention";
constexpr const char* kWindowLayers = "sliding_attention";

}  // namespace

Status HfRope::Read(const std::string& path, const JsonFields& top, bool local,
                    uint64_t context, uint64_t head_dim) {
  DAPPLE_RETURN_IF_ERROR(ReadPositive(top, "rope_theta", &theta));
  DAPPLE_RETURN_IF_ERROR(
      ReadPositive(top, "partial_rotary_factor", &rotary_share));
  DAPPLE_RETURN_IF_ERROR(
      ReadPositive(top, "original_max_position_embeddings", &original_context));
  if (local)
    DAPPLE_RETURN_IF_ERROR(
        ReadPositive(top, "rope_local_base_freq", &local_theta));
  // Newer files have rope_parameters, which also holds the base.
  const char* key = top.Find("rope_parameters") != nullptr ? "rope_parameters"
                                                           : "rope_scaling";
  const json* rope = top.Find(key);
  if (rope != nullptr) {
    if (!rope->is_object()) return top.Wrong(key, "is not an object");
    std::string where = path + ": '" + key + "'";
    const json* global = rope;
    for (const auto& [name, value] : rope->items()) {
      if (!value.is_object()) continue;
      if (!local || (name != kFullLayers && name != kWindowLayers))
        return Unsupported(where + " differs by layer type (" + Quoted(name) +
                           "), which is not supported for this model");
    }
    if (const auto part = rope->find(kWindowLayers); part != rope->end()) {
      HfRope own;
      own.theta = local_theta;
      const std::string own_where = where + " '" + kWindowLayers + "'";
      const JsonFields fields(*part, own_where);
      DAPPLE_RETURN_IF_ERROR(
          ScalingReader(own_where, fields, &own).Read(context, head_dim));
      if (own.scaling != Scaling::kNone)
        return Unsupported(own_where + ": rope scaling is not supported there");
      local_theta = own.theta;
    }
    if (const auto part = rope->find(kFullLayers); part != rope->end()) {
      global = &*part;
      where += std::string(" '") + kFullLayers + "'";
    }
    const JsonFields fields(*global, where);
    DAPPLE_RETURN_IF_ERROR(
        ScalingReader(where, fields, this).Read(context, head_dim));
  }
  if (rotary_share > 1.0)
    return Corrupt(path + ": 'partial_rotary_factor' is above 1");
  if (Dims(head_dim) == 0)
    return Corrupt(path + ": 'partial_rotary_factor' leaves nothing to rotate");
  return Status::Ok();
}

uint64_t HfRope::Dims(uint64_t head_dim) const {
  return static_cast<uint64_t>(static_cast<double>(head_dim) * rotary_share) /
         2 * 2;
}

std::vector<float> HfRope::Llama3Factors(uint64_t head_dim) const {
  std::vector<float> factors;
  if (scaling != Scaling::kLlama3) return factors;
  const uint64_t dims = Dims(head_dim);
  // Wavelengths shorter than the original context / high_freq_factor keep
  // their frequency, those longer than / low_freq_factor are stretched by
  // `factor`, and between the two the frequency is interpolated linearly.
  for (uint64_t i = 0; i < dims; i += 2) {
    const double frequency =
        1.0 /
        std::pow(theta, static_cast<double>(i) / static_cast<double>(dims));
    const double turns =  // in the original context
        original_context * frequency / (2.0 * std::numbers::pi);
    double divisor = 1.0;
    if (turns < low_freq_factor) {
      divisor = factor;
    } else if (turns <= high_freq_factor) {
      const double smooth =
          (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
      divisor = 1.0 / ((1.0 - smooth) / factor + smooth);
    }
    factors.push_back(static_cast<float>(divisor));
  }
  return factors;
}

}  // namespace dapple
