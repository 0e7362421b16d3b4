// snapkv: the prompt's last `recent` tokens ask, and are kept themselves
// (arXiv 2404.14469). pyramidkv: the same with more keys in lower layers and
// fewer in higher ones (arXiv 2406.02069, β = 20).
#include <algorithm>

#include "policy/policy.h"

namespace dapple {
namespace {

class SnapKvPolicy : public Policy {
 public:
  explicit SnapKvPolicy(const EvictionOptions& options)
      : window_(options.recent) {}

  ProbeKind probe() const override { return ProbeKind::kWindow; }
  Pins Pinned(size_t keep, size_t length) const override {
    return {0, std::min({window_, keep, length})};
  }
  void Score(const HeadView& head, std::span<float> scores) const override {
    MeanAttention(head, head.window, scores);
  }

 protected:
  size_t window_;
};

class PyramidKvPolicy : public SnapKvPolicy {
 public:
  using SnapKvPolicy::SnapKvPolicy;

  size_t LayerBudget(size_t keep, size_t length, size_t layer,
                     size_t layers) const override {
    constexpr size_t kBeta = 20;
    if (keep >= length) return length;
    const size_t window = std::min(window_, keep);
    const size_t mean = keep - window;
    size_t least = mean / kBeta;
    size_t most = 2 * mean - least;
    if (most > length - window) {
      most = length - window;
      least = 2 * mean - most;
    }
    if (layers == 1) return keep;
    // Interpolated, not stepped, so that the mean over layers is `keep`.
    return window + most - (most - least) * layer / (layers - 1);
  }
};

}  // namespace

std::unique_ptr<Policy> MakeSnapKvPolicy(const EvictionOptions& options) {
  return std::make_unique<SnapKvPolicy>(options);
}

std::unique_ptr<Policy> MakePyramidKvPolicy(const EvictionOptions& options) {
  return std::make_unique<PyramidKvPolicy>(options);
}

}  // namespace dapple
