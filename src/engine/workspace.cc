#include "engine/workspace.h"

#include <algorithm>
#include <string_view>

#include "util/checked.h"

namespace dapple {

size_t HeadColumns(const ModelConfig& config) {
  return std::min(config.vocab, Workspace::kLogitColumns);
}

Result<std::vector<Workspace::Part>> Workspace::Layout(
    const ModelConfig& config, const Gemm& gemm, const WorkspaceShape& shape) {
  const uint64_t d = config.width;
  const uint64_t wide = std::max(d, uint64_t{config.query_width()});
  const uint64_t rows = shape.tile_rows;
  const uint64_t longest =
      std::max<uint64_t>({d, config.query_width(), config.ffn_width});
  layer.attention_stride =
      AlignUp(DecoderLayer::AttentionScratch(config), Arena::kAlignment / 4);

  // Only these two grow with the document; every other product is bounded by
  // ModelConfig's limits.
  uint64_t residual_bytes, kv_bytes, kv_rows;
  const KvSlots::Shape kv_shape{config.layers, config.kv_heads, config.head_dim,
                                shape.kv_type()};
  if (!CheckedMul(shape.prompt_tokens, d * shape.residual_bytes_per_element(),
                  &residual_bytes) ||
      !CheckedAdd(shape.prompt_tokens, shape.max_new_tokens, &kv_rows) ||
      !KvSlots::Bytes(kv_shape, kv_rows, &kv_bytes))
    return DoesNotFit("a prompt of " + std::to_string(shape.prompt_tokens) +
                      " tokens needs more memory than can be addressed");

  std::vector<Part> parts;
  const auto bytes = [&](const char* line, uint64_t size,
                         std::span<std::byte>* span) {
    parts.push_back({line, size, span, nullptr});
  };
  const auto floats = [&](const char* line, uint64_t count,
                          std::span<float>* span) {
    parts.push_back({line, count * sizeof(float), nullptr, span});
  };
  bytes("KV cache", kv_bytes, &kv);
  bytes("residual stream", residual_bytes, &residual);
  bytes("packed layer weights", DecoderLayer::PackedBytes(config, gemm),
        &packed);
  floats("activations", rows * d, &layer.x);
  floats("activations", rows * wide, &layer.a);
  floats("activations", rows * wide, &layer.b);
  floats("activations", rows * config.kv_width(), &layer.k);
  floats("activations", rows * config.kv_width(), &layer.v);
  floats("activations", rows * config.ffn_width, &layer.gate);
  floats("activations", rows * config.ffn_width, &layer.up);
  floats("activations", rows * config.rope.dims / 2, &layer.cos);
  floats("activations", rows * config.rope.dims / 2, &layer.sin);
  floats("activations",
         static_cast<uint64_t>(shape.threads) * layer.attention_stride,
         &layer.attention);
  bytes("activations", gemm.ScratchBytes(), &layer.gemm);
  bytes("activations", CeilDiv(longest, 32) * sizeof(kernels::BlockActivation),
        &activation_blocks_);
  floats("logits", config.vocab, &logits);
  if (shape.row_logits) {
    bytes("logits", gemm.PackedBytes({HeadColumns(config), config.width}),
          &head_panel);
    floats("logits", kLogitRows * uint64_t{config.vocab}, &row_logits);
  }
  return parts;
}

Result<std::vector<MemoryPart>> Workspace::Plan(const ModelConfig& config,
                                                const Gemm& gemm,
                                                const WorkspaceShape& shape) {
  Workspace unused;
  DAPPLE_ASSIGN_OR_RETURN(const std::vector<Part> parts,
                          unused.Layout(config, gemm, shape));
  std::vector<MemoryPart> lines;
  for (const Part& part : parts) {
    if (lines.empty() || lines.back().name != part.plan_line)
      lines.push_back({part.plan_line, 0, /*in_arena=*/true});
    lines.back().bytes += Arena::CarvedBytes(part.bytes);
  }
  return lines;
}

Result<Arena> Workspace::Carve(const ModelConfig& config, const Gemm& gemm,
                               const WorkspaceShape& shape) {
  DAPPLE_ASSIGN_OR_RETURN(const std::vector<Part> parts,
                          Layout(config, gemm, shape));
  uint64_t total = 0;
  for (const Part& part : parts)
    if (!CheckedAdd(total, Arena::CarvedBytes(part.bytes), &total))
      return DoesNotFit("the plan exceeds the address space");
  DAPPLE_ASSIGN_OR_RETURN(Arena arena, Arena::Reserve(total));
  for (const Part& part : parts) {
    if (part.bytes_span != nullptr)
      *part.bytes_span = arena.Carve<std::byte>(part.bytes);
    else
      *part.float_span = arena.Carve<float>(part.bytes / sizeof(float));
  }
  layer.activations = {
      reinterpret_cast<kernels::BlockActivation*>(activation_blocks_.data()),
      activation_blocks_.size() / sizeof(kernels::BlockActivation)};
  return arena;
}

}  // namespace dapple
