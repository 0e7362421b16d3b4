#include "kernels/probe_score.h"

#include "kernels/attention_layout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/probe_score.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/probe_score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void ProbeScoresAll(KvType type, const void* keys, size_t head_dim,
                    const float* q, size_t q_stride, size_t rows, size_t group,
                    size_t first_visible, size_t scored,
                    const AttentionParams& params, float weight, float* scratch,
                    float* scores) {
  const ProbeQueries queries{q, q_stride, rows, group, head_dim, first_visible};
  VisitKvRows(type, keys, [&](const auto* typed) HWY_ATTR {
    AddProbeScoresTo(typed, queries, scored, params, weight, scratch, scores);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(ProbeScoresAll);

size_t ProbeScoreScratch(size_t max_rows, size_t group, size_t head_dim) {
  const size_t lanes = RoundUpToLanes(max_rows * group);
  return kMaxFloatLanes                     // alignment
         + kProbeKeys * head_dim            // keys
         + kProbeKeys * 3 * kMaxFloatLanes  // scores
         + kProbeKeys * kMaxFloatLanes      // sums over lanes
         + lanes * (head_dim + 3);          // q, maximum, sum, newest key
}

void AddProbeScores(KvType type, const void* keys, size_t head_dim,
                    const float* q, size_t q_stride, size_t rows, size_t group,
                    size_t first_visible, size_t scored,
                    const AttentionParams& params, float weight, float* scratch,
                    float* scores) {
  HWY_DYNAMIC_DISPATCH(ProbeScoresAll)
  (type, keys, head_dim, q, q_stride, rows, group, first_visible, scored,
   params, weight, scratch, scores);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
