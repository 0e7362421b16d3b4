// Attention mass that a block of probe queries puts on each key: the scores of
// DapQ (arXiv 2603.11564 §4, Eq. 3–5), SnapKV, TOVA and H2O.
//
// Two streaming passes over the keys: the first finds each query's softmax
// maximum and sum, the second adds up probabilities per key. Memory is O(keys):
// no [queries, keys] matrix exists.
#ifndef DAPPLE_KERNELS_PROBE_SCORE_H_
#define DAPPLE_KERNELS_PROBE_SCORE_H_

#include <cstddef>

#include "kernels/attention_params.h"
#include "util/kv_row.h"

namespace dapple::kernels {

// Floats of scratch that AddProbeScores needs for at most `max_rows` rows.
size_t ProbeScoreScratch(size_t max_rows, size_t group, size_t head_dim);

// scores[j] += weight × Σ over rows r and the group's queries of
// softmax_j(logits), for j < scored. keys: at least
// first_visible + rows rows (util/kv_row.h), consecutive; query row r sees keys
// [0, first_visible + r] (or the newest params.window of them), which take part
// in the softmax whether or not they are scored (DapQ's pseudo tokens see the
// pseudo tokens before them). q: [rows, group, head_dim] at q + r * q_stride
// (rotated, not scaled). scores: [scored]. Deterministic: depends on neither
// threads nor alignment. Finite for finite inputs, however large the logits.
void AddProbeScores(KvType type, const void* keys, size_t head_dim,
                    const float* q, size_t q_stride, size_t rows, size_t group,
                    size_t first_visible, size_t scored,
                    const AttentionParams& params, float weight, float* scratch,
                    float* scores);

// The same with the rows' type known (F16, float, Q8KvByte, Q4KvByte).
template <class T>
void AddProbeScores(const T* keys, size_t head_dim, const float* q,
                    size_t q_stride, size_t rows, size_t group,
                    size_t first_visible, size_t scored,
                    const AttentionParams& params, float weight, float* scratch,
                    float* scores) {
  AddProbeScores(kKvTypeOf<T>, keys, head_dim, q, q_stride, rows, group,
                 first_visible, scored, params, weight, scratch, scores);
}

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_PROBE_SCORE_H_
