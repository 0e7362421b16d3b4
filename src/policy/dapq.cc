// dapq: decoding-aligned pseudo queries (arXiv 2603.11564 §4). Pseudo tokens
// at the positions of the first generated tokens ask; what they attend to is
// kept.
#include "policy/policy.h"

namespace dapple {
namespace {

class DapqPolicy : public Policy {
 public:
  ProbeKind probe() const override { return ProbeKind::kPseudoTokens; }
  void Score(const HeadView& head, std::span<float> scores) const override {
    MeanAttention(head, head.pseudo, scores);
  }
};

}  // namespace

std::unique_ptr<Policy> MakeDapqPolicy(const EvictionOptions&) {
  return std::make_unique<DapqPolicy>();
}

}  // namespace dapple
