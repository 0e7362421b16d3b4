#include "engine/session.h"

#include <algorithm>
#include <bit>

#include "kernels/convert.h"
#include "kernels/norm.h"
#include "kernels/softmax.h"
#include "model/mat_vec.h"
#include "util/allocation_trap.h"
#include "util/mmap_file.h"

namespace dapple {

SessionImpl::SessionImpl(const LoadedModel& model,
                         std::shared_ptr<const HugeWeights> huge,
                         std::unique_ptr<Gemm> gemm,
                         std::unique_ptr<EvictionPlan> eviction,
                         const WorkspaceShape& shape,
                         const SessionOptions& options, PlannedSchedule planned)
    : model_(model),
      huge_(std::move(huge)),
      weights_(huge_ == nullptr ? model.weights : huge_->weights()),
      gemm_(std::move(gemm)),
      eviction_(std::move(eviction)),
      shape_(shape),
      options_(options),
      planned_(std::move(planned)),
      layer_(model.config,
             model.ropes->For(options.prompt_tokens + options.max_new_tokens),
             model.parallel, shape.staging_type, shape.exact, options.trace),
      coverage_(eviction_->variants.size() * model.config.layers *
                model.config.kv_heads),
      probe_(options.probe_ids) {
  shape_.eviction = eviction_.get();
  probe_.reserve(eviction_->pseudo_rows);
}

Result<std::unique_ptr<Session>> SessionImpl::Create(
    const LoadedModel& model, std::shared_ptr<const HugeWeights> huge,
    std::unique_ptr<Gemm> gemm, std::unique_ptr<EvictionPlan> eviction,
    const WorkspaceShape& shape, const SessionOptions& options,
    PlannedSchedule planned) {
  std::unique_ptr<SessionImpl> session(
      new SessionImpl(model, std::move(huge), std::move(gemm),
                      std::move(eviction), shape, options, std::move(planned)));
  DAPPLE_RETURN_IF_ERROR(session->CheckIds(options.probe_ids));
  Workspace& space = session->space_;
  DAPPLE_ASSIGN_OR_RETURN(
      session->arena_,
      space.Carve(model.config, *session->gemm_, session->shape_));
  KvSlots::Shape slots{model.config.layers, model.config.kv_heads,
                       model.config.head_dim, shape.retained_type};
  std::span<std::byte> memory = space.kv;
  for (size_t v = 0; v < session->eviction_->variants.size(); ++v) {
    const std::vector<size_t> capacities =
        session->eviction_->SlotCapacities(v);
    uint64_t bytes = 0;
    if (!KvSlots::Bytes(slots, capacities, &bytes) || bytes > memory.size())
      return Internal("the KV slots do not fit their plan");
    session->variants_.emplace_back(slots, capacities, memory.first(bytes));
    memory = memory.subspan(bytes);
  }
  if (session->shape_.staged()) {
    slots.layers = 1;
    slots.type = shape.staging_type;
    const size_t rows[] = {session->shape_.staging_rows()};
    session->staging_ = KvSlots(slots, rows, space.staging);
  }
  session->read_ahead_ = UINT64_MAX;
  if (shape.weights != Residency::kResident) {
    const uint64_t available = FindAvailableMemory().bytes;
    const uint64_t peak = session->planned_.plan.TotalBytes();
    // Half: what was used already is not dropped at once.
    if (available != 0)
      session->read_ahead_ = (available - std::min(available, peak)) / 2;
  }
  if (shape.spilled()) {
    DAPPLE_ASSIGN_OR_RETURN(
        session->spill_, SpillFile::Create(options.memory.spill_folder,
                                           session->planned_.plan.spill_bytes));
  }
  return std::unique_ptr<Session>(std::move(session));
}

Status SessionImpl::CheckLogits() const {
  if (gemm_->TakeFailure())
    return Internal("out of memory: oneDNN gave up a product");
  // A NaN anywhere in the last row is one in every logit, but weights of the
  // head may hold one of their own. Counted in integers, which compilers do a
  // vector at a time.
  uint32_t nans = 0;
  for (const float logit : space_.logits)
    nans += (std::bit_cast<uint32_t>(logit) & 0x7FFFFFFFu) > 0x7F800000u;
  if (nans != 0)
    return Internal(
        "the model's results are not numbers: its weights are broken, or too "
        "large for 16 bits");
  return Status::Ok();
}

Status SessionImpl::CheckIds(std::span<const TokenId> ids) const {
  for (TokenId id : ids)
    if (id < 0 || static_cast<size_t>(id) >= model_.config.vocab)
      return InvalidArgument("token id " + std::to_string(id) +
                             " is outside the vocabulary of " +
                             std::to_string(model_.config.vocab));
  return Status::Ok();
}

std::span<const std::byte> SessionImpl::EmbeddingRow(TokenId id) const {
  const WeightMatrix& table = weights_.embedding;
  return {table.data + static_cast<size_t>(id) * table.row_bytes,
          table.row_bytes};
}

void SessionImpl::EmbedRow(TokenId id, float* out) const {
  kernels::Dequantize(weights_.embedding.type, EmbeddingRow(id).data(),
                      model_.config.width, out);
  const float scale = model_.config.embedding_scale;
  if (scale != 1.0f)
    for (size_t i = 0; i < model_.config.width; ++i) out[i] *= scale;
}

void SessionImpl::ExpectWeights(bool reading) const {
  const bool once = shape_.weights == Residency::kStreamed ||
                    (shape_.weights == Residency::kReread && reading) ||
                    huge_ != nullptr;
  const PageUse use = once ? PageUse::kAnnounced : PageUse::kNormal;
  // The small ones between the matrices, too: a fault there would bring much of
  // both neighbours.
  for (const GgufTensor& tensor : model_.file.tensors())
    ExpectUse(tensor.data, use);
}

void ReadAhead(const LayerWeights& layer, uint64_t most) {
  for (const WeightMatrix* w : layer.Matrices()) {
    const std::span<const std::byte> pages = PagesOf(*w);
    const size_t bytes = std::min<uint64_t>(pages.size(), most);
    ReadAheadPages(pages.first(bytes));
    most -= bytes;
  }
}

void SessionImpl::ComputeLogits(bool release) {
  const TraceSpan span(options_.trace, "head", -1, 1);
  const LayerScratch& s = space_.layer;
  kernels::RmsNorm(s.x.data(), weights_.output_norm, model_.config.norm_epsilon,
                   1, model_.config.width, s.a.data());
  const WeightMatrix& head = weights_.head;
  // In slabs, so that the largest matrix of all is never resident whole.
  const size_t rows =
      release ? std::max<size_t>(1, kStreamedSlabBytes / head.row_bytes)
              : head.n;
  for (size_t row = 0; row < head.n; row += rows) {
    WeightMatrix slab = head;
    slab.data += row * head.row_bytes;
    slab.n = std::min(rows, head.n - row);
    if (release) ReadAheadPages(PagesOf(slab));
    const MatVecOutput part[] = {{&slab, &space_.logits[row]}};
    MatVec(part, s.a.data(), shape_.exact, s.activations, model_.parallel);
    if (release) ReleasePages(PagesOf(slab));
  }
  CapLogits(space_.logits);
}

void SessionImpl::CapLogits(std::span<float> logits) const {
  const float cap = model_.config.logit_softcap;
  if (cap != 0) kernels::Softcap(logits.data(), logits.size(), cap);
}

Status SessionImpl::Append(TokenId id) {
  if (prompt_length_ == 0)
    return InvalidArgument("a session must be prefilled before it generates");
  DAPPLE_RETURN_IF_ERROR(CheckIds({&id, 1}));
  if (appended_ >= options_.max_new_tokens)
    return DoesNotFit("all " + std::to_string(options_.max_new_tokens) +
                      " tokens planned for generation are used");
  if (appended_ >= eviction_->generation_slots &&
      options_.on_full == SessionOptions::OnFull::kStop)
    return DoesNotFit("all " + std::to_string(eviction_->generation_slots) +
                      " slots planned for generated tokens are used");
  {
    const NoAllocation promise(&Gemm::InsideLibrary);
    model_.parallel.Region([&] { AppendLayers(id); });
  }
  ++appended_;
  return CheckLogits();
}

void SessionImpl::AppendLayers(TokenId id) {
  const TraceSpan span(options_.trace, "token", -1, 1);
  const bool streamed = shape_.weights == Residency::kStreamed;
  EmbedRow(id, space_.layer.x.data());
  const size_t slots = eviction_->generation_slots;
  DecoderLayer::DecodeStep step;
  step.position = prompt_length_ + appended_;
  // A full reserve is a ring: attention does not mind the order of slots.
  step.slot = appended_ % slots;
  step.generated = std::min(appended_ + 1, slots);
  const size_t layers = model_.config.layers;
  if (streamed) ReleasePages(PagesOf(weights_.embedding));
  for (size_t layer = 0; layer < layers; ++layer) {
    const LayerWeights& weights = weights_.layers[layer];
    if (streamed) ReadAhead(weights, UINT64_MAX);
    if (streamed && layer + 1 < layers)
      ReadAhead(weights_.layers[layer + 1], read_ahead_);
    layer_.Decode(weights, step, layer, variants_[selected_], space_.layer);
    if (!streamed) continue;
    for (const WeightMatrix* w : weights.Matrices()) ReleasePages(PagesOf(*w));
  }
  ComputeLogits(/*release=*/streamed);
}

Status SessionImpl::SelectVariant(size_t variant) {
  if (variant >= variants_.size())
    return InvalidArgument("the session has " +
                           std::to_string(variants_.size()) + " variants");
  if (prompt_length_ == 0)
    return InvalidArgument("a session must be prefilled first");
  selected_ = variant;
  appended_ = 0;
  if (!space_.prompt_logits.empty())
    std::copy(space_.prompt_logits.begin(), space_.prompt_logits.end(),
              space_.logits.begin());
  return Status::Ok();
}

}  // namespace dapple
