#include "kernels/attention.h"
#include "kernels/attention_layout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_prefill.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/attention_prefill-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void PrefillAll(const KvView& kv, const float* q, size_t q_stride, size_t rows,
                size_t group, size_t first_visible,
                const AttentionParams& params, float* scratch, float* out,
                size_t out_stride) {
  const QueryBlock block{q, q_stride, rows, group, kv.head_dim, first_visible};
  VisitKvRows(kv.type, kv.keys, [&](const auto* keys) HWY_ATTR {
    PrefillAttentionBlock(keys, static_cast<decltype(keys)>(kv.values), block,
                          params, scratch, out, out_stride);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(PrefillAll);

size_t PrefillAttentionScratch(size_t max_rows, size_t group, size_t head_dim) {
  const size_t lanes = RoundUpToLanes(max_rows * group);
  const size_t keys = KeysPerBlock(head_dim);
  return kMaxFloatLanes               // alignment
         + 2 * keys * head_dim        // keys, values
         + keys * 3 * kMaxFloatLanes  // scores
         + 2 * lanes * head_dim       // q, o
         + 4 * lanes;                 // maximum, sum, newest key, scale
}

void PrefillAttention(const KvView& kv, const float* q, size_t q_stride,
                      size_t rows, size_t group, size_t first_visible,
                      const AttentionParams& params, float* scratch, float* out,
                      size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(PrefillAll)
  (kv, q, q_stride, rows, group, first_visible, params, scratch, out,
   out_stride);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
