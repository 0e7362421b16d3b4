#include "model/decoder_layer.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/convert.h"
#include "kernels/kv_rows.h"
#include "kernels/norm.h"
#include "kernels/probe_score.h"
#include "kernels/rope.h"
#include "model/mat_vec.h"
#include "util/mmap_file.h"

namespace dapple {
namespace {

// Rows handled by one work item of the row-wise operations.
constexpr size_t kRowsPerItem = 16;

// Calls fn(first_row, row_count) over [0, rows) in parallel.
template <class Fn>
void ForRowBlocks(const Parallel& parallel, size_t rows, Fn&& fn) {
  parallel.For(CeilDiv(rows, kRowsPerItem), [&](size_t item, int) {
    const size_t first = item * kRowsPerItem;
    fn(first, std::min(kRowsPerItem, rows - first));
  });
}

GemmShape ShapeOf(const WeightMatrix& w) { return {w.n, w.k}; }

// out: [rows, w.n]
GemmProduct ProductOf(const WeightMatrix& w, std::span<const std::byte> packed,
                      float* out) {
  return {ShapeOf(w), packed, out, w.n};
}

}  // namespace

size_t DecoderLayer::PackedBytes(const ModelConfig& config, const Gemm& gemm) {
  const size_t d = config.width, q = config.query_width();
  return gemm.PackedBytes({q, d}) +
         2 * gemm.PackedBytes({config.kv_width(), d}) +
         gemm.PackedBytes({d, q}) +
         2 * gemm.PackedBytes({config.ffn_width, d}) +
         gemm.PackedBytes({d, config.ffn_width});
}

// Rows × group queries share each key block, so more rows mean fewer passes
// over the keys.
size_t DecoderLayer::AttentionRows(const ModelConfig& config) {
  return kernels::PrefillAttentionRows(config.group());
}

size_t DecoderLayer::AttentionScratch(const ModelConfig& config) {
  return std::max(
      kernels::PrefillAttentionScratch(AttentionRows(config), config.group(),
                                       config.head_dim),
      kernels::DecodeAttentionScratch(config.group(), config.head_dim));
}

size_t DecoderLayer::DecodePartsFloats(const ModelConfig& config, size_t keys) {
  return config.kv_heads * kernels::MostDecodeParts(keys) *
         kernels::DecodePartFloats(config.group(), config.head_dim);
}

PackedLayer DecoderLayer::Pack(const LayerWeights& weights, const Gemm& gemm,
                               std::span<std::byte> memory,
                               bool release) const {
  PackedLayer packed;
  const std::pair<const WeightMatrix*, std::span<std::byte>*> parts[] = {
      {&weights.query, &packed.query}, {&weights.key, &packed.key},
      {&weights.value, &packed.value}, {&weights.output, &packed.output},
      {&weights.gate, &packed.gate},   {&weights.up, &packed.up},
      {&weights.down, &packed.down}};
  size_t offset = 0;
  for (const auto& [w, span] : parts) {
    *span = memory.subspan(offset, gemm.PackedBytes(ShapeOf(*w)));
    offset += span->size();
    if (release) ReadAheadPages(PagesOf(*w));
    gemm.Pack(*w, *span, parallel_);
    if (release) ReleasePages(PagesOf(*w));
  }
  return packed;
}

void DecoderLayer::StoreKv(std::span<const KvRun> kv, size_t slot, size_t rows,
                           const LayerScratch& scratch) const {
  const size_t head_dim = config_.head_dim;
  const size_t row_bytes = KvRowBytes(staging_type_, head_dim);
  ForRowBlocks(parallel_, rows, [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) {
      for (size_t head = 0; head < config_.kv_heads; ++head) {
        const size_t from = row * config_.kv_width() + head * head_dim;
        const size_t to = (slot + row) * row_bytes;
        std::byte* key = kv[head].keys + to;
        std::byte* value = kv[head].values + to;
        kernels::StoreKvRows(staging_type_, &scratch.k[from], head_dim, 1,
                             head_dim, key);
        kernels::StoreKvRows(staging_type_, &scratch.v[from], head_dim, 1,
                             head_dim, value);
      }
    }
  });
}

const RopeTable* DecoderLayer::RopeOf(size_t layer) const {
  if (!config_.architecture->Rotates(layer)) return nullptr;
  return config_.WindowOf(layer) != 0 ? ropes_.local : ropes_.global;
}

void DecoderLayer::FinishHeads(float* x, size_t rows, size_t heads,
                               const float* bias, const float* norm,
                               bool rotate, const float* cos,
                               const float* sin) const {
  const size_t head_dim = config_.head_dim, width = heads * head_dim;
  if (bias != nullptr)
    for (size_t row = 0; row < rows; ++row)
      kernels::Add(bias, width, x + row * width);
  if (norm != nullptr)
    kernels::RmsNorm(x, norm, config_.norm_epsilon, rows * heads, head_dim, x);
  if (rotate)
    kernels::Rope(x, rows, width, heads, head_dim, config_.rope.dims,
                  config_.rope.pairs, cos, sin);
}

void DecoderLayer::AddToResidual(float* delta, const float* norm, size_t rows,
                                 float* x) const {
  const size_t d = config_.width;
  if (norm != nullptr)
    kernels::RmsNorm(delta, norm, config_.norm_epsilon, rows, d, delta);
  kernels::Add(delta, rows * d, x);
}

void DecoderLayer::GateUp(const float* gate, const float* up, size_t count,
                          float* out) const {
  if (config_.architecture->gelu)
    kernels::GeGlu(gate, up, count, out);
  else
    kernels::SwiGlu(gate, up, count, out);
}

void DecoderLayer::AttendTile(const kernels::AttentionParams& params,
                              std::span<const KvRun> kv, const float* q,
                              size_t first, size_t rows,
                              const LayerScratch& scratch, float* out) const {
  const size_t block = AttentionRows(config_);
  const size_t blocks = CeilDiv(rows, block);
  const size_t group = config_.group(), head_dim = config_.head_dim;
  const size_t stride = config_.query_width();
  parallel_.For(blocks * config_.kv_heads, [&](size_t item, int thread) {
    const size_t head = item % config_.kv_heads;
    // Latest rows see the most keys: the longest items go first.
    const size_t row = (blocks - 1 - item / config_.kv_heads) * block;
    const size_t count = std::min(block, rows - row);
    const size_t offset = row * stride + head * group * head_dim;
    float* work = &scratch.attention[thread * scratch.attention_stride];
    kernels::PrefillAttention(
        {staging_type_, kv[head].keys, kv[head].values, head_dim}, q + offset,
        stride, count, group, first + row, params, work, out + offset, stride);
  });
}

void DecoderLayer::CaptureProbe(const kernels::AttentionParams& params,
                                const ProbeCapture& probe,
                                std::span<const KvRun> kv, size_t first,
                                size_t rows, const float* q) const {
  const size_t stride = config_.query_width();
  const size_t begin = std::max(first, probe.first);
  const size_t end = std::min(first + rows, probe.first + probe.rows);
  if (begin < end)
    std::copy_n(q + (begin - first) * stride, (end - begin) * stride,
                &probe.queries[(begin - probe.first) * stride]);
  if (probe.column_sums.empty() || first >= probe.prompt) return;
  // One item a KV head: its sums are added up in one order, always.
  const size_t block = AttentionRows(config_);
  const size_t group = config_.group(), head_dim = config_.head_dim;
  const size_t prompt_rows = std::min(rows, probe.prompt - first);
  parallel_.For(config_.kv_heads, [&](size_t head, int thread) {
    float* sums = &probe.column_sums[head * probe.prompt];
    float* work = &probe.score_scratch[thread * probe.score_stride];
    for (size_t row = 0; row < prompt_rows; row += block) {
      kernels::AddProbeScores(staging_type_, kv[head].keys, head_dim,
                              q + row * stride + head * group * head_dim,
                              stride, std::min(block, prompt_rows - row), group,
                              first + row,
                              std::min(probe.prompt, first + row + block),
                              params, 1.0f, work, sums);
    }
  });
}

void DecoderLayer::Prefill(const LayerWeights& weights,
                           const PackedLayer& packed, const Gemm& gemm,
                           const Tile& tile, std::span<const KvRun> kv,
                           const ProbeCapture& probe,
                           const LayerScratch& s) const {
  const size_t first = tile.slot, rows = tile.rows;
  const size_t d = config_.width, q_width = config_.query_width();
  const size_t kv_width = config_.kv_width(), ffn = config_.ffn_width;
  const RopeTable* rope = RopeOf(weights.index);
  const size_t half = rope == nullptr ? 0 : rope->half();
  const kernels::AttentionParams attention = config_.AttentionOf(weights.index);
  const auto multiply_all = [&](std::span<const GemmProduct> products,
                                const float* in, size_t count) {
    gemm.MultiplyAll(products, in, products[0].shape.k, count, s.gemm,
                     parallel_);
  };
  const auto multiply = [&](const WeightMatrix& w,
                            std::span<const std::byte> panel, const float* in,
                            size_t count, float* out) {
    const GemmProduct product = ProductOf(w, panel, out);
    multiply_all({&product, 1}, in, count);
  };
  const auto norm = [&](const float* weight, size_t from) {
    ForRowBlocks(parallel_, rows - from, [&](size_t row, size_t count) {
      kernels::RmsNorm(&s.x[(from + row) * d], weight, config_.norm_epsilon,
                       count, d, &s.a[(from + row) * d]);
    });
  };
  const auto add_to_x = [&](float* delta, const float* weight, size_t from) {
    ForRowBlocks(parallel_, rows - from, [&](size_t row, size_t count) {
      AddToResidual(delta + row * d, weight, count, &s.x[(from + row) * d]);
    });
  };

  // Keys and values of every row; the rest only from row `from` of the tile.
  const size_t from =
      tile.needed <= first ? 0 : std::min(tile.needed - first, rows);
  const size_t wanted = rows - from;
  TraceSpan span(trace_, "norm", static_cast<int>(weights.index), rows);
  norm(weights.attention_norm, 0);
  span.Next("qkv");
  // Queries of all rows are made together with keys and values.
  const GemmProduct qkv[] = {
      ProductOf(weights.key, packed.key, s.k.data()),
      ProductOf(weights.value, packed.value, s.v.data()),
      ProductOf(weights.query, packed.query, s.b.data())};
  multiply_all(std::span(qkv).first(from == 0 ? 3 : 2), s.a.data(), rows);
  if (from != 0 && wanted != 0)
    multiply_all(std::span(qkv).last(1), &s.a[from * d], wanted);
  span.Next("rope");
  // Rows of the prompt, then pseudo tokens, whose positions may jump.
  const size_t plain =
      tile.pseudo_slot <= first ? 0 : std::min(rows, tile.pseudo_slot - first);
  if (rope != nullptr) {
    rope->Fill(tile.position, plain, s.cos.data(), s.sin.data());
    if (plain < rows)
      rope->Fill(tile.pseudo_position + first + plain - tile.pseudo_slot,
                 rows - plain, &s.cos[plain * half], &s.sin[plain * half]);
  }
  ForRowBlocks(parallel_, rows, [&](size_t row, size_t count) {
    FinishHeads(&s.k[row * kv_width], count, config_.kv_heads, weights.key_bias,
                weights.key_norm, rope != nullptr, &s.cos[row * half],
                &s.sin[row * half]);
    if (weights.value_bias != nullptr)
      for (size_t r = row; r < row + count; ++r)
        kernels::Add(weights.value_bias, kv_width, &s.v[r * kv_width]);
  });
  span.Next("store kv");
  StoreKv(kv, first, rows, s);
  if (wanted == 0) return;
  span.Next("rope");

  ForRowBlocks(parallel_, wanted, [&](size_t row, size_t count) {
    FinishHeads(&s.b[row * q_width], count, config_.heads, weights.query_bias,
                weights.query_norm, rope != nullptr,
                &s.cos[(from + row) * half], &s.sin[(from + row) * half]);
  });
  span.Next("capture probe");
  CaptureProbe(attention, probe, kv, first + from, wanted, s.b.data());
  span.Next("attention");
  AttendTile(attention, kv, s.b.data(), first + from, wanted, s, s.a.data());
  span.Next("output");
  multiply(weights.output, packed.output, s.a.data(), wanted, s.b.data());
  span.Next("add");
  add_to_x(s.b.data(), weights.attention_post_norm, from);

  span.Next("norm");
  norm(weights.ffn_norm, from);
  span.Next("gate up");
  const GemmProduct gate_up[] = {
      ProductOf(weights.gate, packed.gate, s.gate.data()),
      ProductOf(weights.up, packed.up, s.up.data())};
  multiply_all(gate_up, &s.a[from * d], wanted);
  span.Next("activation");
  ForRowBlocks(parallel_, wanted, [&](size_t row, size_t count) {
    GateUp(&s.gate[row * ffn], &s.up[row * ffn], count * ffn,
           &s.gate[row * ffn]);
  });
  span.Next("down");
  multiply(weights.down, packed.down, s.gate.data(), wanted, s.b.data());
  span.Next("add");
  add_to_x(s.b.data(), weights.ffn_post_norm, from);
}

void DecoderLayer::AttendToken(const kernels::AttentionParams& params,
                               const DecodeStep& step, size_t layer,
                               const KvSlots& slots,
                               const LayerScratch& s) const {
  const size_t head_dim = config_.head_dim, group = config_.group();
  const KvType type = slots.shape().type;
  const size_t row_bytes = slots.shape().RowBytes();
  const std::span<const KvRun> kv = slots.Runs(layer);
  const auto keys_of = [&](size_t head) {
    return slots.Count(layer, head) + step.generated;
  };
  const auto parts_of = [&](size_t head) {
    return kernels::DecodeParts(keys_of(head), params);
  };
  size_t items = 0;
  for (size_t head = 0; head < config_.kv_heads; ++head) {
    const size_t at = (slots.Count(layer, head) + step.slot) * row_bytes;
    kernels::StoreKvRows(type, &s.k[head * head_dim], head_dim, 1, head_dim,
                         kv[head].keys + at);
    kernels::StoreKvRows(type, &s.v[head * head_dim], head_dim, 1, head_dim,
                         kv[head].values + at);
    s.parts_left[head] = static_cast<uint32_t>(parts_of(head));
    items += parts_of(head);
  }
  const size_t floats = kernels::DecodePartFloats(group, head_dim);
  const size_t head_floats = s.decode_parts.size() / config_.kv_heads;
  parallel_.For(items, [&](size_t item, int thread) {
    size_t head = 0;
    for (; item >= parts_of(head); ++head) item -= parts_of(head);
    float* parts = &s.decode_parts[head * head_floats];
    const size_t width = group * head_dim;
    kernels::DecodeAttentionPart(
        {type, kv[head].keys, kv[head].values, head_dim}, &s.b[head * width],
        group, keys_of(head), params, item,
        &s.attention[thread * s.attention_stride], parts + item * floats);
    // Whoever brings a head's last part merges them all.
    std::atomic_ref<uint32_t> left(s.parts_left[head]);
    if (left.fetch_sub(1, std::memory_order_acq_rel) == 1)
      kernels::MergeDecodeParts(parts, parts_of(head), group, head_dim,
                                &s.a[head * width]);
  });
}

void DecoderLayer::Decode(const LayerWeights& weights, const DecodeStep& step,
                          size_t layer, const KvSlots& slots,
                          const LayerScratch& s) const {
  const size_t d = config_.width;

  TraceSpan span(trace_, "norm", static_cast<int>(layer), 1);
  kernels::RmsNorm(s.x.data(), weights.attention_norm, config_.norm_epsilon, 1,
                   d, s.a.data());
  span.Next("qkv");
  const MatVecOutput qkv[] = {{&weights.query, s.b.data()},
                              {&weights.key, s.k.data()},
                              {&weights.value, s.v.data()}};
  MatVec(qkv, s.a.data(), exact_, s.activations, parallel_);
  span.Next("rope");
  const RopeTable* rope = RopeOf(layer);
  kernels::AttentionParams attention = config_.AttentionOf(layer);
  // Slots of a ring that has gone round are not in the order of positions:
  // then a window cannot be told, and all that is left is seen.
  if (step.slot + 1 != step.generated) attention.window = 0;
  if (rope != nullptr) rope->Fill(step.position, 1, s.cos.data(), s.sin.data());
  FinishHeads(s.b.data(), 1, config_.heads, weights.query_bias,
              weights.query_norm, rope != nullptr, s.cos.data(), s.sin.data());
  FinishHeads(s.k.data(), 1, config_.kv_heads, weights.key_bias,
              weights.key_norm, rope != nullptr, s.cos.data(), s.sin.data());
  if (weights.value_bias != nullptr)
    kernels::Add(weights.value_bias, config_.kv_width(), s.v.data());
  span.Next("attention");
  AttendToken(attention, step, layer, slots, s);
  span.Next("output");
  const MatVecOutput output[] = {{&weights.output, s.b.data()}};
  MatVec(output, s.a.data(), exact_, s.activations, parallel_);
  span.Next("norm");
  AddToResidual(s.b.data(), weights.attention_post_norm, 1, s.x.data());

  kernels::RmsNorm(s.x.data(), weights.ffn_norm, config_.norm_epsilon, 1, d,
                   s.a.data());
  span.Next("gate up");
  const MatVecOutput gate_up[] = {{&weights.gate, s.gate.data()},
                                  {&weights.up, s.up.data()}};
  MatVec(gate_up, s.a.data(), exact_, s.activations, parallel_);
  span.Next("activation");
  GateUp(s.gate.data(), s.up.data(), config_.ffn_width, s.gate.data());
  span.Next("down");
  const MatVecOutput down[] = {{&weights.down, s.b.data()}};
  MatVec(down, s.gate.data(), exact_, s.activations, parallel_);
  span.Next("add");
  AddToResidual(s.b.data(), weights.ffn_post_norm, 1, s.x.data());
}

}  // namespace dapple
