// full: everything is kept.
#include <algorithm>

#include "policy/policy.h"

namespace dapple {
namespace {

class FullPolicy : public Policy {
 public:
  ProbeKind probe() const override { return ProbeKind::kNone; }
  bool keeps_all() const override { return true; }
  bool pools() const override { return false; }
  size_t LayerBudget(size_t, size_t length, size_t, size_t) const override {
    return length;
  }
  void Score(const HeadView&, std::span<float> scores) const override {
    std::fill(scores.begin(), scores.end(), 0.0f);
  }
};

}  // namespace

std::unique_ptr<Policy> MakeFullPolicy(const EvictionOptions&) {
  return std::make_unique<FullPolicy>();
}

}  // namespace dapple
