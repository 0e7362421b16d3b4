// Eviction at the end of a layer: score the staged keys, keep the best.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/session.h"
#include "kernels/convert.h"
#include "policy/selection.h"

namespace dapple {

ProbeCapture SessionImpl::CaptureFor() const {
  ProbeCapture probe;
  if (!shape_.staged()) return probe;
  const size_t window = std::min(eviction_->window_rows, prompt_length_);
  probe.first = prompt_length_ - window;
  probe.rows = rows_.size() - probe.first;
  probe.queries = space_.probe_queries;
  probe.prompt = prompt_length_;
  if (eviction_->column_sums) {
    probe.column_sums =
        space_.column_sums.first(model_.config.kv_heads * prompt_length_);
    // A thread's kernel scratch, as in Scoring::kernel.
    const Workspace::Scoring first = space_.ScoringOf(0);
    probe.score_stride = first.kernel.size();
    probe.score_scratch = {
        first.kernel.data(),
        first.kernel.size() * static_cast<size_t>(shape_.threads)};
  }
  return probe;
}

HeadView SessionImpl::ViewOf(size_t layer, size_t head,
                             const Workspace::Scoring& scoring) const {
  const ModelConfig& config = model_.config;
  HeadView view;
  view.layer = layer;
  view.head = head;
  view.length = prompt_length_;
  view.head_dim = config.head_dim;
  view.group = config.group();
  view.attention = config.AttentionOf(layer);
  const std::byte* keys = staging_.Run(0, head).keys;
  if (shape_.kv_type() == KvType::kF16)
    view.keys = reinterpret_cast<const F16*>(keys);
  else
    view.keys_f32 = reinterpret_cast<const float*>(keys);
  const size_t stride = config.query_width();
  const size_t window = std::min(eviction_->window_rows, prompt_length_);
  const float* queries =
      space_.probe_queries.data() + head * config.group() * config.head_dim;
  view.window = {queries, stride, prompt_length_ - window, window};
  view.pseudo = {queries + window * stride, stride, prompt_length_,
                 rows_.size() - prompt_length_};
  if (eviction_->column_sums)
    view.column_sums =
        space_.column_sums.subspan(head * prompt_length_, prompt_length_);
  view.scratch = scoring.kernel;
  return view;
}

void SessionImpl::WeightByValues(size_t layer, size_t head, size_t first,
                                 const Workspace::Scoring& scoring) const {
  // |Wo v|² = vᵀ (Woᵀ Wo) v, and the mean over the group's heads of the Gram
  // matrices serves them all: head_dim² a key instead of width × head_dim.
  const ModelConfig& config = model_.config;
  const size_t n = config.head_dim, group = config.group();
  const WeightMatrix& output = model_.weights.layers[layer].output;
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
  const std::byte* values =
      staging_.Run(0, head).values + first * staging_.shape().RowBytes();
  float* v = scoring.row.data();
  for (size_t key = 0; key < scoring.raw.size(); ++key) {
    if (shape_.kv_type() == KvType::kF16)
      kernels::ToFloat(reinterpret_cast<const F16*>(values) + key * n, n, v);
    else
      std::copy_n(reinterpret_cast<const float*>(values) + key * n, n, v);
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

void SessionImpl::CopyKept(size_t layer, size_t head,
                           std::span<const uint32_t> kept,
                           KvSlots* slots) const {
  const KvRun& from = staging_.Run(0, head);
  const KvRun& to = slots->Run(layer, head);
  const size_t row = staging_.shape().RowBytes();
  for (size_t i = 0; i < kept.size(); ++i) {
    std::memcpy(to.keys + i * row, from.keys + kept[i] * row, row);
    std::memcpy(to.values + i * row, from.values + kept[i] * row, row);
  }
  slots->SetCount(layer, head, kept.size());
}

void SessionImpl::ChooseKept(size_t layer, size_t head, size_t first_seen,
                             const EvictionVariant& variant,
                             Workspace::Scoring scoring,
                             std::span<uint32_t> kept) const {
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
    MaxPool(source.subspan(first, middle), options.pool,
            scoring.weighted.subspan(first, middle));
  }
  SelectTop(scoring.weighted, kept.size(), pins, scoring.work, kept);
  for (uint32_t& key : kept) key += static_cast<uint32_t>(first_seen);
}

void SessionImpl::KeepHead(size_t layer, size_t head, int thread,
                           const PrefillHooks& hooks) {
  const ModelConfig& config = model_.config;
  const size_t length = prompt_length_;
  Workspace::Scoring scoring = space_.ScoringOf(thread);
  scoring.raw = scoring.raw.first(length);
  scoring.weighted = scoring.weighted.first(length);
  scoring.work = scoring.work.first(length);
  const HeadView view = ViewOf(layer, head, scoring);
  // Keys that a sliding window hides from every new token are no candidates.
  const size_t first_seen = config.FirstSeen(layer, length);
  const size_t seen = length - first_seen;
  const EvictionVariant* scored = nullptr;  // whose raw scores stand in raw
  for (size_t v = 0; v < variants_.size(); ++v) {
    const EvictionVariant& variant = eviction_->variants[v];
    const EvictionOptions& options = variant.options;
    const Policy& policy = *variant.policy;
    const size_t keep = options.keep.Resolve(length);
    const size_t budget =
        std::min({policy.LayerBudget(keep, length, layer, config.layers),
                  variant.capacities[layer], seen});
    const bool probed =
        !policy.keeps_all() && policy.probe() != ProbeKind::kNone;
    // Scores are wanted for the choice, or by whoever listens.
    const bool score = budget < seen || (probed && hooks.on_scores);
    if (score) {
      const bool same = scored != nullptr &&
                        scored->options.policy == options.policy &&
                        scored->options.recent == options.recent &&
                        scored->options.seed == options.seed;
      if (!same) policy.Score(view, scoring.raw);
      scored = &variant;
    }
    const std::span<uint32_t> kept = scoring.kept.first(budget);
    if (budget < seen)
      ChooseKept(layer, head, first_seen, variant, scoring, kept);
    else
      std::iota(kept.begin(), kept.end(), static_cast<uint32_t>(first_seen));
    float& coverage =
        coverage_[(v * config.layers + layer) * config.kv_heads + head];
    coverage = budget == seen ? 1.0f
               : probed       ? static_cast<float>(Coverage(scoring.raw, kept))
                              : -1.0f;
    CopyKept(layer, head, kept, &variants_[v]);
    if (hooks.on_scores)
      hooks.on_scores(v, layer, head,
                      score && probed ? std::span<const float>(scoring.raw)
                                      : std::span<const float>(),
                      kept);
  }
}

void SessionImpl::KeepLayer(size_t layer, const PrefillHooks& hooks) {
  const size_t heads = model_.config.kv_heads;
  if (!shape_.staged()) {
    for (size_t head = 0; head < heads; ++head)
      variants_[0].SetCount(layer, head, prompt_length_);
    return;
  }
  if (hooks.on_scores) {  // callbacks come one at a time, in order
    for (size_t head = 0; head < heads; ++head) KeepHead(layer, head, 0, hooks);
    return;
  }
  model_.parallel.For(heads, [&](size_t head, int thread) {
    KeepHead(layer, head, thread, hooks);
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
