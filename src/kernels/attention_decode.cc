#include <algorithm>
#include <type_traits>

#include "kernels/attention.h"
#include "kernels/attention_layout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_decode.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/attention_decode-inl.h"
#include "kernels/attention_decode_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

// Keys [first, first + count).
void DecodePartOf(const KvView& kv, const float* q, size_t group, size_t first,
                  size_t count, const AttentionParams& params, float* scratch,
                  const DecodePart& part) {
  VisitKvRows(kv.type, kv.keys, [&](const auto* keys) HWY_ATTR {
    const size_t dim = kv.head_dim;
    using T = std::remove_cvref_t<decltype(*keys)>;
    const size_t skipped = first * KvRowStep<T>(dim);
    const T* k = keys + skipped;
    const T* v = static_cast<const T*>(kv.values) + skipped;
#if DAPPLE_DECODE_BF16
    // Float rows ask for float arithmetic (--compute f32).
    if (!std::is_same_v<T, float> && group >= kLeastBF16Group)
      return DecodePartBF16(k, v, dim, q, group, count, params, scratch, part);
#endif
#if DAPPLE_DECODE_LANES
    if constexpr (DecodesInLanes<T>(8)) {
      if (DecodesInLanes<T>(group))
        return DecodePartLanes(k, v, dim, q, group, count, params, scratch,
                               part);
    }
#endif
    DecodePartFloat(k, v, dim, q, group, count, params, scratch, part);
  });
}

void MergeAll(const float* parts, size_t count, size_t part_floats,
              size_t group, size_t head_dim, float* out) {
  MergeParts(parts, count, part_floats, group, head_dim, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(DecodePartOf);
HWY_EXPORT(MergeAll);

namespace {

// Fewer would have threads queue for parts, more would cost time to merge.
constexpr size_t kLeastPartKeys = 512;

// Keys of every part but the last: whole blocks.
size_t PartKeys(size_t seen) {
  const size_t share = (seen + kMaxDecodeParts - 1) / kMaxDecodeParts;
  const size_t blocks = (share + kDecodeKeys - 1) / kDecodeKeys;
  return std::max(kLeastPartKeys, blocks * kDecodeKeys);
}

}  // namespace

size_t DecodeAttentionScratch(size_t group, size_t head_dim) {
  const size_t stride = RoundUpToLanes(head_dim);
  const size_t keys = KeysPerBlock(head_dim);
  const size_t in_float = keys * stride           // staged keys or values
                          + 2 * group * stride    // q, o
                          + group * kScoreStride  // scores
                          + 2 * group;            // maximum, sum
  const size_t lanes = RoundUpToLanes(group);     // at most kDecodeQueries - 1
                                                  // more than are needed
  const size_t in_bf16 = 8 * head_dim             // staged keys
                         + lanes * stride         // q
                         + group * stride         // o
                         + lanes * kDecodeKeys    // scores
                         + 2 * lanes + 3 * kMaxFloatLanes;
  const size_t in_lanes = kDecodeQueries * kDecodeKeys  // scores
                          + 3 * lanes  // maxima, sums, queries' scales
                          + 2 * group * stride;  // q, o
  return kMaxFloatLanes                          // alignment
         + std::max({in_float, in_bf16, in_lanes});
}

size_t DecodeParts(size_t count, const AttentionParams& params) {
  const size_t seen = count - params.FirstSeen(count);
  const size_t keys = PartKeys(seen);
  return std::max<size_t>(1, (seen + keys - 1) / keys);
}

size_t MostDecodeParts(size_t count) {
  return std::clamp<size_t>((count + kLeastPartKeys - 1) / kLeastPartKeys, 1,
                            kMaxDecodeParts);
}

size_t DecodePartFloats(size_t group, size_t head_dim) {
  return RoundUpToLanes(group * (RoundUpToLanes(head_dim) + 2));
}

void DecodeAttentionPart(const KvView& kv, const float* q, size_t group,
                         size_t count, const AttentionParams& params,
                         size_t part_index, float* scratch, float* part) {
  const size_t seen = count - params.FirstSeen(count);
  const size_t keys = PartKeys(seen), first = part_index * keys;
  const size_t sums = group * RoundUpToLanes(kv.head_dim);
  HWY_DYNAMIC_DISPATCH(DecodePartOf)
  (kv, q, group, count - seen + first, std::min(keys, seen - first), params,
   scratch, {part, part + sums, part + sums + group});
}

void MergeDecodeParts(const float* parts, size_t count, size_t group,
                      size_t head_dim, float* out) {
  HWY_DYNAMIC_DISPATCH(MergeAll)
  (parts, count, DecodePartFloats(group, head_dim), group, head_dim, out);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
