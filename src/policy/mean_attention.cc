#include <algorithm>

#include "kernels/probe_score.h"
#include "policy/policy.h"

namespace dapple {

void MeanAttention(const HeadView& head, const ProbeRows& probe,
                   std::span<float> scores) {
  std::fill(scores.begin(), scores.end(), 0.0f);
  if (probe.rows == 0) return;
  const float weight = 1.0f / static_cast<float>(probe.rows * head.group);
  const size_t scored = std::min(scores.size(), head.length);
  kernels::AddProbeScores(head.key_type, head.keys, head.head_dim,
                          probe.queries, probe.stride, probe.rows, head.group,
                          probe.first, scored, head.attention, weight,
                          head.scratch.data(), scores.data());
}

}  // namespace dapple
