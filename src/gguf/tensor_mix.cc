#include "gguf/tensor_mix.h"

#include <charconv>

namespace dapple {
namespace {

// "blk.12.ffn_down.weight": 12 and "ffn_down.weight". False for other names.
bool SplitName(std::string_view name, uint64_t* layer, std::string_view* part) {
  if (!name.starts_with("blk.")) return false;
  name.remove_prefix(4);
  const auto [end, error] =
      std::from_chars(name.data(), name.data() + name.size(), *layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.')
    return false;
  *part = name.substr(static_cast<size_t>(end - name.data()) + 1);
  return true;
}

// The first and last eighth of the layers, and every third between.
bool DeservesMore(uint64_t layer, uint64_t layers) {
  const uint64_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

// Of about the same size, with rows of 32 instead of 256.
TensorType SmallBlockType(TensorType type) {
  switch (type) {
    case TensorType::kQ2_K:
    case TensorType::kQ3_K:
    case TensorType::kIQ4_XS:
      return TensorType::kIQ4_NL;
    case TensorType::kQ4_K:
      return TensorType::kQ5_0;
    case TensorType::kQ5_K:
      return TensorType::kQ5_1;
    case TensorType::kQ6_K:
      return TensorType::kQ8_0;
    default:
      return type;
  }
}

}  // namespace

const std::vector<TensorMix>& TensorMix::All() {
  // file_type: GGUF spec, "general.file_type".
  static const std::vector<TensorMix> mixes = {
      {"q4_0", TensorType::kQ4_0, 2, false},
      {"q4_1", TensorType::kQ4_1, 3, false},
      {"q5_0", TensorType::kQ5_0, 8, false},
      {"q5_1", TensorType::kQ5_1, 9, false},
      {"q8_0", TensorType::kQ8_0, 7, false},
      {"q2_k", TensorType::kQ2_K, 10, true},
      {"q3_k_s", TensorType::kQ3_K, 11, false},
      {"q3_k_m", TensorType::kQ3_K, 12, true},
      {"q4_k_s", TensorType::kQ4_K, 14, false},
      {"q4_k_m", TensorType::kQ4_K, 15, true},
      {"q5_k_s", TensorType::kQ5_K, 16, false},
      {"q5_k_m", TensorType::kQ5_K, 17, true},
      {"q6_k", TensorType::kQ6_K, 18, false},
      {"iq4_nl", TensorType::kIQ4_NL, 25, false},
      {"iq4_xs", TensorType::kIQ4_XS, 30, false},
      {"mxfp4", TensorType::kMXFP4, 38, false},
      {"bf16", TensorType::kBF16, 32, false},
      {"f16", TensorType::kF16, 1, false},
      {"f32", TensorType::kF32, 0, false},
  };
  return mixes;
}

const TensorMix* TensorMix::Find(std::string_view name) {
  for (const TensorMix& mix : All())
    if (mix.name == name) return &mix;
  // What people type for short.
  if (name == "q3_k" || name == "q4_k" || name == "q5_k")
    return Find(std::string(name) + "_m");
  return nullptr;
}

bool TensorMix::Applies(const GgufTensor& tensor) {
  if (tensor.dim_count < 2 || !tensor.name.ends_with("weight")) return false;
  // Small, and read element by element or deciding what is computed at all.
  for (const std::string_view part :
       {"_norm.", "ffn_gate_inp.", "rope_freqs", "rope_factors", "position_"})
    if (tensor.name.find(part) != std::string_view::npos) return false;
  return true;
}

TensorType TensorMix::TypeFor(const GgufTensor& tensor, uint64_t layers,
                              bool tied, bool pure, bool* fallback) const {
  TensorType wanted = type;
  const bool plain = InfoOf(type).block_elements == 1;
  uint64_t layer = 0;
  std::string_view part;
  const bool in_layer = SplitName(tensor.name, &layer, &part);
  if (pure || plain) {
    // One type.
  } else if (tensor.name == "output.weight" ||
             (tied && tensor.name == "token_embd.weight")) {
    if (type != TensorType::kQ8_0) wanted = TensorType::kQ6_K;
  } else if (mixed && in_layer) {
    const bool value = part == "attn_v.weight" || part == "attn_qkv.weight";
    const bool down = part == "ffn_down.weight";
    if (type == TensorType::kQ4_K || type == TensorType::kQ5_K) {
      if ((value || down) && DeservesMore(layer, layers))
        wanted = TensorType::kQ6_K;
    } else if (type == TensorType::kQ3_K) {
      if (value || down)
        wanted = layer < (down ? layers / 16 : 2) ? TensorType::kQ5_K
                                                  : TensorType::kQ4_K;
      if (part == "attn_output.weight") wanted = TensorType::kQ4_K;
    } else if (type == TensorType::kQ2_K) {
      if (value) wanted = TensorType::kQ4_K;
      if (down || part == "attn_output.weight") wanted = TensorType::kQ3_K;
    }
  }
  *fallback = false;
  if (tensor.dims[0] % InfoOf(wanted).block_elements != 0) {
    *fallback = true;
    wanted = SmallBlockType(wanted);
    if (tensor.dims[0] % InfoOf(wanted).block_elements != 0)
      wanted = TensorType::kF16;
  }
  return wanted;
}

}  // namespace dapple
