#include "kernels/attention.h"
#include "kernels/attention_layout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_decode.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/attention_decode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void DecodeAll(const KvView& kv, const float* q, size_t group, size_t count,
               const AttentionParams& params, float* scratch, float* out) {
  VisitKvRows(kv.type, kv.keys, [&](const auto* keys) HWY_ATTR {
    DecodeAttentionHead(keys, static_cast<decltype(keys)>(kv.values),
                        kv.head_dim, q, group, count, params, scratch, out);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(DecodeAll);

size_t DecodeAttentionScratch(size_t group, size_t head_dim) {
  const size_t stride = RoundUpToLanes(head_dim);
  const size_t keys = KeysPerBlock(head_dim);
  return kMaxFloatLanes          // alignment
         + keys * stride         // staged keys or values
         + 2 * group * stride    // q, o
         + group * kScoreStride  // scores
         + 2 * group;            // maximum, sum
}

void DecodeAttention(const KvView& kv, const float* q, size_t group,
                     size_t count, const AttentionParams& params,
                     float* scratch, float* out) {
  HWY_DYNAMIC_DISPATCH(DecodeAll)(kv, q, group, count, params, scratch, out);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
