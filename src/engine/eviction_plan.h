// EvictionPlan: what a session's eviction options come to for a prompt length:
// policies made, probe rows counted, slots sized.
#ifndef DAPPLE_ENGINE_EVICTION_PLAN_H_
#define DAPPLE_ENGINE_EVICTION_PLAN_H_

#include <memory>
#include <vector>

#include "dapple/engine.h"
#include "model/model_config.h"
#include "policy/policy.h"

namespace dapple {

struct EvictionVariant {
  EvictionOptions options;
  std::unique_ptr<Policy> policy;
  std::vector<size_t> capacities;  // [layers]: prompt keys at most kept a head
};

struct EvictionPlan {
  std::vector<EvictionVariant> variants;  // at least one
  size_t generation_slots = 0;
  size_t pseudo_rows = 0;  // rows after the prompt, at most
  size_t window_rows = 0;  // newest prompt rows whose queries are captured
  bool column_sums = false;
  bool value_weighted = false;
  // Nothing is evicted: keys are staged where they stay.
  bool in_place = false;

  static Result<EvictionPlan> Make(const ModelConfig& config,
                                   const SessionOptions& options);
  // Prompt keys that any head keeps at most.
  size_t Largest() const;
  // Slots a layer needs in variant v: kept prompt keys and generated tokens.
  std::vector<size_t> SlotCapacities(size_t v) const;
};

// The pseudo tokens for a prompt (DapQ §4): at most `count` ids.
void FillProbe(std::span<const TokenId> prompt, ProbeContent content,
               uint64_t seed, size_t vocab, size_t count,
               std::vector<TokenId>* ids);

}  // namespace dapple

#endif  // DAPPLE_ENGINE_EVICTION_PLAN_H_
