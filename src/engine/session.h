// SessionImpl: one prompt's working memory and the loops over it.
#ifndef DAPPLE_ENGINE_SESSION_H_
#define DAPPLE_ENGINE_SESSION_H_

#include <memory>
#include <span>
#include <vector>

#include "dapple/engine.h"
#include "engine/eviction_plan.h"
#include "engine/workspace.h"
#include "gguf/gguf_file.h"
#include "kv/kv_slots.h"
#include "model/decoder_layer.h"
#include "model/huge_weights.h"
#include "model/model_config.h"
#include "model/model_weights.h"
#include "model/rope_table.h"
#include "util/arena.h"
#include "util/parallel.h"
#include "util/spill_file.h"

namespace dapple {

// What an engine lends its sessions; outlives them.
struct LoadedModel {
  LoadedModel(GgufFile opened, int threads, bool pin)
      : file(std::move(opened)), parallel(threads, pin) {}

  GgufFile file;
  Parallel parallel;
  ModelConfig config;
  ModelWeights weights;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ModelRopes> ropes;
  bool exact = false;  // Compute::kF32
};

// Starts reading a layer's pages, at most so many bytes of them, while the one
// before it is computed.
void ReadAhead(const LayerWeights& layer, uint64_t most);

class SessionImpl : public Session {
 public:
  // huge: a copy of the model's weights to use instead, or null.
  static Result<std::unique_ptr<Session>> Create(
      const LoadedModel& model, std::shared_ptr<const HugeWeights> huge,
      std::unique_ptr<Gemm> gemm, std::unique_ptr<EvictionPlan> eviction,
      const WorkspaceShape& shape, const SessionOptions& options,
      PlannedSchedule planned);

  Status Prefill(std::span<const TokenId> prompt,
                 const PrefillHooks& hooks) override;
  Status Append(TokenId id) override;
  std::span<const float> logits() const override { return space_.logits; }
  Status SelectVariant(size_t variant) override;
  const PlannedSchedule& planned() const override { return planned_; }
  KeptReport Kept() const override;

 private:
  SessionImpl(const LoadedModel& model, std::shared_ptr<const HugeWeights> huge,
              std::unique_ptr<Gemm> gemm,
              std::unique_ptr<EvictionPlan> eviction,
              const WorkspaceShape& shape, const SessionOptions& options,
              PlannedSchedule planned);

  // A run of prompt tokens that goes through all layers: the whole prompt, or
  // a chunk of the streaming schedule. The pseudo tokens follow in each.
  struct Pass {
    size_t begin = 0;   // its first token's place in the prompt
    size_t tokens = 0;  // of the prompt
    bool last = false;
  };
  // The layers of Prefill and Append, inside a parallel region.
  Status PrefillPass(const Pass& pass, const PrefillHooks& hooks,
                     PrefillProgress* progress);
  Status PrefillTile(const Pass& pass, size_t layer, const PackedLayer& packed,
                     const ProbeCapture& probe, size_t first, size_t rows,
                     const PrefillHooks& hooks);
  // Slots before this one are only wanted for their keys and values.
  size_t NeededFrom(const Pass& pass, size_t layer, const ProbeCapture& probe,
                    const PrefillHooks& hooks) const;
  void AppendLayers(TokenId id);

  // kInternal when what was computed is no answer.
  Status CheckLogits() const;
  Status CheckIds(std::span<const TokenId> ids) const;
  void EmbedRow(TokenId id, float* out) const;
  // Weights that do not stay are announced matrix by matrix (rows of the table
  // of embeddings one by one), so that none is read twice; those that stay
  // after the prompt are from then on left to the system. Of weights copied to
  // huge pages, the vectors between the matrices are all that is read.
  void ExpectWeights(bool reading) const;
  std::span<const std::byte> EmbeddingRow(TokenId id) const;
  // Rows of the residual stream to and from scratch.x.
  Status LoadResidual(size_t first, size_t rows);
  Status StoreResidual(size_t first, size_t rows);
  void CapLogits(std::span<float> logits) const;
  // The head over scratch.x's first row, into logits. With `release`, its
  // pages are given back as it is read.
  void ComputeLogits(bool release);
  // The head over scratch.x rows [from, rows) of the tile at `first`.
  void ReportRowLogits(size_t first, size_t from, size_t rows,
                       const PrefillHooks& hooks);

  // Eviction (keep.cc). Its keys are the `kept` ones of earlier chunks and the
  // pass's own: kept + pass.tokens, in the prompt's order.
  // Puts the kept keys of earlier chunks before the pass's own.
  void StageKept(size_t layer);
  // What a layer's prefill captures for the policies.
  ProbeCapture CaptureFor(const Pass& pass) const;
  // Scores the staged layer and moves each variant's choice to its slots.
  void KeepLayer(const Pass& pass, size_t layer, const PrefillHooks& hooks);
  void KeepHead(const Pass& pass, size_t layer, size_t head, int thread,
                const PrefillHooks& hooks);
  HeadView ViewOf(const Pass& pass, size_t layer, size_t head,
                  const Workspace::Scoring& scoring) const;
  // scoring.work = raw × the mean norm of each value behind the output
  // projection of the head's group. The first score is that of staged key
  // `first`.
  void WeightByValues(size_t layer, size_t head, size_t first,
                      const Workspace::Scoring& scoring) const;
  // Fills `kept`, which is as long as the budget, from scoring.raw; earlier
  // keys than first_seen are left out.
  void ChooseKept(const Pass& pass, size_t layer, size_t head,
                  size_t first_seen, const EvictionVariant& variant,
                  Workspace::Scoring scoring, std::span<uint32_t> kept);
  void CopyKept(const Pass& pass, size_t layer, size_t head,
                std::span<const uint32_t> kept, KvSlots* slots,
                std::span<float> row);
  // Streaming: places in the prompt of the kept keys, [slots of that head].
  std::span<uint32_t> PlacesOf(size_t layer, size_t head);

  // Rows that follow the prompt's in each pass.
  size_t pseudo_rows() const {
    return eviction_->pseudo_rows == 0 ? 0 : probe_.size();
  }

  const LoadedModel& model_;
  std::shared_ptr<const HugeWeights> huge_;
  const ModelWeights& weights_;
  std::unique_ptr<Gemm> gemm_;
  std::unique_ptr<EvictionPlan> eviction_;
  WorkspaceShape shape_;
  SessionOptions options_;
  PlannedSchedule planned_;
  DecoderLayer layer_;
  Arena arena_;
  Workspace space_;
  SpillFile spill_;                // the residual stream, where it is spilled
  KvSlots staging_;                // one layer; unused when in place
  std::vector<KvSlots> variants_;  // retained slots of each variant
  // Share of the probe's attention kept, [variants, layers, kv_heads].
  std::vector<float> coverage_;
  std::span<const TokenId> prompt_;  // the caller's, during Prefill
  std::vector<TokenId> probe_;       // the pseudo tokens
  size_t prompt_length_ = 0;
  size_t kept_before_ = 0;  // keys of earlier chunks in the layer at hand
  size_t selected_ = 0;
  size_t appended_ = 0;  // generated tokens since the prompt
  // Of weights that do not stay: what the system's page cache has room for
  // until it is used. More would be dropped, and read twice.
  uint64_t read_ahead_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_ENGINE_SESSION_H_
