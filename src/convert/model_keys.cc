#include "convert/model_keys.h"

#include <string>

namespace dapple {
namespace {

class KeyWriter {
 public:
  KeyWriter(std::string_view architecture, GgufWriter* writer)
      : prefix_(std::string(architecture) + "."), writer_(*writer) {}

  // Every size was checked to be at most 2^31.
  void Uint(const char* key, uint64_t value) {
    writer_.AddUint32(prefix_ + key, static_cast<uint32_t>(value));
  }
  void Float(const char* key, double value) {
    writer_.AddFloat32(prefix_ + key, static_cast<float>(value));
  }
  void String(const char* key, const char* value) {
    writer_.AddString(prefix_ + key, value);
  }

 private:
  std::string prefix_;
  GgufWriter& writer_;
};

void AddRopeKeys(const HfConfig& config, KeyWriter* keys) {
  const HfRope& rope = config.rope;
  keys->Uint("rope.dimension_count", rope.Dims(config.head_dim));
  keys->Float("rope.freq_base", rope.theta);
  if (config.architecture->local_rope)
    keys->Float("rope.freq_base_swa", rope.local_theta);
  switch (rope.scaling) {
    case HfRope::Scaling::kNone:
    case HfRope::Scaling::kLlama3:  // a tensor: rope_freqs
      break;
    case HfRope::Scaling::kLinear:
      keys->String("rope.scaling.type", "linear");
      keys->Float("rope.scaling.factor", rope.factor);
      break;
    case HfRope::Scaling::kYarn:
      keys->String("rope.scaling.type", "yarn");
      keys->Float("rope.scaling.factor", rope.factor);
      keys->Uint("rope.scaling.original_context_length",
                 static_cast<uint64_t>(rope.original_context));
      if (rope.attention_factor != 1.0)
        keys->Float("rope.scaling.attn_factor", rope.attention_factor);
      if (rope.beta_fast != 32.0)
        keys->Float("rope.scaling.yarn_beta_fast", rope.beta_fast);
      if (rope.beta_slow != 1.0)
        keys->Float("rope.scaling.yarn_beta_slow", rope.beta_slow);
      break;
    case HfRope::Scaling::kLongRope:  // two tensors: rope_factors_*
      keys->Uint("rope.scaling.original_context_length",
                 static_cast<uint64_t>(rope.original_context));
      keys->Float("rope.scaling.attn_factor", rope.attention_factor);
      break;
  }
}

}  // namespace

void AddModelKeys(const HfConfig& config, GgufWriter* writer) {
  const Architecture& architecture = *config.architecture;
  KeyWriter keys(architecture.name, writer);
  keys.Uint("vocab_size", config.vocab_size);
  keys.Uint("context_length", config.context);
  keys.Uint("embedding_length", config.hidden_size);
  keys.Uint("block_count", config.layers);
  keys.Uint("feed_forward_length", config.ffn_size);
  keys.Uint("attention.head_count", config.heads);
  keys.Uint("attention.head_count_kv", config.kv_heads);
  keys.Float("attention.layer_norm_rms_epsilon", config.rms_eps);
  AddRopeKeys(config, &keys);
  if (config.head_dim * config.heads != config.hidden_size) {
    keys.Uint("attention.key_length", config.head_dim);
    keys.Uint("attention.value_length", config.head_dim);
  }
  if (config.sliding_window.has_value())
    keys.Uint("attention.sliding_window", *config.sliding_window);
  else if (architecture.name == "phi3")
    // Readers take a missing key for an old file with a window of its own.
    keys.Uint("attention.sliding_window", config.context);
  if (config.attention_softcap != 0)
    keys.Float("attn_logit_softcapping", config.attention_softcap);
  if (config.logit_softcap != 0)
    keys.Float("final_logit_softcapping", config.logit_softcap);
}

}  // namespace dapple
