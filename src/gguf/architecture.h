// Architecture: what the name in general.architecture says about a model that
// no key or tensor of the file repeats.
//
// One table serves the converter, the inspector and the engine, so that a file
// which Dapple writes is a file which Dapple reads. The conventions are those
// that GGUF producers share.
#ifndef DAPPLE_GGUF_ARCHITECTURE_H_
#define DAPPLE_GGUF_ARCHITECTURE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace dapple {

struct Architecture {
  std::string_view name;  // prefix of its keys: "llama"
  // RoPE turns elements (2i, 2i + 1) of a head; otherwise (i, i + dims / 2).
  // Rows of attn_q and attn_k are stored in that order.
  bool adjacent_rope = false;
  // attn_qkv holds queries, keys and values, ffn_up both gate and up.
  bool fused = false;
  bool qk_norm = false;           // attn_q_norm and attn_k_norm, a head each
  bool post_norms = false;        // also after attention and feed-forward
  bool gelu = false;              // gates with tanh-GELU instead of SiLU
  bool scaled_embedding = false;  // by the square root of the width
  // With a window: of each run of this many layers all but the last have it.
  // 0: every layer has it.
  size_t window_period = 0;
  // Of each run of this many layers the last has no RoPE. 0: all have it.
  size_t rope_period = 0;
  // Layers with a window rotate by a base of their own, unscaled.
  bool local_rope = false;
  // With this many layers, q·k is scaled by the width a head, not by the head
  // size: the one published size of the family that differs.
  size_t wide_scale_layers = 0;

  // Between layers the residual stream is kept as f16 times this (a power of
  // two, so that nothing else changes): some families' outliers pass 65,504.
  float residual_scale = 1.0f / 16;

  bool Windowed(size_t layer) const {
    return window_period == 0 || (layer + 1) % window_period != 0;
  }
  bool Rotates(size_t layer) const {
    return rope_period == 0 || (layer + 1) % rope_period != 0;
  }
};

inline constexpr Architecture kArchitectures[] = {
    {.name = "llama", .adjacent_rope = true, .residual_scale = 1.0f},
    {.name = "qwen2"},
    {.name = "qwen3", .qk_norm = true},
    {.name = "gemma2",
     .post_norms = true,
     .gelu = true,
     .scaled_embedding = true,
     .window_period = 2,
     .wide_scale_layers = 46,
     .residual_scale = 1.0f / 64},
    {.name = "gemma3",
     .qk_norm = true,
     .post_norms = true,
     .gelu = true,
     .scaled_embedding = true,
     .window_period = 6,
     .local_rope = true,
     .wide_scale_layers = 62,
     .residual_scale = 1.0f / 64},
    {.name = "phi3", .fused = true},
    {.name = "smollm3", .adjacent_rope = true, .rope_period = 4},
};

// nullptr: not one that Dapple runs.
inline const Architecture* FindArchitecture(std::string_view name) {
  for (const Architecture& architecture : kArchitectures)
    if (architecture.name == name) return &architecture;
  return nullptr;
}

// "llama, qwen2, ..." for messages.
inline std::string ArchitectureNames() {
  std::string names;
  for (const Architecture& architecture : kArchitectures) {
    if (!names.empty()) names += ", ";
    names += architecture.name;
  }
  return names;
}

}  // namespace dapple

#endif  // DAPPLE_GGUF_ARCHITECTURE_H_
