// random: the floor every policy must beat. Seeded; each layer and head draws
// its own keys.
#include "policy/policy.h"

namespace dapple {
namespace {

// SplitMix64 (Steele et al. 2014): a full-period mixer, the same everywhere.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

class RandomPolicy : public Policy {
 public:
  explicit RandomPolicy(const EvictionOptions& options) : seed_(options.seed) {}

  ProbeKind probe() const override { return ProbeKind::kNone; }
  bool pools() const override { return false; }
  void Score(const HeadView& head, std::span<float> scores) const override {
    const uint64_t stream = Mix(Mix(Mix(seed_) + head.layer) + head.head);
    for (size_t j = 0; j < scores.size(); ++j)
      scores[j] = static_cast<float>(Mix(stream + j) >> 40);
  }

 private:
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Policy> MakeRandomPolicy(const EvictionOptions& options) {
  return std::make_unique<RandomPolicy>(options);
}

}  // namespace dapple
