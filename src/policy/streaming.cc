// streaming: the first `sinks` tokens and the newest ones (StreamingLLM, arXiv
// 2309.17453), with their original rotary positions.
#include <algorithm>

#include "policy/policy.h"

namespace dapple {
namespace {

class StreamingPolicy : public Policy {
 public:
  explicit StreamingPolicy(const EvictionOptions& options)
      : sinks_(options.sinks) {}

  ProbeKind probe() const override { return ProbeKind::kNone; }
  bool pools() const override { return false; }
  Pins Pinned(size_t keep, size_t) const override {
    const size_t first = std::min(sinks_, keep);
    return {first, keep - first};
  }
  void Score(const HeadView&, std::span<float> scores) const override {
    std::fill(scores.begin(), scores.end(), 0.0f);
  }

 private:
  size_t sinks_;
};

}  // namespace

std::unique_ptr<Policy> MakeStreamingPolicy(const EvictionOptions& options) {
  return std::make_unique<StreamingPolicy>(options);
}

}  // namespace dapple
