// Workspace: every buffer of a session, planned and carved from one list.
//
// The same list of (name, bytes, span) is summed for the memory plan and
// walked to carve the arena, so the plan cannot disagree with the use.
#ifndef DAPPLE_ENGINE_WORKSPACE_H_
#define DAPPLE_ENGINE_WORKSPACE_H_

#include <algorithm>
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
  Schedule schedule = Schedule::kExact;
  Residency weights = Residency::kResident;
  KvType staging_type = KvType::kF16;
  KvType retained_type = KvType::kF16;
  size_t chunk_tokens = 0;  // streaming: prompt tokens of a pass

  bool streaming() const { return schedule == Schedule::kStreaming; }
  bool spilled() const { return schedule == Schedule::kExactSpill; }
  // Prompt tokens of the longest pass through the layers.
  size_t pass_tokens() const {
    return streaming() ? std::min(chunk_tokens, prompt_tokens) : prompt_tokens;
  }
  // Rows of that pass: with the pseudo tokens.
  size_t pass_rows() const { return pass_tokens() + eviction->pseudo_rows; }
  // Keys that a layer scores and chooses among.
  size_t candidates() const {
    return std::min(prompt_tokens,
                    pass_tokens() + (streaming() ? eviction->Largest() : 0));
  }
  // Where nothing is evicted or converted, keys are staged where they stay.
  bool staged() const {
    return !eviction->in_place || staging_type != retained_type || streaming();
  }
  size_t staging_rows() const { return candidates() + eviction->pseudo_rows; }
  size_t residual_bytes_per_element() const { return exact ? 4 : 2; }
};

struct Workspace {
  // Rows of logits computed at a time, and vocabulary columns packed at a
  // time, when row_logits is wanted.
  static constexpr size_t kLogitRows = 64;
  static constexpr size_t kLogitColumns = 4096;

  // [pass rows, width] F16 or float; of one tile where it is spilled
  std::span<std::byte> residual;
  std::span<std::byte> kv;          // KvSlots of every variant
  std::span<std::byte> places;      // streaming: SessionImpl::PlacesOf
  std::span<std::byte> staging;     // KvSlots of one layer, staging_rows
  std::span<std::byte> packed;      // one layer's packed weights
  std::span<float> logits;          // [vocab]
  std::span<std::byte> head_panel;  // packed kLogitColumns of the head
  std::span<float> row_logits;      // [kLogitRows, vocab]
  std::span<float> last_row;        // [width]: residual of the prompt's end
  std::span<float> prompt_logits;   // [vocab], where there are variants
  LayerScratch layer;

  // Eviction only: a thread's buffers for one KV head.
  struct Scoring {
    std::span<float> raw;       // [candidates]
    std::span<float> weighted;  // the same
    std::span<float> work;      // the same
    std::span<uint32_t> kept;   // the same
    std::span<float> kernel;    // ProbeScoreScratch
    std::span<float> gram;      // [head_dim, head_dim]
    std::span<float> row;       // [query_width] or [head_dim]
  };
  Scoring ScoringOf(int thread) const;
  std::span<float> probe_queries;  // [window + pseudo rows, query_width]
  std::span<float> column_sums;    // [kv_heads, prompt_tokens]

  // One line of the arena's layout.
  struct Part {
    const char* plan_line;  // parts of one line are summed in the plan
    uint64_t bytes;
    uint64_t decode_bytes;  // of them, still in use when prefill is over
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
  // Gives back the pages that only prefill needs.
  void ReleasePrefill();

 private:
  std::span<std::byte> activation_blocks_;
  std::span<std::byte> parts_left_;  // behind layer.activations
  std::span<std::byte> kept_;        // behind Scoring::kept
  std::span<float> scores_;          // [threads, 3, candidates]
  std::span<float> score_kernel_;    // [threads, kernel stride]
  std::span<float> value_weights_;   // [threads, gram + row]
  std::vector<std::span<std::byte>> prefill_only_;
  size_t candidates_ = 0;
  size_t kernel_stride_ = 0;
  size_t gram_floats_ = 0;
  size_t row_floats_ = 0;
};

// Of a large matrix that must not stay: bytes read between two releases.
constexpr uint64_t kStreamedSlabBytes = uint64_t{4} << 20;

// Rows of the head's matrix packed at once: kLogitColumns or the vocabulary.
size_t HeadColumns(const ModelConfig& config);

}  // namespace dapple

#endif  // DAPPLE_ENGINE_WORKSPACE_H_
