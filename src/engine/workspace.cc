#include "engine/workspace.h"

#include <algorithm>
#include <string_view>

#include "kernels/probe_score.h"
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
  uint64_t rows_total = 0, residual_bytes = 0, kv_bytes, staging_bytes = 0;
  const KvSlots::Shape kv_shape{config.layers, config.kv_heads, config.head_dim,
                                shape.kv_type()};
  const KvSlots::Shape staging_shape{1, config.kv_heads, config.head_dim,
                                     shape.kv_type()};
  const EvictionPlan& eviction = *shape.eviction;
  bool fits =
      CheckedAdd(shape.prompt_tokens, eviction.pseudo_rows, &rows_total) &&
      rows_total < uint64_t{1} << 32 &&
      CheckedMul(rows_total, d * shape.residual_bytes_per_element(),
                 &residual_bytes);
  const size_t staging_rows[] = {static_cast<size_t>(rows_total)};
  fits = fits && KvSlots::Bytes(staging_shape, staging_rows, &staging_bytes);
  kv_bytes = 0;
  for (size_t v = 0; fits && v < eviction.variants.size(); ++v) {
    uint64_t part = 0;
    fits = KvSlots::Bytes(kv_shape, eviction.SlotCapacities(v), &part) &&
           CheckedAdd(kv_bytes, part, &kv_bytes);
  }
  if (!fits)
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
  bytes(shape.staged() ? "retained KV slots" : "KV cache", kv_bytes, &kv);
  if (shape.staged()) bytes("staging KV, one layer", staging_bytes, &staging);
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
  floats("activations", d, &last_row);
  floats("logits", config.vocab, &logits);
  if (shape.row_logits) {
    bytes("logits", gemm.PackedBytes({HeadColumns(config), config.width}),
          &head_panel);
    floats("logits", kLogitRows * uint64_t{config.vocab}, &row_logits);
  }
  if (shape.staged()) {
    const uint64_t threads = static_cast<uint64_t>(shape.threads);
    prompt_tokens_ = shape.prompt_tokens;
    kernel_stride_ =
        AlignUp(kernels::ProbeScoreScratch(
                    std::max({eviction.window_rows, eviction.pseudo_rows,
                              DecoderLayer::AttentionRows(config)}),
                    config.group(), config.head_dim),
                Arena::kAlignment / sizeof(float));
    gram_floats_ =
        eviction.value_weighted ? config.head_dim * config.head_dim : size_t{0};
    row_floats_ = eviction.value_weighted ? config.query_width() : size_t{0};
    floats("scoring",
           (eviction.window_rows + eviction.pseudo_rows) *
               uint64_t{config.query_width()},
           &probe_queries);
    floats("scoring",
           eviction.column_sums ? config.kv_heads * shape.prompt_tokens : 0,
           &column_sums);
    floats("scoring", threads * 3 * shape.prompt_tokens, &scores_);
    bytes("scoring", threads * shape.prompt_tokens * sizeof(uint32_t), &kept_);
    floats("scoring", threads * kernel_stride_, &score_kernel_);
    floats("scoring", threads * (gram_floats_ + row_floats_), &value_weights_);
    if (eviction.variants.size() > 1)
      floats("logits of variants", config.vocab, &prompt_logits);
  }
  return parts;
}

Workspace::Scoring Workspace::ScoringOf(int thread) const {
  const size_t t = static_cast<size_t>(thread), n = prompt_tokens_;
  Scoring scoring;
  scoring.raw = scores_.subspan((3 * t) * n, n);
  scoring.weighted = scores_.subspan((3 * t + 1) * n, n);
  scoring.work = scores_.subspan((3 * t + 2) * n, n);
  scoring.kept = {reinterpret_cast<uint32_t*>(kept_.data()) + t * n, n};
  scoring.kernel = score_kernel_.subspan(t * kernel_stride_, kernel_stride_);
  const std::span<float> weights = value_weights_.subspan(
      t * (gram_floats_ + row_floats_), gram_floats_ + row_floats_);
  scoring.gram = weights.first(gram_floats_);
  scoring.row = weights.subspan(gram_floats_);
  return scoring;
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
