// Layer-major prefill (DESIGN, "The key idea"): the whole prompt goes through
// one layer before the next layer starts, so each weight is packed once a
// prompt and only one layer's keys need ever be staged.

#include <algorithm>
#include <cstring>

#include "engine/session.h"
#include "kernels/convert.h"
#include "kernels/norm.h"
#include "util/allocation_trap.h"
#include "util/mmap_file.h"

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

}  // namespace

Status SessionImpl::LoadResidual(size_t first, size_t rows) {
  const size_t d = model_.config.width;
  const size_t bytes = d * shape_.residual_bytes_per_element();
  float* x = space_.layer.x.data();
  const std::byte* from = space_.residual.data();
  if (spill_.open()) {
    DAPPLE_RETURN_IF_ERROR(
        spill_.Read(first * bytes, space_.residual.first(rows * bytes)));
    spill_.ReadAhead((first + rows) * bytes, shape_.tile_rows * bytes);
  } else {
    from += first * bytes;
  }
  model_.parallel.For(CeilDiv(rows, kRowsPerItem), [&](size_t item, int) {
    const size_t row = item * kRowsPerItem;
    const size_t count = std::min(kRowsPerItem, rows - row) * d;
    if (shape_.exact)
      std::memcpy(x + row * d, from + row * bytes, count * sizeof(float));
    else
      kernels::ToFloat(reinterpret_cast<const F16*>(from) + row * d, count,
                       x + row * d);
    if (!shape_.exact)
      Scale(1.0f / model_.config.architecture->residual_scale, count,
            x + row * d);
  });
  return Status::Ok();
}

Status SessionImpl::StoreResidual(size_t first, size_t rows) {
  const size_t d = model_.config.width;
  const size_t bytes = d * shape_.residual_bytes_per_element();
  float* x = space_.layer.x.data();
  std::byte* to = space_.residual.data() + (spill_.open() ? 0 : first * bytes);
  model_.parallel.For(CeilDiv(rows, kRowsPerItem), [&](size_t item, int) {
    const size_t row = item * kRowsPerItem;
    const size_t count = std::min(kRowsPerItem, rows - row) * d;
    // Nothing reads x after this.
    if (!shape_.exact)
      Scale(model_.config.architecture->residual_scale, count, x + row * d);
    if (shape_.exact)
      std::memcpy(to + row * bytes, x + row * d, count * sizeof(float));
    else
      kernels::ToF16(x + row * d, count, reinterpret_cast<F16*>(to) + row * d);
  });
  if (!spill_.open()) return Status::Ok();
  return spill_.Write(first * bytes, space_.residual.first(rows * bytes));
}

void SessionImpl::ReportRowLogits(size_t first, size_t from, size_t rows,
                                  const PrefillHooks& hooks) {
  const ModelConfig& config = model_.config;
  const WeightMatrix& head = weights_.head;
  const size_t d = config.width;
  for (size_t row = from; row < rows; row += Workspace::kLogitRows) {
    const size_t count = std::min(Workspace::kLogitRows, rows - row);
    kernels::RmsNorm(&space_.layer.x[row * d], weights_.output_norm,
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
    const AllowAllocation callback;
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
  prompt_ = prompt;
  if (eviction_->pseudo_rows != 0) {
    if (options_.probe_ids.empty())
      FillProbe(prompt, options_.probe_content, options_.probe_seed,
                model_.config.vocab, eviction_->pseudo_rows, &probe_);
  }
  prompt_length_ = prompt.size();
  std::fill(coverage_.begin(), coverage_.end(), 0.0f);
  Status status;
  const TraceSpan span(options_.trace, "prefill", -1, prompt.size());
  const NoAllocation promise(&Gemm::InsideLibrary);
  ExpectWeights(/*reading=*/true);
  model_.parallel.Region([&] {
    const size_t length = prompt_length_;
    const size_t step = shape_.streaming() ? shape_.chunk_tokens : length;
    const size_t passes = CeilDiv(length, step);
    PrefillProgress progress{
        0, model_.config.layers * (length + passes * pseudo_rows()), length};
    for (size_t begin = 0; begin < length && status.ok(); begin += step) {
      const size_t tokens = std::min(step, length - begin);
      status = PrefillPass({begin, tokens, begin + tokens == length}, hooks,
                           &progress);
    }
  });
  ExpectWeights(/*reading=*/false);
  prompt_ = {};
  space_.ReleasePrefill();
  if (status.ok()) {
    const AllowAllocation failing;
    status = CheckLogits();
  }
  if (!status.ok()) {
    prompt_length_ = 0;
    return status;
  }
  if (!space_.prompt_logits.empty())
    std::copy(space_.logits.begin(), space_.logits.end(),
              space_.prompt_logits.begin());
  return Status::Ok();
}

size_t SessionImpl::NeededFrom(const Pass& pass, size_t layer,
                               const ProbeCapture& probe,
                               const PrefillHooks& hooks) const {
  // The last layer's output is read only where logits are wanted, and its
  // queries only where they probe.
  if (layer + 1 < model_.config.layers || !probe.column_sums.empty()) return 0;
  size_t needed = SIZE_MAX;
  if (pass.last)
    needed =
        kept_before_ + (hooks.on_logits ? hooks.logits_from : pass.tokens - 1);
  if (probe.rows != 0) needed = std::min(needed, probe.first);
  return needed;
}

Status SessionImpl::PrefillTile(const Pass& pass, size_t layer,
                                const PackedLayer& packed,
                                const ProbeCapture& probe, size_t first,
                                size_t rows, const PrefillHooks& hooks) {
  const size_t d = model_.config.width;
  const size_t kept = kept_before_;
  const bool last = layer + 1 == model_.config.layers;
  TraceSpan span(options_.trace, layer == 0 ? "embed" : "load residual",
                 static_cast<int>(layer), rows);
  if (layer == 0) {
    const auto id_of = [&](size_t row) {
      return row < pass.tokens ? prompt_[pass.begin + row]
                               : probe_[row - pass.tokens];
    };
    if (shape_.weights != Residency::kResident)
      for (size_t row = first; row < first + rows; ++row)
        ReadAheadPages(EmbeddingRow(id_of(row)));
    model_.parallel.For(CeilDiv(rows, kRowsPerItem), [&](size_t item, int) {
      const size_t end = std::min(rows, (item + 1) * kRowsPerItem);
      for (size_t i = item * kRowsPerItem; i < end; ++i) {
        EmbedRow(id_of(first + i), &space_.layer.x[i * d]);
      }
    });
    if (shape_.weights != Residency::kResident)
      ReleasePages(PagesOf(weights_.embedding));
  } else {
    DAPPLE_RETURN_IF_ERROR(LoadResidual(first, rows));
  }
  span.Next(nullptr);
  DecoderLayer::Tile tile;
  tile.slot = kept + first;
  tile.rows = rows;
  tile.needed = NeededFrom(pass, layer, probe, hooks);
  tile.position = pass.begin + first;
  tile.pseudo_slot = kept + pass.tokens;
  tile.pseudo_position = prompt_length_;
  layer_.Prefill(weights_.layers[layer], packed, *gemm_, tile,
                 shape_.staged() ? staging_.Runs(0) : variants_[0].Runs(layer),
                 probe, space_.layer);
  span.Next(last ? "last rows" : "store residual");
  if (!last) return StoreResidual(first, rows);
  if (!pass.last || first >= pass.tokens) return Status::Ok();
  const size_t prompt_rows = std::min(rows, pass.tokens - first);
  if (first + prompt_rows == pass.tokens)
    std::copy_n(&space_.layer.x[(prompt_rows - 1) * d], d,
                space_.last_row.data());
  if (hooks.on_logits && first + prompt_rows > hooks.logits_from)
    ReportRowLogits(first,
                    hooks.logits_from > first ? hooks.logits_from - first : 0,
                    prompt_rows, hooks);
  return Status::Ok();
}

Status SessionImpl::PrefillPass(const Pass& pass, const PrefillHooks& hooks,
                                PrefillProgress* progress) {
  const size_t total = pass.tokens + pseudo_rows();
  const size_t layers = model_.config.layers;
  const bool release = shape_.weights != Residency::kResident;
  ReadAhead(weights_.layers[0], read_ahead_);
  for (size_t layer = 0; layer < layers; ++layer) {
    const LayerWeights& weights = weights_.layers[layer];
    if (layer + 1 < layers) ReadAhead(weights_.layers[layer + 1], read_ahead_);
    TraceSpan span(options_.trace, "repack", static_cast<int>(layer));
    const PackedLayer packed =
        layer_.Pack(weights, *gemm_, space_.packed, release);
    span.Next("stage");
    // Every head of a layer keeps as many.
    kept_before_ = pass.begin == 0 ? 0 : variants_[0].Count(layer, 0);
    const ProbeCapture probe = CaptureFor(pass);
    if (!probe.column_sums.empty())
      std::fill(probe.column_sums.begin(), probe.column_sums.end(), 0.0f);
    if (pass.begin != 0) StageKept(layer);
    span.Next(nullptr);
    for (size_t first = 0; first < total; first += shape_.tile_rows) {
      if (Stopped(hooks)) {
        const AllowAllocation failing;
        return Cancelled("prefill was interrupted");
      }
      const size_t rows = std::min(shape_.tile_rows, total - first);
      DAPPLE_RETURN_IF_ERROR(
          PrefillTile(pass, layer, packed, probe, first, rows, hooks));
      progress->done += rows;
      if (!hooks.progress) continue;
      const AllowAllocation callback;
      hooks.progress(*progress);
    }
    span.Next("keep");
    KeepLayer(pass, layer, hooks);
    if (release) ReleasePages(PagesOf(weights.output));
  }
  if (!pass.last) return Status::Ok();
  std::copy(space_.last_row.begin(), space_.last_row.end(),
            space_.layer.x.begin());
  ComputeLogits(release);
  return Status::Ok();
}

}  // namespace dapple
