// tova: the last prompt token asks (arXiv 2401.06104), once at the end of
// prefill and for each KV head on its own.
#include "policy/policy.h"

namespace dapple {
namespace {

class TovaPolicy : public Policy {
 public:
  ProbeKind probe() const override { return ProbeKind::kLastToken; }
  bool pools() const override { return false; }
  Pins Pinned(size_t, size_t) const override { return {0, 1}; }
  void Score(const HeadView& head, std::span<float> scores) const override {
    ProbeRows last = head.window;
    last.queries += (last.rows - 1) * last.stride;
    last.first += last.rows - 1;
    last.rows = 1;
    MeanAttention(head, last, scores);
  }
};

}  // namespace

std::unique_ptr<Policy> MakeTovaPolicy(const EvictionOptions&) {
  return std::make_unique<TovaPolicy>();
}

}  // namespace dapple
