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

#include "convert/hf_rope.h"
#include "dapple/status.h"
#include "gguf/architecture.h"

namespace dapple {

struct HfConfig {
  static Result<HfConfig> Read(const std::string& path);

  std::string model_type;  // "llama", "mistral", "gemma3_text", ...
  // What it is called in GGUF; one of kArchitectures.
  const Architecture* architecture = nullptr;
  // The text model is one part of a larger one (Gemma 3 with images): its
  // tensors have another prefix, and the other parts' tensors are left out.
  bool nested = false;
  std::string name;  // last part of _name_or_path; may be empty
  uint64_t vocab_size = 0;
  uint64_t hidden_size = 0;
  uint64_t layers = 0;
  uint64_t heads = 0;
  uint64_t kv_heads = 0;  // divides heads
  uint64_t head_dim = 0;  // even
  uint64_t ffn_size = 0;
  uint64_t context = 0;
  std::optional<uint64_t> sliding_window;  // of the layers that have one
  double rms_eps = 1e-6;
  HfRope rope;
  double attention_softcap = 0;  // 0: none
  double logit_softcap = 0;      // 0: none
  // Queries are multiplied by this at conversion (see QueryFactor).
  double query_factor = 1.0;
  bool qkv_bias = false;
  bool tied_embeddings = false;
  std::optional<uint64_t> bos_id;
  std::optional<uint64_t> eos_id;  // the first, where there are several
  std::optional<uint64_t> pad_id;
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_HF_CONFIG_H_
