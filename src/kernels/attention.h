// Softmax attention over a KV head's keys and values, float arithmetic with an
// online softmax (Milakov & Gimelshein 2018): no [rows, keys] matrix exists.
//
// Grouped-query attention: a KV head serves `group` query heads, which are
// processed together so that each key and value is read once for all of them.
#ifndef DAPPLE_KERNELS_ATTENTION_H_
#define DAPPLE_KERNELS_ATTENTION_H_

#include <cstddef>

#include "kernels/attention_params.h"
#include "util/half.h"

namespace dapple::kernels {

// T is F16 (default) or float (--compute f32).
template <class T>
struct KvHeadView {
  const T* keys;    // [count, head_dim], rows contiguous
  const T* values;  // [count, head_dim]
  size_t head_dim;  // a multiple of 8, <= 256
};

// Query rows that one PrefillAttention call is best given: their queries fill
// whole register strips of every target, and the keys of a block, converted
// once a call, serve enough of them. Any number of rows is correct.
constexpr size_t PrefillAttentionRows(size_t group) {
  return group >= 2 ? (group <= 12 ? 192 / group : 16) : 96;
}

// Floats of scratch that one call needs (per thread).
size_t PrefillAttentionScratch(size_t max_rows, size_t group, size_t head_dim);
size_t DecodeAttentionScratch(size_t group, size_t head_dim);

// Causal attention of `rows` query positions of one KV head's group. Query row
// r sees keys [0, first_visible + r], i.e. first_visible is the index of the
// newest key that row 0 sees; keys of the tile itself are already staged. Keys
// that a sliding window hides from every row are not read.
// q: [rows, group, head_dim] at q + r * q_stride (rotated, not scaled).
// out: like q, at out + r * out_stride.
// scratch: PrefillAttentionScratch floats, any alignment. Deterministic: a
// row's result does not depend on `rows` (keys and values being finite).
template <class T>
void PrefillAttention(const KvHeadView<T>& kv, const float* q, size_t q_stride,
                      size_t rows, size_t group, size_t first_visible,
                      const AttentionParams& params, float* scratch, float* out,
                      size_t out_stride);

// One position: every query of the group over all `count` keys, or the newest
// params.window of them.
// q, out: [group, head_dim].
template <class T>
void DecodeAttention(const KvHeadView<T>& kv, const float* q, size_t group,
                     size_t count, const AttentionParams& params,
                     float* scratch, float* out);

template <>
void PrefillAttention<F16>(const KvHeadView<F16>&, const float*, size_t, size_t,
                           size_t, size_t, const AttentionParams&, float*,
                           float*, size_t);
template <>
void PrefillAttention<float>(const KvHeadView<float>&, const float*, size_t,
                             size_t, size_t, size_t, const AttentionParams&,
                             float*, float*, size_t);
template <>
void DecodeAttention<F16>(const KvHeadView<F16>&, const float*, size_t, size_t,
                          const AttentionParams&, float*, float*);
template <>
void DecodeAttention<float>(const KvHeadView<float>&, const float*, size_t,
                            size_t, const AttentionParams&, float*, float*);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_ATTENTION_H_
