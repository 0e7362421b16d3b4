#include <algorithm>

#include "policy/policy.h"

namespace dapple {
namespace {

struct Entry {
  const char* name;
  std::unique_ptr<Policy> (*make)(const EvictionOptions&);
};

constexpr Entry kPolicies[] = {
    {"full", MakeFullPolicy},
    {"dapq", MakeDapqPolicy},
    {"snapkv", MakeSnapKvPolicy},
    {"pyramidkv", MakePyramidKvPolicy},
    {"h2o", MakeH2oPolicy},
    {"tova", MakeTovaPolicy},
    {"streaming", MakeStreamingPolicy},
    {"keydiff", MakeKeyDiffPolicy},
    {"random", MakeRandomPolicy},
};

}  // namespace

std::unique_ptr<Policy> MakePolicy(const EvictionOptions& options) {
  for (const Entry& entry : kPolicies)
    if (options.policy == entry.name) return entry.make(options);
  return nullptr;
}

std::vector<std::string> EvictionPolicies() {
  std::vector<std::string> names;
  for (const Entry& entry : kPolicies) names.push_back(entry.name);
  return names;
}

}  // namespace dapple
