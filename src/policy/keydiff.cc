// keydiff: keys least like the mean key are kept (arXiv 2504.15364): no query
// is needed. Score: minus the cosine of key and mean of the normalised keys.
#include <algorithm>
#include <cmath>

#include "kernels/kv_rows.h"
#include "policy/policy.h"

namespace dapple {
namespace {

constexpr size_t kMaxHeadDim = 256;

class KeyDiffPolicy : public Policy {
 public:
  ProbeKind probe() const override { return ProbeKind::kNone; }
  bool pools() const override { return false; }

  void Score(const HeadView& head, std::span<float> scores) const override {
    double anchor[kMaxHeadDim] = {};
    float key[kMaxHeadDim];
    for (size_t j = 0; j < head.length; ++j) {
      const double norm = Load(head, j, key);
      for (size_t i = 0; i < head.head_dim; ++i) anchor[i] += key[i] / norm;
    }
    for (size_t j = 0; j < head.length; ++j) {
      const double norm = Load(head, j, key);
      double dot = 0;
      for (size_t i = 0; i < head.head_dim; ++i) dot += anchor[i] * key[i];
      scores[j] = static_cast<float>(-dot / norm);
    }
  }

 private:
  // Key j as floats; its length, never 0.
  static double Load(const HeadView& head, size_t j, float* key) {
    const auto* rows = static_cast<const std::byte*>(head.keys);
    kernels::LoadKvRows(head.key_type,
                        rows + j * KvRowBytes(head.key_type, head.head_dim), 1,
                        head.head_dim, key, head.head_dim);
    double squares = 0;
    for (size_t i = 0; i < head.head_dim; ++i)
      squares += static_cast<double>(key[i]) * key[i];
    return std::max(std::sqrt(squares), 1e-12);
  }
};

}  // namespace

std::unique_ptr<Policy> MakeKeyDiffPolicy(const EvictionOptions&) {
  return std::make_unique<KeyDiffPolicy>();
}

}  // namespace dapple
