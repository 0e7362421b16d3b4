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

  // Only these grow with the document; every other product is bounded by
  // ModelConfig's limits.
  uint64_t rows_total = 0, residual_bytes = 0, kv_bytes, staging_bytes = 0;
  const KvSlots::Shape kv_shape{config.layers, config.kv_heads, config.head_dim,
                                shape.retained_type};
  const KvSlots::Shape staging_shape{1, config.kv_heads, config.head_dim,
                                     shape.staging_type};
  const EvictionPlan& eviction = *shape.eviction;
  bool fits =
      CheckedAdd(shape.prompt_tokens, eviction.pseudo_rows, &rows_total) &&
      rows_total < uint64_t{1} << 32 &&
      CheckedMul(shape.spilled() ? rows : shape.pass_rows(),
                 d * shape.residual_bytes_per_element(), &residual_bytes);
  const size_t staging_rows[] = {fits ? shape.staging_rows() : 0};
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

  // `decode`: how much of it is used when prefill is over.
  std::vector<Part> parts;
  const auto bytes = [&](const char* line, uint64_t size,
                         std::span<std::byte>* span, uint64_t decode) {
    parts.push_back({line, size, std::min(size, decode), span, nullptr});
  };
  const auto floats = [&](const char* line, uint64_t count,
                          std::span<float>* span, uint64_t decode) {
    parts.push_back({line, count * sizeof(float),
                     std::min(count, decode) * sizeof(float), nullptr, span});
  };
  const uint64_t threads = static_cast<uint64_t>(shape.threads);
  bytes(shape.staged() ? "retained KV slots" : "KV cache", kv_bytes, &kv,
        kv_bytes);
  if (shape.streaming()) {
    const uint64_t each =
        config.layers * config.kv_heads * sizeof(uint32_t) * eviction.Largest();
    bytes("retained KV slots", each, &places, 0);
  }
  if (shape.staged())
    bytes("staging KV, one layer", staging_bytes, &staging, 0);
  bytes(shape.spilled() ? "residual stream, one tile" : "residual stream",
        residual_bytes, &residual, 0);
  bytes("packed layer weights", DecoderLayer::PackedBytes(config, gemm),
        &packed, 0);
  // Decoding uses the first row of each.
  const auto activation = [&](uint64_t columns, std::span<float>* span) {
    floats("activations", rows * columns, span, columns);
  };
  activation(d, &layer.x);
  activation(wide, &layer.a);
  activation(wide, &layer.b);
  activation(config.kv_width(), &layer.k);
  activation(config.kv_width(), &layer.v);
  activation(config.ffn_width, &layer.gate);
  activation(config.ffn_width, &layer.up);
  activation(config.rope.dims / 2, &layer.cos);
  activation(config.rope.dims / 2, &layer.sin);
  const uint64_t attention = threads * layer.attention_stride;
  floats("activations", attention, &layer.attention, attention);
  size_t slots = 0;
  for (size_t v = 0; v < eviction.variants.size(); ++v)
    for (const size_t capacity : eviction.SlotCapacities(v))
      slots = std::max(slots, capacity);
  const uint64_t parts_floats = DecoderLayer::DecodePartsFloats(config, slots);
  floats("activations", parts_floats, &layer.decode_parts, parts_floats);
  const uint64_t counters = config.kv_heads * sizeof(uint32_t);
  bytes("activations", counters, &parts_left_, counters);
  bytes("activations", gemm.ScratchBytes(), &layer.gemm, 0);
  const uint64_t blocks =
      CeilDiv(longest, 32) * sizeof(kernels::BlockActivation);
  bytes("activations", blocks, &activation_blocks_, blocks);
  floats("activations", d, &last_row, 0);
  floats("logits", config.vocab, &logits, config.vocab);
  if (shape.row_logits) {
    bytes("logits", gemm.PackedBytes({HeadColumns(config), config.width}),
          &head_panel, 0);
    floats("logits", kLogitRows * uint64_t{config.vocab}, &row_logits, 0);
  }
  if (shape.staged()) {
    candidates_ = shape.candidates();
    kernel_stride_ =
        AlignUp(kernels::ProbeScoreScratch(
                    std::max({eviction.window_rows, eviction.pseudo_rows,
                              DecoderLayer::AttentionRows(config)}),
                    config.group(), config.head_dim),
                Arena::kAlignment / sizeof(float));
    gram_floats_ =
        eviction.value_weighted ? config.head_dim * config.head_dim : size_t{0};
    row_floats_ = eviction.value_weighted
                      ? std::max(config.query_width(), config.head_dim)
                      : config.head_dim;
    floats("scoring",
           (eviction.window_rows + eviction.pseudo_rows) *
               uint64_t{config.query_width()},
           &probe_queries, 0);
    floats("scoring",
           eviction.column_sums ? config.kv_heads * shape.prompt_tokens : 0,
           &column_sums, 0);
    floats("scoring", threads * 3 * candidates_, &scores_, 0);
    bytes("scoring", threads * candidates_ * sizeof(uint32_t), &kept_, 0);
    floats("scoring", threads * kernel_stride_, &score_kernel_, 0);
    floats("scoring", threads * (gram_floats_ + row_floats_), &value_weights_,
           0);
    if (eviction.variants.size() > 1)
      floats("logits of variants", config.vocab, &prompt_logits, config.vocab);
  }
  return parts;
}

Workspace::Scoring Workspace::ScoringOf(int thread) const {
  const size_t t = static_cast<size_t>(thread), n = candidates_;
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
      lines.push_back({part.plan_line, 0, 0, /*in_arena=*/true});
    lines.back().prefill += Arena::CarvedBytes(part.bytes);
    lines.back().decode += Arena::CarvedBytes(part.decode_bytes);
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
    const std::span<std::byte> span =
        part.bytes_span != nullptr ? *part.bytes_span
                                   : std::as_writable_bytes(*part.float_span);
    if (span.size() != part.bytes)
      return Internal("the arena is smaller than its plan");
    if (part.decode_bytes < part.bytes)
      prefill_only_.push_back(span.subspan(part.decode_bytes));
  }
  layer.parts_left = {reinterpret_cast<uint32_t*>(parts_left_.data()),
                      config.kv_heads};
  layer.activations = {
      reinterpret_cast<kernels::BlockActivation*>(activation_blocks_.data()),
      activation_blocks_.size() / sizeof(kernels::BlockActivation)};
  return arena;
}

void Workspace::ReleasePrefill() {
  for (const std::span<std::byte> span : prefill_only_) Arena::Release(span);
}

}  // namespace dapple
