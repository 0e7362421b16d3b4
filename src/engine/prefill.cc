// Layer-major prefill (DESIGN, "The key idea"): the whole prompt goes through
// one layer before the next layer starts, so each weight is packed once a
// prompt and only one layer's keys need ever be staged.

#include <algorithm>
#include <cstring>

#include "engine/session.h"
#include "kernels/convert.h"
#include "kernels/norm.h"

namespace dapple {
namespace {

constexpr size_t kRowsPerItem = 16;

void Scale(float factor, size_t count, float* x) {
  if (factor == 1.0f) return;
  for (size_t i = 0; i < count; ++i) x[i] *= factor;
}

bool Stopped(const PrefillHooks& hooks) {
  return hooks.cancel != nullptr &&
         hooks.cancel->load(std::memory_order_relaxed);
}

// Starts reading a layer's pages while the one before it is computed.
void ReadAhead(const GgufFile& file, const LayerWeights& layer) {
  for (const WeightMatrix* w :
       {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate,
        &layer.up, &layer.down})
    file.file().WillNeed({w->data, w->row_bytes * w->n});
}

}  // namespace

void SessionImpl::LoadResidual(size_t first, size_t rows) {
  const size_t d = model_.config.width;
  float* x = space_.layer.x.data();
  model_.parallel.For(CeilDiv(rows, kRowsPerItem), [&](size_t item, int) {
    const size_t row = item * kRowsPerItem;
    const size_t count = std::min(kRowsPerItem, rows - row) * d;
    const size_t from = (first + row) * d;
    if (shape_.exact)
      std::memcpy(x + row * d,
                  reinterpret_cast<const float*>(space_.residual.data()) + from,
                  count * sizeof(float));
    else
      kernels::ToFloat(
          reinterpret_cast<const F16*>(space_.residual.data()) + from, count,
          x + row * d);
    if (!shape_.exact)
      Scale(1.0f / model_.config.architecture->residual_scale, count,
            x + row * d);
  });
}

void SessionImpl::StoreResidual(size_t first, size_t rows) {
  const size_t d = model_.config.width;
  float* x = space_.layer.x.data();
  model_.parallel.For(CeilDiv(rows, kRowsPerItem), [&](size_t item, int) {
    const size_t row = item * kRowsPerItem;
    const size_t count = std::min(kRowsPerItem, rows - row) * d;
    const size_t to = (first + row) * d;
    // Nothing reads x after this.
    if (!shape_.exact)
      Scale(model_.config.architecture->residual_scale, count, x + row * d);
    if (shape_.exact)
      std::memcpy(reinterpret_cast<float*>(space_.residual.data()) + to,
                  x + row * d, count * sizeof(float));
    else
      kernels::ToF16(x + row * d, count,
                     reinterpret_cast<F16*>(space_.residual.data()) + to);
  });
}

void SessionImpl::ReportRowLogits(size_t first, size_t from, size_t rows,
                                  const PrefillHooks& hooks) {
  const ModelConfig& config = model_.config;
  const WeightMatrix& head = model_.weights.head;
  const size_t d = config.width;
  for (size_t row = from; row < rows; row += Workspace::kLogitRows) {
    const size_t count = std::min(Workspace::kLogitRows, rows - row);
    kernels::RmsNorm(&space_.layer.x[row * d], model_.weights.output_norm,
                     config.norm_epsilon, count, d, space_.layer.a.data());
    const size_t columns = HeadColumns(config);
    for (size_t column = 0; column < config.vocab; column += columns) {
      // The last panel starts early rather than being narrower, so that every
      // panel has the one shape the Gemm was built for.
      const size_t begin = std::min(column, config.vocab - columns);
      WeightMatrix part = head;
      part.data += begin * head.row_bytes;
      part.n = columns;
      gemm_->Pack(part, space_.head_panel, model_.parallel);
      gemm_->Multiply({columns, d}, space_.head_panel, space_.layer.a.data(), d,
                      count, space_.row_logits.data() + begin, config.vocab,
                      space_.layer.gemm, model_.parallel);
    }
    CapLogits(space_.row_logits.first(count * config.vocab));
    hooks.on_logits(first + row, count, space_.row_logits.data());
  }
}

Status SessionImpl::Prefill(std::span<const TokenId> prompt,
                            const PrefillHooks& hooks) {
  if (prompt.empty()) return InvalidArgument("the prompt is empty");
  if (prompt.size() > shape_.prompt_tokens)
    return DoesNotFit("the prompt has " + std::to_string(prompt.size()) +
                      " tokens, but the session was planned for " +
                      std::to_string(shape_.prompt_tokens));
  if (hooks.on_logits && !shape_.row_logits)
    return InvalidArgument("the session was not planned for row logits");
  DAPPLE_RETURN_IF_ERROR(CheckIds(prompt));
  for (KvSlots& slots : variants_) slots.Clear();
  appended_ = selected_ = 0;
  rows_.assign(prompt.begin(), prompt.end());
  if (eviction_->pseudo_rows != 0) {
    if (options_.probe_ids.empty())
      FillProbe(prompt, options_.probe_content, options_.probe_seed,
                model_.config.vocab, eviction_->pseudo_rows, &probe_);
    rows_.insert(rows_.end(), probe_.begin(), probe_.end());
  }
  prompt_length_ = prompt.size();
  Status status;
  model_.parallel.Region([&] { status = PrefillLayers(hooks); });
  if (!status.ok()) {
    prompt_length_ = 0;
    return status;
  }
  if (!space_.prompt_logits.empty())
    std::copy(space_.logits.begin(), space_.logits.end(),
              space_.prompt_logits.begin());
  // Nothing reads these any more.
  Arena::Release(space_.residual);
  Arena::Release(space_.packed);
  Arena::Release(space_.staging);
  return Status::Ok();
}

Status SessionImpl::PrefillLayers(const PrefillHooks& hooks) {
  const size_t length = prompt_length_;
  const size_t total = rows_.size();
  const size_t layers = model_.config.layers;
  const size_t d = model_.config.width;
  const size_t tile = shape_.tile_rows;
  const bool staged = shape_.staged();
  const ProbeCapture probe = CaptureFor();
  PrefillProgress progress{0, layers * total, length};

  for (size_t layer = 0; layer < layers; ++layer) {
    const LayerWeights& weights = model_.weights.layers[layer];
    if (layer + 1 < layers)
      ReadAhead(model_.file, model_.weights.layers[layer + 1]);
    const PackedLayer packed = layer_.Pack(weights, *gemm_, space_.packed);
    if (!probe.column_sums.empty())
      std::fill(probe.column_sums.begin(), probe.column_sums.end(), 0.0f);
    const bool last = layer + 1 == layers;
    // The last layer's output is read only where logits are wanted, and its
    // queries only where they probe.
    size_t needed = 0;
    if (last && probe.column_sums.empty()) {
      needed = hooks.on_logits ? hooks.logits_from : length - 1;
      if (probe.rows != 0) needed = std::min(needed, probe.first);
    }
    for (size_t first = 0; first < total; first += tile) {
      if (Stopped(hooks)) return Cancelled("prefill was interrupted");
      const size_t rows = std::min(tile, total - first);
      if (layer == 0) {
        model_.parallel.For(CeilDiv(rows, kRowsPerItem), [&](size_t item, int) {
          const size_t end = std::min(rows, (item + 1) * kRowsPerItem);
          for (size_t row = item * kRowsPerItem; row < end; ++row)
            EmbedRow(rows_[first + row], &space_.layer.x[row * d]);
        });
      } else {
        LoadResidual(first, rows);
      }
      DecoderLayer::Tile rows_of_pass;
      rows_of_pass.slot = rows_of_pass.position = first;
      rows_of_pass.rows = rows;
      rows_of_pass.needed = needed;
      layer_.Prefill(weights, packed, *gemm_, rows_of_pass,
                     staged ? staging_.Runs(0) : variants_[0].Runs(layer),
                     probe, space_.layer);
      if (!last) {
        StoreResidual(first, rows);
      } else if (first < length) {
        const size_t prompt_rows = std::min(rows, length - first);
        if (first + prompt_rows == length)
          std::copy_n(&space_.layer.x[(prompt_rows - 1) * d], d,
                      space_.last_row.data());
        if (hooks.on_logits && first + prompt_rows > hooks.logits_from)
          ReportRowLogits(
              first, hooks.logits_from > first ? hooks.logits_from - first : 0,
              prompt_rows, hooks);
      }
      progress.done += rows;
      if (hooks.progress) hooks.progress(progress);
    }
    KeepLayer(layer, hooks);
  }
  std::copy(space_.last_row.begin(), space_.last_row.end(),
            space_.layer.x.begin());
  ComputeLogits();
  return Status::Ok();
}

}  // namespace dapple
