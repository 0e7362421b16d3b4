// Workspace: every buffer of a session, planned and carved from one list.
//
// The same list of (name, bytes, span) is summed for the memory plan and
// walked to carve the arena, so the plan cannot disagree with the use.
#ifndef DAPPLE_ENGINE_WORKSPACE_H_
#define DAPPLE_ENGINE_WORKSPACE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "dapple/memory_plan.h"
#include "dapple/status.h"
#include "engine/eviction_plan.h"
#include "gemm/gemm.h"
#include "kv/kv_slots.h"
#include "model/decoder_layer.h"
#include "model/model_config.h"
#include "util/arena.h"

namespace dapple {

// What the buffers' sizes depend on.
struct WorkspaceShape {
  size_t prompt_tokens = 0;
  size_t tile_rows = 0;     // rows computed at a time
  bool row_logits = false;  // prefill also computes logits of many rows
  bool exact = false;       // Compute::kF32: float KV and residual
  int threads = 1;
  const EvictionPlan* eviction = nullptr;  // outlives the shape

  // Rows that go through the layers: the prompt and the pseudo tokens.
  size_t total_rows() const { return prompt_tokens + eviction->pseudo_rows; }
  bool staged() const { return !eviction->in_place; }
  KvType kv_type() const { return exact ? KvType::kF32 : KvType::kF16; }
  size_t residual_bytes_per_element() const { return exact ? 4 : 2; }
};

struct Workspace {
  // Rows of logits computed at a time, and vocabulary columns packed at a
  // time, when row_logits is wanted.
  static constexpr size_t kLogitRows = 64;
  static constexpr size_t kLogitColumns = 4096;

  std::span<std::byte> residual;    // [total_rows, width] F16 or float
  std::span<std::byte> kv;          // KvSlots of every variant
  std::span<std::byte> staging;     // KvSlots of one layer, total_rows
  std::span<std::byte> packed;      // one layer's packed weights
  std::span<float> logits;          // [vocab]
  std::span<std::byte> head_panel;  // packed kLogitColumns of the head
  std::span<float> row_logits;      // [kLogitRows, vocab]
  std::span<float> last_row;        // [width]: residual of the prompt's end
  std::span<float> prompt_logits;   // [vocab], where there are variants
  LayerScratch layer;

  // Eviction only: a thread's buffers for one KV head.
  struct Scoring {
    std::span<float> raw;       // [prompt_tokens]
    std::span<float> weighted;  // the same
    std::span<float> work;      // the same
    std::span<uint32_t> kept;   // the same
    std::span<float> kernel;    // ProbeScoreScratch
    std::span<float> gram;      // [head_dim, head_dim]
    std::span<float> row;       // [query_width]
  };
  Scoring ScoringOf(int thread) const;
  std::span<float> probe_queries;  // [window + pseudo rows, query_width]
  std::span<float> column_sums;    // [kv_heads, prompt_tokens]

  // One line of the arena's layout.
  struct Part {
    const char* plan_line;  // parts of one line are summed in the plan
    uint64_t bytes;
    std::span<std::byte>* bytes_span;  // exactly one of the two is set
    std::span<float>* float_span;
  };
  // kDoesNotFit when a size overflows.
  Result<std::vector<Part>> Layout(const ModelConfig& config, const Gemm& gemm,
                                   const WorkspaceShape& shape);

  // The arena's lines of the plan.
  static Result<std::vector<MemoryPart>> Plan(const ModelConfig& config,
                                              const Gemm& gemm,
                                              const WorkspaceShape& shape);
  // Reserves an arena of that plan and carves every span.
  Result<Arena> Carve(const ModelConfig& config, const Gemm& gemm,
                      const WorkspaceShape& shape);

 private:
  std::span<std::byte> activation_blocks_;  // behind layer.activations
  std::span<std::byte> kept_;               // behind Scoring::kept
  std::span<float> scores_;                 // [threads, 3, prompt_tokens]
  std::span<float> score_kernel_;           // [threads, kernel stride]
  std::span<float> value_weights_;          // [threads, gram + row]
  size_t prompt_tokens_ = 0;
  size_t kernel_stride_ = 0;
  size_t gram_floats_ = 0;
  size_t row_floats_ = 0;
};

// Rows of the head's matrix packed at once: kLogitColumns or the vocabulary.
size_t HeadColumns(const ModelConfig& config);

}  // namespace dapple

#endif  // DAPPLE_ENGINE_WORKSPACE_H_
