// Softmax attention over a KV head's keys and values with an online softmax
// (Milakov & Gimelshein 2018): no [rows, keys] matrix exists. Float arithmetic,
// but for the products over rows other than float: in bf16 where the processor
// has a dot product of it, else on x86 in 16-bit integers: prefill's up to
// AVX2, decode's over rows of bytes on AVX2 (kernels/targets.h).
//
// Grouped-query attention: a KV head serves `group` query heads, which are
// processed together so that each key and value is read once for all of them.
#ifndef DAPPLE_KERNELS_ATTENTION_H_
#define DAPPLE_KERNELS_ATTENTION_H_

#include <cstddef>

#include "kernels/attention_params.h"
#include "util/kv_row.h"

namespace dapple::kernels {

// Rows of keys and values of one KV head (util/kv_row.h), consecutive.
struct KvView {
  KvType type;
  const void* keys;    // [count] rows
  const void* values;  // [count] rows
  size_t head_dim;     // a multiple of 8, <= 256
};

// The same with its type known: T is F16, float, Q8KvByte or Q4KvByte.
template <class T>
struct KvHeadView {
  const T* keys;
  const T* values;
  size_t head_dim;

  operator KvView() const { return {kKvTypeOf<T>, keys, values, head_dim}; }
};

// Query rows that one PrefillAttention call is best given: their queries fill
// whole vectors of every target, the keys of a block, converted once a call,
// serve enough of them, and tiles of 256 rows are cut evenly for most groups.
// Any number of rows is correct.
constexpr size_t PrefillAttentionRows(size_t group) {
  return group >= 2 ? (group <= 12 ? (384 / group + 15) / 16 * 16 : 32) : 192;
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
void PrefillAttention(const KvView& kv, const float* q, size_t q_stride,
                      size_t rows, size_t group, size_t first_visible,
                      const AttentionParams& params, float* scratch, float* out,
                      size_t out_stride);

// One position: every query of the group over all `count` keys, or the newest
// params.window of them. The keys are cut into parts that threads may share;
// where they are cut depends on their number alone, and the parts are merged
// in order, so that a result does not depend on who computed which (Dao et al.
// 2023, "Flash-Decoding for long-context inference").
inline constexpr size_t kMaxDecodeParts = 32;
// At least 1: also no keys have a part.
size_t DecodeParts(size_t count, const AttentionParams& params);
// An upper bound of DecodeParts for up to so many keys.
size_t MostDecodeParts(size_t count);
// Floats that a part's outcome takes.
size_t DecodePartFloats(size_t group, size_t head_dim);
// Part [0, DecodeParts(count, params)) of them. q: [group, head_dim];
// scratch: DecodeAttentionScratch floats; part: DecodePartFloats; both of any
// alignment.
void DecodeAttentionPart(const KvView& kv, const float* q, size_t group,
                         size_t count, const AttentionParams& params,
                         size_t part_index, float* scratch, float* part);
// parts: [count, DecodePartFloats]; out: [group, head_dim].
void MergeDecodeParts(const float* parts, size_t count, size_t group,
                      size_t head_dim, float* out);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_ATTENTION_H_
