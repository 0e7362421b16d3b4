// h2o: heavy hitters (arXiv 2306.14048), decided once at the end of prefill:
// half of the budget for the keys that gathered most attention from all
// prompt rows, half for the newest.
#include <algorithm>

#include "policy/policy.h"

namespace dapple {
namespace {

class H2oPolicy : public Policy {
 public:
  ProbeKind probe() const override { return ProbeKind::kEveryRow; }
  bool pools() const override { return false; }
  Pins Pinned(size_t keep, size_t length) const override {
    return {0, std::min(keep / 2, length)};
  }
  void Score(const HeadView& head, std::span<float> scores) const override {
    std::copy_n(head.column_sums.begin(), scores.size(), scores.begin());
  }
};

}  // namespace

std::unique_ptr<Policy> MakeH2oPolicy(const EvictionOptions&) {
  return std::make_unique<H2oPolicy>();
}

}  // namespace dapple
