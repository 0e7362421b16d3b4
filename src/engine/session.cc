#include "engine/session.h"

#include <algorithm>

#include "kernels/convert.h"
#include "kernels/norm.h"
#include "model/mat_vec.h"

namespace dapple {

Result<std::unique_ptr<Session>> SessionImpl::Create(
    const LoadedModel& model, std::unique_ptr<Gemm> gemm,
    const WorkspaceShape& shape, MemoryPlan plan) {
  std::unique_ptr<SessionImpl> session(
      new SessionImpl(model, std::move(gemm), shape, std::move(plan)));
  DAPPLE_ASSIGN_OR_RETURN(
      session->arena_,
      session->space_.Carve(model.config, *session->gemm_, shape));
  session->slots_ =
      KvSlots({model.config.layers, model.config.kv_heads,
               model.config.head_dim, shape.kv_type()},
              shape.prompt_tokens + shape.max_new_tokens, session->space_.kv);
  return std::unique_ptr<Session>(std::move(session));
}

Status SessionImpl::CheckIds(std::span<const TokenId> ids) const {
  for (TokenId id : ids)
    if (id < 0 || static_cast<size_t>(id) >= model_.config.vocab)
      return InvalidArgument("token id " + std::to_string(id) +
                             " is outside the vocabulary of " +
                             std::to_string(model_.config.vocab));
  return Status::Ok();
}

void SessionImpl::EmbedRow(TokenId id, float* out) const {
  const WeightMatrix& table = model_.weights.embedding;
  kernels::Dequantize(table.type,
                      table.data + static_cast<size_t>(id) * table.row_bytes,
                      model_.config.width, out);
}

void SessionImpl::ComputeLogits() {
  const LayerScratch& s = space_.layer;
  kernels::RmsNorm(s.x.data(), model_.weights.output_norm,
                   model_.config.norm_epsilon, 1, model_.config.width,
                   s.a.data());
  const MatVecOutput head[] = {{&model_.weights.head, space_.logits.data()}};
  MatVec(head, s.a.data(), shape_.exact, s.activations, model_.parallel);
}

Status SessionImpl::Append(TokenId id) {
  if (prompt_length_ == 0)
    return InvalidArgument("a session must be prefilled before it generates");
  DAPPLE_RETURN_IF_ERROR(CheckIds({&id, 1}));
  if (position_ >= prompt_length_ + shape_.max_new_tokens)
    return DoesNotFit("all " + std::to_string(shape_.max_new_tokens) +
                      " slots planned for generated tokens are used");
  model_.parallel.Region([&] { AppendLayers(id); });
  ++position_;
  return Status::Ok();
}

void SessionImpl::AppendLayers(TokenId id) {
  EmbedRow(id, space_.layer.x.data());
  for (size_t layer = 0; layer < model_.config.layers; ++layer) {
    layer_.Decode(model_.weights.layers[layer], position_, layer, slots_,
                  space_.layer);
    for (size_t head = 0; head < model_.config.kv_heads; ++head)
      slots_.SetCount(layer, head, slots_.Count(layer, head) + 1);
  }
  ComputeLogits();
}

std::vector<size_t> SessionImpl::KeptTokens() const {
  std::vector<size_t> kept(model_.config.layers, 0);
  const size_t generated = position_ - prompt_length_;
  for (size_t layer = 0; layer < kept.size(); ++layer)
    if (prompt_length_ != 0) kept[layer] = slots_.Count(layer, 0) - generated;
  return kept;
}

}  // namespace dapple
