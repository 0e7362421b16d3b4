// SessionImpl: one prompt's working memory and the loops over it.
#ifndef DAPPLE_ENGINE_SESSION_H_
#define DAPPLE_ENGINE_SESSION_H_

#include <memory>
#include <span>
#include <vector>

#include "dapple/engine.h"
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
  std::unique_ptr<RopeTable> rope;
  bool exact = false;  // Compute::kF32
};

class SessionImpl : public Session {
 public:
  static Result<std::unique_ptr<Session>> Create(const LoadedModel& model,
                                                 std::unique_ptr<Gemm> gemm,
                                                 const WorkspaceShape& shape,
                                                 MemoryPlan plan);

  Status Prefill(std::span<const TokenId> prompt,
                 const PrefillHooks& hooks) override;
  Status Append(TokenId id) override;
  std::span<const float> logits() const override { return space_.logits; }
  const MemoryPlan& plan() const override { return plan_; }
  std::vector<size_t> KeptTokens() const override;

 private:
  SessionImpl(const LoadedModel& model, std::unique_ptr<Gemm> gemm,
              const WorkspaceShape& shape, MemoryPlan plan)
      : model_(model),
        gemm_(std::move(gemm)),
        shape_(shape),
        plan_(std::move(plan)),
        layer_(model.config, *model.rope, model.parallel, shape.kv_type(),
               shape.exact) {}

  // The layers of Prefill and Append, inside a parallel region.
  Status PrefillLayers(std::span<const TokenId> prompt,
                       const PrefillHooks& hooks);
  void AppendLayers(TokenId id);

  Status CheckIds(std::span<const TokenId> ids) const;
  void EmbedRow(TokenId id, float* out) const;
  // Rows of the residual stream to and from scratch.x.
  void LoadResidual(size_t first, size_t rows);
  void StoreResidual(size_t first, size_t rows);
  // The head over scratch.x's first row, into logits.
  void ComputeLogits();
  // The head over scratch.x rows [from, rows) of the tile at `first`.
  void ReportRowLogits(size_t first, size_t from, size_t rows,
                       const PrefillHooks& hooks);

  const LoadedModel& model_;
  std::unique_ptr<Gemm> gemm_;
  WorkspaceShape shape_;
  MemoryPlan plan_;
  DecoderLayer layer_;
  Arena arena_;
  Workspace space_;
  KvSlots slots_;
  size_t prompt_length_ = 0;
  size_t position_ = 0;  // of the next token
};

}  // namespace dapple

#endif  // DAPPLE_ENGINE_SESSION_H_
