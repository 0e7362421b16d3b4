// HfConfig: config.json of a Hugging Face model folder, checked.
//
// Anything that would change the computation and that Dapple does not know is
// refused by name: a model must not convert into one that answers wrongly.
#ifndef DAPPLE_CONVERT_HF_CONFIG_H_
#define DAPPLE_CONVERT_HF_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dapple/status.h"

namespace dapple {

// Llama 3's stretching of slow rope frequencies (config.json's rope_scaling or
// rope_parameters with rope_type "llama3").
struct Llama3Rope {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_context = 8192.0;
};

struct HfConfig {
  static Result<HfConfig> Read(const std::string& path);

  // The divisor of each rope frequency, [head_dim / 2]; empty without scaling.
  std::vector<float> RopeFactors() const;

  std::string model_type;  // "llama" or "mistral"
  std::string name;        // last part of _name_or_path; may be empty
  uint64_t vocab_size = 0;
  uint64_t hidden_size = 0;
  uint64_t layers = 0;
  uint64_t heads = 0;
  uint64_t kv_heads = 0;  // divides heads
  uint64_t head_dim = 0;  // even
  uint64_t ffn_size = 0;
  uint64_t context = 0;
  std::optional<uint64_t> sliding_window;
  double rms_eps = 1e-6;
  double rope_theta = 10000.0;
  std::optional<Llama3Rope> llama3_rope;
  bool tied_embeddings = false;
  std::optional<uint64_t> bos_id;
  std::optional<uint64_t> eos_id;  // the first, where there are several
  std::optional<uint64_t> pad_id;
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_HF_CONFIG_H_
