#include "engine/eviction_plan.h"

#include <algorithm>
#include <random>

namespace dapple {
namespace {

constexpr size_t kMaxProbeTokens = 1024;
// Of ProbeContent::kPrefixSuffix: DAPQ.md, "4 + 28".
constexpr size_t kProbePrefix = 4;

}  // namespace

Result<EvictionPlan> EvictionPlan::Make(const ModelConfig& config,
                                        const SessionOptions& options) {
  EvictionPlan plan;
  plan.generation_slots =
      options.generation_slots == 0
          ? options.max_new_tokens
          : std::min(options.generation_slots, options.max_new_tokens);
  const size_t probe = options.probe_ids.empty() ? options.probe_tokens
                                                 : options.probe_ids.size();
  if (probe == 0 || probe > kMaxProbeTokens)
    return InvalidArgument("the probe must have 1 to " +
                           std::to_string(kMaxProbeTokens) + " tokens");
  std::vector<EvictionOptions> wanted = options.eviction;
  if (wanted.empty()) wanted.emplace_back();
  for (EvictionOptions& eviction : wanted) {
    DAPPLE_RETURN_IF_ERROR(eviction.Validate());
    EvictionVariant variant;
    variant.policy = MakePolicy(eviction);
    const size_t length = options.prompt_tokens;
    const size_t keep = eviction.keep.Resolve(length);
    // Keeping every key needs no scores, whatever the policy.
    if (keep >= length && wanted.size() == 1) {
      EvictionOptions full;
      variant.policy = MakePolicy(full);
    }
    // A layer with a sliding window keeps no key that no new token sees.
    for (size_t layer = 0; layer < config.layers; ++layer)
      variant.capacities.push_back(std::min(
          length - config.FirstSeen(layer, length),
          variant.policy->LayerBudget(keep, length, layer, config.layers)));
    if (!variant.policy->keeps_all()) {
      const ProbeKind kind = variant.policy->probe();
      if (kind == ProbeKind::kPseudoTokens) plan.pseudo_rows = probe;
      if (kind == ProbeKind::kWindow)
        plan.window_rows = std::max(plan.window_rows, eviction.recent);
      if (kind == ProbeKind::kLastToken)
        plan.window_rows = std::max<size_t>(plan.window_rows, 1);
      plan.column_sums |= kind == ProbeKind::kEveryRow;
      plan.value_weighted |= eviction.value_weighted;
    }
    variant.options = std::move(eviction);
    plan.variants.push_back(std::move(variant));
  }
  plan.in_place =
      plan.variants.size() == 1 && plan.variants[0].policy->keeps_all() &&
      std::ranges::all_of(plan.variants[0].capacities, [&](size_t capacity) {
        return capacity == options.prompt_tokens;
      });
  return plan;
}

size_t EvictionPlan::Largest() const {
  size_t largest = 0;
  for (const EvictionVariant& variant : variants)
    for (size_t capacity : variant.capacities)
      largest = std::max(largest, capacity);
  return largest;
}

std::vector<size_t> EvictionPlan::SlotCapacities(size_t v) const {
  std::vector<size_t> capacities = variants[v].capacities;
  for (size_t& capacity : capacities) capacity += generation_slots;
  return capacities;
}

void FillProbe(std::span<const TokenId> prompt, ProbeContent content,
               uint64_t seed, size_t vocab, size_t count,
               std::vector<TokenId>* ids) {
  ids->clear();
  if (content == ProbeContent::kRandom) {
    std::mt19937_64 random(seed);
    for (size_t i = 0; i < count; ++i)
      ids->push_back(static_cast<TokenId>(random() % vocab));
    return;
  }
  const size_t prefix = content == ProbeContent::kPrefixSuffix
                            ? std::min({kProbePrefix, count, prompt.size()})
                            : 0;
  const size_t suffix = std::min(count - prefix, prompt.size());
  ids->insert(ids->end(), prompt.begin(), prompt.begin() + prefix);
  ids->insert(ids->end(), prompt.end() - suffix, prompt.end());
}

}  // namespace dapple
