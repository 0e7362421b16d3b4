// Engine and Session: run a model over a prompt, then generate.
//
// An Engine owns an open model (its mapped weights, tokenizer, threads). A
// Session owns the working memory of one prompt at a time: one arena, reserved
// when the session is made and never grown. Neither is thread-safe; results do
// not depend on the number of threads.
#ifndef DAPPLE_ENGINE_H_
#define DAPPLE_ENGINE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dapple/eviction.h"
#include "dapple/memory_plan.h"
#include "dapple/status.h"
#include "dapple/tokenizer.h"
#include "dapple/trace.h"

namespace dapple {

// How numbers are computed.
enum class Compute {
  kDefault,  // f16 KV and residual; quantized or bf16 products
  kF32,      // everything in float: the reference path, slow
};

struct EngineOptions {
  std::string model_path;
  int threads = 0;  // 0: one per physical core, of the big ones
  // Keeps each thread, the caller's too, on a core of its own.
  bool pin_threads = false;
  Compute compute = Compute::kDefault;
  // Prefill GEMM: "auto", "onednn", "highway" or "int8". --compute f32 has its
  // own.
  std::string gemm = "auto";
  size_t tile_rows = 0;  // prompt rows computed at a time; 0: chosen
  // Rotary frequencies rounded to bfloat16: only for comparing with references
  // computed by a module that was cast through bfloat16 (eval logits).
  bool bf16_rope_frequencies = false;
};

struct SessionOptions {
  size_t prompt_tokens = 0;   // the longest prompt this session will see
  size_t max_new_tokens = 0;  // generated tokens; see generation_slots
  // Slots for generated tokens' keys and values; 0: max_new_tokens. When they
  // are full, Append reports kDoesNotFit, or drops the oldest generated
  // token's slot.
  size_t generation_slots = 0;
  enum class OnFull { kStop, kDropOldest };
  OnFull on_full = OnFull::kStop;
  // What to keep of the prompt. Empty: everything. Several: prefill runs once
  // and keeps a set of slots for each (SelectVariant); for comparing policies.
  std::vector<EvictionOptions> eviction;
  // Pseudo tokens that follow the prompt when a policy asks for them (dapq).
  size_t probe_tokens = 32;
  ProbeContent probe_content = ProbeContent::kPrefixSuffix;
  uint64_t probe_seed = 0;  // of ProbeContent::kRandom
  // Probe with exactly these ids instead (an oracle: the true answer).
  std::vector<TokenId> probe_ids;
  // The cap, and how to stay under it.
  MemoryOptions memory;
  // Allow more tokens than the model was trained for.
  bool beyond_context = false;
  // Prefill reports logits of every row from some row on (PrefillHooks).
  bool row_logits = false;
  // Records where time goes; may be null, outlives the session.
  Trace* trace = nullptr;
};

struct PrefillProgress {
  size_t done = 0;  // units of layer × row
  size_t total = 0;
  size_t prompt_tokens = 0;
};

struct PrefillHooks {
  std::function<void(const PrefillProgress&)> progress;
  // Checked between tiles; true ends prefill with kCancelled.
  const std::atomic<bool>* cancel = nullptr;
  // With SessionOptions::row_logits: called for rows logits_from … L-1, in
  // order; logits is [rows, vocab].
  std::function<void(size_t first_row, size_t rows, const float* logits)>
      on_logits;
  size_t logits_from = 0;
  // Called for each variant, layer and KV head that was scored, in order of
  // layers. scores: [L] before pooling, the probe's mean attention
  // probability, empty where the policy has no such scores; kept: ascending.
  std::function<void(size_t variant, size_t layer, size_t head,
                     std::span<const float> scores,
                     std::span<const uint32_t> kept)>
      on_scores;
};

// What a run must at least compute and read: for rooflines.
struct ModelWork {
  // Operations of prefill, a multiply and an add being two: of the layers'
  // matrices, as far as they are computed (of the last layer's rows only the
  // keys and values, but for the prompt's end), and of attention.
  double linear_ops = 0;
  double attention_ops = 0;
  // Bytes of weights that one decoded token reads: all layers and the head.
  uint64_t token_weight_bytes = 0;
};

class Session {
 public:
  virtual ~Session() = default;

  // Runs the prompt (1 … prompt_tokens ids, all < vocab) through the model,
  // layer by layer. A session can be prefilled again: it starts over.
  virtual Status Prefill(std::span<const TokenId> prompt,
                         const PrefillHooks& hooks) = 0;
  // Appends one generated token and computes the logits after it.
  // kDoesNotFit when max_new_tokens were appended or their slots are full.
  virtual Status Append(TokenId id) = 0;
  // [vocab], of the newest position.
  virtual std::span<const float> logits() const = 0;

  // Decoding starts over after the prompt, from what `variant` of
  // SessionOptions::eviction kept. After Prefill it is variant 0.
  virtual Status SelectVariant(size_t variant) = 0;

  virtual const PlannedSchedule& planned() const = 0;
  const MemoryPlan& plan() const { return planned().plan; }
  // Of the selected variant, after Prefill.
  virtual KeptReport Kept() const = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;

  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);

  virtual const Tokenizer& tokenizer() const = 0;
  virtual std::string model_name() const = 0;
  virtual size_t context() const = 0;  // trained context, tokens
  virtual size_t vocab() const = 0;
  virtual int threads() const = 0;
  virtual std::string gemm_backend() const = 0;
  // Of a prompt of that many tokens, without eviction.
  virtual ModelWork Work(size_t prompt_tokens) const {
    (void)prompt_tokens;
    return {};
  }

  // Every way to run a session of these options, and which one is taken;
  // reserves nothing. kDoesNotFit when the prompt exceeds the trained context
  // (unless beyond_context); that nothing fits the cap is said in the report.
  virtual Result<PlanReport> Plan(const SessionOptions& options) const = 0;
  // Runs the one that Plan takes. kDoesNotFit when there is none.
  virtual Result<std::unique_ptr<Session>> NewSession(
      const SessionOptions& options) = 0;
};

// As Engine::Plan, from the file's header alone: no tensor is read, no
// tokenizer made (its size is estimated), no thread started.
Result<PlanReport> PlanModel(const EngineOptions& engine,
                             const SessionOptions& session);
// kDoesNotFit: why nothing in the report fits, and what would, on one line.
Status NothingFits(const PlanReport& report);

}  // namespace dapple

#endif  // DAPPLE_ENGINE_H_
