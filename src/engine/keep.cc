// Eviction at the end of a layer: score the staged keys, keep the best.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/session.h"
#include "kernels/convert.h"
#include "kernels/kv_rows.h"
#include "policy/selection.h"
#include "util/allocation_trap.h"

namespace dapple {
namespace {

// Row `from_row` of a run to row `to_row` of another. row: [head_dim] scratch,
// used where the types differ.
void CopyKvRow(const KvSlots::Shape& from_shape, const std::byte* from,
               size_t from_row, const KvSlots::Shape& to_shape, std::byte* to,
               size_t to_row, float* row) {
  from += from_row * from_shape.RowBytes();
  to += to_row * to_shape.RowBytes();
  if (from_shape.type == to_shape.type) {
    std::memcpy(to, from, to_shape.RowBytes());
    return;
  }
  const size_t n = from_shape.head_dim;
  kernels::LoadKvRows(from_shape.type, from, 1, n, row, n);
  kernels::StoreKvRows(to_shape.type, row, n, 1, n, to);
}

}  // namespace

std::span<uint32_t> SessionImpl::PlacesOf(size_t layer, size_t head) {
  const size_t each = eviction_->Largest();
  return std::span(reinterpret_cast<uint32_t*>(space_.places.data()),
                   space_.places.size() / sizeof(uint32_t))
      .subspan((layer * model_.config.kv_heads + head) * each, each);
}

void SessionImpl::StageKept(size_t layer) {
  const size_t kept = kept_before_;
  const KvSlots::Shape& from = variants_[0].shape();
  const KvSlots::Shape& to = staging_.shape();
  model_.parallel.For(model_.config.kv_heads, [&](size_t head, int thread) {
    float* row = space_.ScoringOf(thread).row.data();
    const KvRun& source = variants_[0].Run(layer, head);
    const KvRun& target = staging_.Run(0, head);
    for (size_t i = 0; i < kept; ++i) {
      CopyKvRow(from, source.keys, i, to, target.keys, i, row);
      CopyKvRow(from, source.values, i, to, target.values, i, row);
    }
  });
}

ProbeCapture SessionImpl::CaptureFor(const Pass& pass) const {
  ProbeCapture probe;
  if (!shape_.staged()) return probe;
  const size_t keys = kept_before_ + pass.tokens;
  const size_t window = std::min(eviction_->window_rows, pass.tokens);
  probe.first = keys - window;
  probe.rows = window + pseudo_rows();
  probe.queries = space_.probe_queries;
  probe.prompt = keys;
  if (eviction_->column_sums) {
    probe.column_sums = space_.column_sums.first(model_.config.kv_heads * keys);
    // A thread's kernel scratch, as in Scoring::kernel.
    const Workspace::Scoring first = space_.ScoringOf(0);
    probe.score_stride = first.kernel.size();
    probe.score_scratch = {
        first.kernel.data(),
        first.kernel.size() * static_cast<size_t>(shape_.threads)};
  }
  return probe;
}

HeadView SessionImpl::ViewOf(const Pass& pass, size_t layer, size_t head,
                             const Workspace::Scoring& scoring) const {
  const ModelConfig& config = model_.config;
  const size_t keys_seen = scoring.raw.size();
  HeadView view;
  view.layer = layer;
  view.head = head;
  view.length = keys_seen;
  view.head_dim = config.head_dim;
  view.group = config.group();
  view.attention = config.AttentionOf(layer);
  view.key_type = shape_.staging_type;
  view.keys = staging_.Run(0, head).keys;
  const size_t stride = config.query_width();
  const size_t window = std::min(eviction_->window_rows, pass.tokens);
  const float* queries =
      space_.probe_queries.data() + head * config.group() * config.head_dim;
  view.window = {queries, stride, keys_seen - window, window};
  view.pseudo = {queries + window * stride, stride, keys_seen, pseudo_rows()};
  if (eviction_->column_sums)
    view.column_sums = space_.column_sums.subspan(head * keys_seen, keys_seen);
  view.scratch = scoring.kernel;
  return view;
}

void SessionImpl::WeightByValues(size_t layer, size_t head, size_t first,
                                 const Workspace::Scoring& scoring) const {
  // |Wo v|² = vᵀ (Woᵀ Wo) v, and the mean over the group's heads of the Gram
  // matrices serves them all: head_dim² a key instead of width × head_dim.
  const ModelConfig& config = model_.config;
  const size_t n = config.head_dim, group = config.group();
  const WeightMatrix& output = weights_.layers[layer].output;
  std::fill(scoring.gram.begin(), scoring.gram.end(), 0.0f);
  for (size_t r = 0; r < output.n; ++r) {
    kernels::Dequantize(output.type, output.data + r * output.row_bytes,
                        output.k, scoring.row.data());
    for (size_t g = 0; g < group; ++g) {
      const float* w = &scoring.row[(head * group + g) * n];
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j) scoring.gram[i * n + j] += w[i] * w[j];
    }
  }
  const size_t row_bytes = staging_.shape().RowBytes();
  const std::byte* values = staging_.Run(0, head).values + first * row_bytes;
  float* v = scoring.row.data();
  for (size_t key = 0; key < scoring.raw.size(); ++key) {
    kernels::LoadKvRows(shape_.staging_type, values + key * row_bytes, 1, n, v,
                        n);
    float squares = 0;
    for (size_t i = 0; i < n; ++i) {
      float sum = 0;
      for (size_t j = 0; j < n; ++j) sum += scoring.gram[i * n + j] * v[j];
      squares += sum * v[i];
    }
    scoring.work[key] = scoring.raw[key] * std::sqrt(std::max(0.0f, squares) /
                                                     static_cast<float>(group));
  }
}

void SessionImpl::CopyKept(const Pass& pass, size_t layer, size_t head,
                           std::span<const uint32_t> kept, KvSlots* slots,
                           std::span<float> row) {
  const KvRun& from = staging_.Run(0, head);
  const KvRun& to = slots->Run(layer, head);
  for (size_t i = 0; i < kept.size(); ++i) {
    CopyKvRow(staging_.shape(), from.keys, kept[i], slots->shape(), to.keys, i,
              row.data());
    CopyKvRow(staging_.shape(), from.values, kept[i], slots->shape(), to.values,
              i, row.data());
  }
  if (shape_.streaming()) {
    // In place: kept[i] >= i, and what it names has not been overwritten.
    const size_t before = slots->Count(layer, head);
    const std::span<uint32_t> places = PlacesOf(layer, head);
    for (size_t i = 0; i < kept.size(); ++i)
      places[i] = kept[i] < before
                      ? places[kept[i]]
                      : static_cast<uint32_t>(pass.begin + kept[i] - before);
  }
  slots->SetCount(layer, head, kept.size());
}

void SessionImpl::ChooseKept(const Pass& pass, size_t layer, size_t head,
                             size_t first_seen, const EvictionVariant& variant,
                             Workspace::Scoring scoring,
                             std::span<uint32_t> kept) {
  for (std::span<float>* part :
       {&scoring.raw, &scoring.weighted, &scoring.work})
    *part = part->subspan(first_seen);
  const EvictionOptions& options = variant.options;
  const Policy& policy = *variant.policy;
  const size_t length = scoring.raw.size();
  std::span<const float> source = scoring.raw;
  if (options.value_weighted) {
    WeightByValues(layer, head, first_seen, scoring);
    source = scoring.work;
  }
  std::copy(source.begin(), source.end(), scoring.weighted.begin());
  const Pins pins = policy.Pinned(kept.size(), length);
  if (policy.pools() && options.pool > 1) {
    // Pinned keys neither need the others' scores nor lend them theirs.
    const size_t first = std::min(pins.first, length);
    const size_t middle = length - first - std::min(pins.last, length - first);
    const std::span<const float> in = source.subspan(first, middle);
    const std::span<float> out = scoring.weighted.subspan(first, middle);
    if (pass.begin == 0) {
      MaxPool(in, options.pool, out);
    } else {
      const size_t from = first_seen + first;
      const size_t before = std::min(from, kept_before_);
      MaxPool(in, PlacesOf(layer, head).first(kept_before_).subspan(before),
              pass.begin + from - before, options.pool, out);
    }
  }
  SelectTop(scoring.weighted, kept.size(), pins, scoring.work, kept);
  for (uint32_t& key : kept) key += static_cast<uint32_t>(first_seen);
}

void SessionImpl::KeepHead(const Pass& pass, size_t layer, size_t head,
                           int thread, const PrefillHooks& hooks) {
  const ModelConfig& config = model_.config;
  const size_t length = kept_before_ + pass.tokens;
  Workspace::Scoring scoring = space_.ScoringOf(thread);
  scoring.raw = scoring.raw.first(length);
  scoring.weighted = scoring.weighted.first(length);
  scoring.work = scoring.work.first(length);
  TraceSpan span(options_.trace, nullptr, static_cast<int>(layer), length,
                 thread);
  const HeadView view = ViewOf(pass, layer, head, scoring);
  // Keys that a sliding window hides from every new token are no candidates.
  const size_t first_seen = config.FirstSeen(layer, length);
  const size_t seen = length - first_seen;
  // The pseudo tokens, who stand at the prompt's end, see none of an earlier
  // chunk's keys through a window: its newest keys serve the next chunk, and
  // stay next to each other, so that the window can be told by slots.
  const bool newest_only = !pass.last && config.WindowOf(layer) != 0;
  const EvictionVariant* scored = nullptr;  // whose raw scores stand in raw
  for (size_t v = 0; v < variants_.size(); ++v) {
    const EvictionVariant& variant = eviction_->variants[v];
    const EvictionOptions& options = variant.options;
    const Policy& policy = *variant.policy;
    const size_t keep = options.keep.Resolve(prompt_length_);
    const size_t budget = std::min(
        {policy.LayerBudget(keep, prompt_length_, layer, config.layers),
         variant.capacities[layer], seen});
    const bool probed =
        !policy.keeps_all() && policy.probe() != ProbeKind::kNone;
    // Scores are wanted for the choice, or by whoever listens.
    const bool choose = budget < seen && !newest_only;
    const bool score = choose || (probed && !newest_only && hooks.on_scores);
    if (score) {
      const bool same = scored != nullptr &&
                        scored->options.policy == options.policy &&
                        scored->options.recent == options.recent &&
                        scored->options.seed == options.seed;
      if (!same) {
        span.Next("score");
        policy.Score(view, scoring.raw);
      }
      scored = &variant;
    }
    const std::span<uint32_t> kept = scoring.kept.first(budget);
    span.Next("select");
    if (choose)
      ChooseKept(pass, layer, head, first_seen, variant, scoring, kept);
    else
      std::iota(kept.begin(), kept.end(),
                static_cast<uint32_t>(length - budget));
    float& coverage =
        coverage_[(v * config.layers + layer) * config.kv_heads + head];
    // Streaming: the mean over the chunks' tokens; unknown once it is so.
    const double part =
        static_cast<double>(pass.tokens) / static_cast<double>(prompt_length_);
    if (choose && !probed)
      coverage = -1.0f;
    else if (coverage >= 0)
      coverage += static_cast<float>(
          part * (choose ? Coverage(scoring.raw, kept) : 1.0));
    span.Next("compaction");
    CopyKept(pass, layer, head, kept, &variants_[v], scoring.row);
    span.Next(nullptr);
    if (!hooks.on_scores) continue;
    const AllowAllocation callback;
    hooks.on_scores(v, layer, head,
                    score && probed ? std::span<const float>(scoring.raw)
                                    : std::span<const float>(),
                    kept);
  }
}

void SessionImpl::KeepLayer(const Pass& pass, size_t layer,
                            const PrefillHooks& hooks) {
  const size_t heads = model_.config.kv_heads;
  if (!shape_.staged()) {
    for (size_t head = 0; head < heads; ++head)
      variants_[0].SetCount(layer, head, prompt_length_);
    return;
  }
  if (hooks.on_scores) {  // callbacks come one at a time, in order
    for (size_t head = 0; head < heads; ++head)
      KeepHead(pass, layer, head, 0, hooks);
    return;
  }
  model_.parallel.For(heads, [&](size_t head, int thread) {
    KeepHead(pass, layer, head, thread, hooks);
  });
}

KeptReport SessionImpl::Kept() const {
  const ModelConfig& config = model_.config;
  const KvSlots& slots = variants_[selected_];
  KeptReport report;
  report.policy = eviction_->variants[selected_].options.policy;
  report.prompt_tokens = prompt_length_;
  const uint64_t row = 2 * slots.shape().RowBytes();
  for (size_t layer = 0; layer < config.layers; ++layer) {
    KeptLayer kept{SIZE_MAX, 0, 0};
    double coverage = 0;
    for (size_t head = 0; head < config.kv_heads; ++head) {
      const size_t count = slots.Count(layer, head);
      kept.min_kept = std::min(kept.min_kept, count);
      kept.max_kept = std::max(kept.max_kept, count);
      report.kept_bytes += count * row;
      report.full_bytes += prompt_length_ * row;
      coverage +=
          coverage_[(selected_ * config.layers + layer) * config.kv_heads +
                    head];
    }
    kept.coverage =
        shape_.staged() ? coverage / static_cast<double>(config.kv_heads) : 1.0;
    report.layers.push_back(kept);
  }
  return report;
}

}  // namespace dapple
