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
#include "model/model_config.h"
#include "model/model_weights.h"
#include "model/rope_table.h"
#include "util/arena.h"
#include "util/parallel.h"

namespace dapple {

// What an engine lends its sessions; outlives them.
struct LoadedModel {
  LoadedModel(GgufFile opened, int threads)
      : file(std::move(opened)), parallel(threads) {}

  GgufFile file;
  Parallel parallel;
  ModelConfig config;
  ModelWeights weights;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ModelRopes> ropes;
  bool exact = false;  // Compute::kF32
};

class SessionImpl : public Session {
 public:
  static Result<std::unique_ptr<Session>> Create(
      const LoadedModel& model, std::unique_ptr<Gemm> gemm,
      std::unique_ptr<EvictionPlan> eviction, const WorkspaceShape& shape,
      const SessionOptions& options, MemoryPlan plan);

  Status Prefill(std::span<const TokenId> prompt,
                 const PrefillHooks& hooks) override;
  Status Append(TokenId id) override;
  std::span<const float> logits() const override { return space_.logits; }
  Status SelectVariant(size_t variant) override;
  const MemoryPlan& plan() const override { return plan_; }
  KeptReport Kept() const override;

 private:
  SessionImpl(const LoadedModel& model, std::unique_ptr<Gemm> gemm,
              std::unique_ptr<EvictionPlan> eviction,
              const WorkspaceShape& shape, const SessionOptions& options,
              MemoryPlan plan);

  // The layers of Prefill and Append, inside a parallel region. rows_ holds
  // the prompt and the pseudo tokens.
  Status PrefillLayers(const PrefillHooks& hooks);
  void AppendLayers(TokenId id);

  Status CheckIds(std::span<const TokenId> ids) const;
  void EmbedRow(TokenId id, float* out) const;
  // Rows of the residual stream to and from scratch.x.
  void LoadResidual(size_t first, size_t rows);
  void StoreResidual(size_t first, size_t rows);
  void CapLogits(std::span<float> logits) const;
  // The head over scratch.x's first row, into logits.
  void ComputeLogits();
  // The head over scratch.x rows [from, rows) of the tile at `first`.
  void ReportRowLogits(size_t first, size_t from, size_t rows,
                       const PrefillHooks& hooks);

  // Eviction (keep.cc). What a layer's prefill captures for the policies.
  ProbeCapture CaptureFor() const;
  // Scores the staged layer and moves each variant's choice to its slots.
  void KeepLayer(size_t layer, const PrefillHooks& hooks);
  void KeepHead(size_t layer, size_t head, int thread,
                const PrefillHooks& hooks);
  HeadView ViewOf(size_t layer, size_t head,
                  const Workspace::Scoring& scoring) const;
  // scoring.work = raw × the mean norm of each value behind the output
  // projection of the head's group. The first score is that of staged key
  // `first`.
  void WeightByValues(size_t layer, size_t head, size_t first,
                      const Workspace::Scoring& scoring) const;
  // Fills `kept`, which is as long as the budget, from scoring.raw; earlier
  // keys than first_seen are left out.
  void ChooseKept(size_t layer, size_t head, size_t first_seen,
                  const EvictionVariant& variant, Workspace::Scoring scoring,
                  std::span<uint32_t> kept) const;
  void CopyKept(size_t layer, size_t head, std::span<const uint32_t> kept,
                KvSlots* slots) const;

  const LoadedModel& model_;
  std::unique_ptr<Gemm> gemm_;
  std::unique_ptr<EvictionPlan> eviction_;
  WorkspaceShape shape_;
  SessionOptions options_;
  MemoryPlan plan_;
  DecoderLayer layer_;
  Arena arena_;
  Workspace space_;
  KvSlots staging_;                // one layer; unused when in place
  std::vector<KvSlots> variants_;  // retained slots of each variant
  // Share of the probe's attention kept, [variants, layers, kv_heads].
  std::vector<float> coverage_;
  std::vector<TokenId> rows_;   // prompt, then pseudo tokens
  std::vector<TokenId> probe_;  // the pseudo tokens, before they are appended
  size_t prompt_length_ = 0;
  size_t selected_ = 0;
  size_t appended_ = 0;  // generated tokens since the prompt
};

}  // namespace dapple

#endif  // DAPPLE_ENGINE_SESSION_H_
