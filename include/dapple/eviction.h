// Eviction: which of a prompt's keys and values are kept for decoding.
//
// A policy scores the prompt's keys of each layer and KV head while that
// layer's keys are still staged; the best are moved to the retained slots and
// the rest is gone before the next layer starts (DESIGN, layer-major prefill).
// Source of the default: DapQ, arXiv 2603.11564.
#ifndef DAPPLE_EVICTION_H_
#define DAPPLE_EVICTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"

namespace dapple {

// How many keys a KV head keeps of a prompt.
struct KeepBudget {
  enum class Kind { kAuto, kTokens, kShare };
  Kind kind = Kind::kAuto;
  size_t tokens = 0;  // kTokens
  double share = 1;   // kShare: of the prompt, in (0, 1]

  // "256", "3%" or "auto".
  static Result<KeepBudget> Parse(std::string_view text);
  // Keys kept of `prompt` keys: at least 1, at most `prompt`. kAuto keeps all
  // (a cap lowers it at planning).
  size_t Resolve(size_t prompt) const;
  std::string ToString() const;
};

// What the pseudo tokens after the prompt hold (paper §4; DAPQ.md: on a small
// model the prompt's end, which holds the question, is by far the best).
enum class ProbeContent {
  kPrefixSuffix,  // the prompt's first 4 tokens, then its last ones
  kSuffix,        // its last tokens
  kRandom,        // ids drawn from the vocabulary, by seed
};

struct EvictionOptions {
  std::string policy = "full";  // one of EvictionPolicies()
  KeepBudget keep;
  // max-pooling of scores over neighbours before the choice; odd, 1: none.
  size_t pool = 7;
  size_t sinks = 4;    // first tokens that are always kept (streaming)
  size_t recent = 32;  // newest tokens always kept (snapkv, pyramidkv: also
                       // the window whose queries score)
  // Scores are multiplied by the norm of the value behind the output
  // projection (CriticalKV, arXiv 2502.03805).
  bool value_weighted = false;
  uint64_t seed = 0;  // of policy random

  // kInvalidArgument naming what is wrong.
  Status Validate() const;
};

// Names of all policies, "full" first.
std::vector<std::string> EvictionPolicies();

// What one layer kept. Heads may differ.
struct KeptLayer {
  size_t min_kept = 0;  // keys, over the KV heads
  size_t max_kept = 0;
  // Share of the probe's attention to the prompt that falls on kept keys,
  // mean over the KV heads, [0, 1]; negative where the policy has no probe.
  double coverage = -1;
};

struct KeptReport {
  std::string policy;
  size_t prompt_tokens = 0;
  std::vector<KeptLayer> layers;
  uint64_t kept_bytes = 0;  // keys and values of the prompt that remain
  uint64_t full_bytes = 0;  // of the whole prompt

  double KeptShare() const;  // kept_bytes / full_bytes
  // Over the layers; negative without a probe.
  double MinCoverage() const;
  double MedianCoverage() const;
};

}  // namespace dapple

#endif  // DAPPLE_EVICTION_H_
