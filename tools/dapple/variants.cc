#include "variants.h"

#include <algorithm>

namespace dapple::tool {

Result<std::vector<EvictionOptions>> ParseVariants(
    std::vector<std::string> policies, const std::vector<std::string>& keeps,
    const EvictionOptions& base) {
  if (std::find(policies.begin(), policies.end(), "all") != policies.end())
    policies = EvictionPolicies();
  std::vector<KeepBudget> budgets;
  for (const std::string& text : keeps) {
    DAPPLE_ASSIGN_OR_RETURN(KeepBudget budget, KeepBudget::Parse(text));
    budgets.push_back(budget);
  }
  std::vector<EvictionOptions> variants;
  for (const std::string& policy : policies) {
    for (const KeepBudget& budget : budgets) {
      EvictionOptions variant = base;
      variant.policy = policy;
      variant.keep = policy == "full" ? KeepBudget() : budget;
      DAPPLE_RETURN_IF_ERROR(variant.Validate());
      const bool there = std::any_of(
          variants.begin(), variants.end(), [&](const EvictionOptions& v) {
            return v.policy == policy && KeepName(v) == KeepName(variant);
          });
      if (!there) variants.push_back(variant);
    }
  }
  return variants;
}

std::string KeepName(const EvictionOptions& options) {
  return options.policy == "full" ? "all" : options.keep.ToString();
}

std::string ModelNote(const std::string& model_name) {
  if (model_name != "Dapple 40M") return "";
  return "The embedded model was fine-tuned so that DapQ's probes attend where "
         "its decoder will:\ncomparisons between policies on it favour dapq.";
}

}  // namespace dapple::tool
