// Decode attention with 16 registers of 8 floats (AVX2): a key is read and
// converted once for up to eight queries, whose accumulators fill half of the
// registers, and their eight sums come out as one vector. Scores are [keys,
// queries]: the online softmax works down the columns.
//
// Rows of bytes (kQ8) are not made float: they are multiplied as 16-bit
// integers, keys with queries of a scale each, and pairs of values with
// probabilities that share a scale in a block of keys. Queries are rounded to
// 2^-16 of their largest element, probabilities to 2^-16 of the largest of the
// block.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_ATTENTION_DECODE_LANES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_DECODE_LANES_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_DECODE_LANES_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_DECODE_LANES_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/attention_decode_bf16-inl.h"
#include "kernels/attention_lane_rows-inl.h"
#include "kernels/attention_layout.h"
#include "kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if DAPPLE_DECODE_LANES

// Whether it is the faster one: rows of float and F16 in other groups are left
// to DecodePartFloat, as fast for them (Zen 3). Rows of half bytes are not
// known here.
template <class T>
constexpr bool DecodesInLanes(size_t group) {
  if (std::is_same_v<T, Q4KvByte>) return false;
  return std::is_same_v<T, Q8KvByte> || group == 3 || group > 4;
}

// What a chunk of queries has come to. All but o and queries: [8].
struct LaneState {
  void* queries;        // of LaneRows
  float* query_scales;  // of rows of bytes
  float* o;             // [dim / 8, kG, 8]
  float* max;
  float* sum;
};

// scores[j][g] = q[g] · k[j]. k, ahead: [keys] rows; scores: [keys, 8], lanes
// from kG on 0. kDim: dim, or 0 if not known.
template <size_t kG, size_t kDim, class T>
HWY_INLINE void ScoreLanes(const LaneState& state, const T* HWY_RESTRICT k,
                           const T* ahead, size_t keys, size_t dim,
                           float* HWY_RESTRICT scores) {
  using Rows = LaneRows<T>;
  if constexpr (kDim != 0) dim = kDim;
  const size_t step = KvRowStep<T>(dim);
  const auto* queries = static_cast<const typename Rows::Query*>(state.queries);
  const VLanes scales = hn::Load(DLanes(), state.query_scales);
  for (size_t j = 0; j < keys; ++j, k += step) {
    decltype(Rows::Zero()) acc[k8];
    HWY_UNROLL(8)
    for (size_t g = 0; g < k8; ++g) acc[g] = Rows::Zero();
    PrefetchRow(ahead, j, step);
    const auto* q = queries;
    HWY_UNROLL(8)
    for (size_t i = 0; i < dim; i += Rows::kDims) {
      const auto key = Rows::LoadKey(k, i, dim - i);
      HWY_UNROLL(8)
      for (size_t g = 0; g < kG; ++g)
        acc[g] = Rows::Dot(q + g * Rows::kDims, key, acc[g]);
      q += kG * Rows::kDims;
    }
    hn::Store(Rows::Score(acc, k, scales), DLanes(), scores + j * k8);
  }
}

// One step of the online softmax: scores [keys, 8], in units of log2, become
// probabilities. max, sum: brought up to date; correction: [8], by which older
// sums must be multiplied.
HWY_INLINE void UpdateEight(float* HWY_RESTRICT scores, size_t keys, float* max,
                            float* sum, float* correction) {
  const DLanes d;
  const VLanes old_max = hn::Load(d, max);
  VLanes most[4] = {old_max, old_max, old_max, old_max};
  size_t j = 0;
  for (; j + 4 <= keys; j += 4) {
    HWY_UNROLL(4)
    for (size_t i = 0; i < 4; ++i)
      most[i] = hn::Max(most[i], hn::Load(d, scores + (j + i) * k8));
  }
  for (; j < keys; ++j)
    most[0] = hn::Max(most[0], hn::Load(d, scores + j * k8));
  const VLanes new_max =
      hn::Max(hn::Max(most[0], most[1]), hn::Max(most[2], most[3]));
  const VLanes factor = Exp2(d, hn::Sub(old_max, new_max));
  VLanes total = hn::Mul(hn::Load(d, sum), factor);
  for (j = 0; j < keys; ++j) {
    const VLanes p = Exp2(d, hn::Sub(hn::Load(d, scores + j * k8), new_max));
    hn::Store(p, d, scores + j * k8);
    total = hn::Add(total, p);
  }
  hn::Store(new_max, d, max);
  hn::Store(total, d, sum);
  hn::Store(factor, d, correction);
}

// Rows to ask for while others are worked on, a few at a time: all at once
// would fill the queue of misses, and everything would wait for it.
template <class T>
struct RowsAhead {
  const T* rows;
  size_t count;
};

// o[g] = o[g] * correction[g] + weight_scales[g] * Σ_j weights[j][g] v[j] for
// kG queries and kC vectors of dimensions from i on. weights: [keys /
// together, 8]; v: [keys] rows; o: kC vectors, [queries, 8] apart.
template <size_t kG, size_t kC, class T, class Weight>
HWY_INLINE void AddSomeLanes(const Weight* HWY_RESTRICT weights,
                             const T* HWY_RESTRICT v, size_t i, size_t keys,
                             size_t step, const RowsAhead<T>& ahead,
                             const float* correction,
                             const float* weight_scales, size_t queries,
                             float* HWY_RESTRICT o) {
  using Rows = LaneRows<T>;
  using Sums = decltype(Rows::Zero());
  constexpr size_t kTogether = Rows::kTogether;
  const DLanes d;
  Sums acc[kG][kC];
  HWY_UNROLL(8)
  for (size_t g = 0; g < kG; ++g) {
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c) acc[g][c] = Rows::Zero();
  }
  const size_t every = ahead.count == 0 ? 0 : keys / ahead.count;
  size_t row = 0, next = every == 0 ? keys : 0;
  for (size_t j = 0; j < keys; j += kTogether, weights += k8) {
    if (j >= next) {
      PrefetchRow(ahead.rows, row, step);
      if (++row == ahead.count) next = keys;
      next += every;
    }
    const T* first = v + j * step;
    const T* second = j + 1 < keys ? first + step : first;  // of weight 0 then
    decltype(Rows::LoadWeight(weights)) w[kG];
    if constexpr (kC > 2) {
      // More values than weights: these stay in registers.
      HWY_UNROLL(4)
      for (size_t g = 0; g < kG; ++g) w[g] = Rows::LoadWeight(weights + g);
      HWY_UNROLL(4)
      for (size_t c = 0; c < kC; ++c) {
        const auto values = Rows::LoadValues(first, i + c * 8, second);
        HWY_UNROLL(4)
        for (size_t g = 0; g < kG; ++g)
          acc[g][c] = Rows::AddWeighted(w[g], values, acc[g][c]);
      }
    } else {
      decltype(Rows::LoadValues(first, i, second)) values[kC];
      HWY_UNROLL(2)
      for (size_t c = 0; c < kC; ++c)
        values[c] = Rows::LoadValues(first, i + c * 8, second);
      HWY_UNROLL(8)
      for (size_t g = 0; g < kG; ++g) {
        w[g] = Rows::LoadWeight(weights + g);
        HWY_UNROLL(2)
        for (size_t c = 0; c < kC; ++c)
          acc[g][c] = Rows::AddWeighted(w[g], values[c], acc[g][c]);
      }
    }
  }
  HWY_UNROLL(8)
  for (size_t g = 0; g < kG; ++g) {
    const VLanes factor = hn::Set(d, correction[g]);
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c) {
      float* to = o + (c * queries + g) * k8;
      hn::Store(hn::MulAdd(hn::Load(d, to), factor,
                           Rows::ToFloat(acc[g][c], weight_scales + g)),
                d, to);
    }
  }
}

// The same for kQ of a chunk's queries and all dimensions.
template <size_t kQ, class T, class Weight>
HWY_INLINE void AddLanesOf(const Weight* weights, const T* v,
                           const RowsAhead<T>& ahead, size_t keys, size_t dim,
                           const float* correction, const float* weight_scales,
                           size_t queries, float* o) {
  // Few loads a product, and accumulators enough for two products a cycle.
  constexpr size_t kC = kQ == 4 ? 2 : 4;
  const size_t step = KvRowStep<T>(dim), passes = dim / (8 * kC);
  const size_t share = passes == 0 ? 0 : (ahead.count + passes - 1) / passes;
  size_t i = 0, asked = 0;
  for (; i + 8 * kC <= dim; i += 8 * kC) {
    const size_t some = std::min(share, ahead.count - asked);
    const RowsAhead<T> part{ahead.rows + asked * step, some};
    asked += some;
    AddSomeLanes<kQ, kC>(weights, v, i, keys, step, part, correction,
                         weight_scales, queries, o + i * queries);
  }
  for (; i < dim; i += 8)
    AddSomeLanes<kQ, 1>(weights, v, i, keys, step, RowsAhead<T>{}, correction,
                        weight_scales, queries, o + i * queries);
}

// The same for a chunk of kG.
template <size_t kG, class T>
HWY_INLINE void AddLanes(const float* scores, const T* v,
                         const RowsAhead<T>& ahead, size_t keys, size_t dim,
                         const float* correction, const float* weight_scales,
                         float* o) {
  using Weight = typename LaneRows<T>::Weight;
  const auto* weights = reinterpret_cast<const Weight*>(scores);
  constexpr size_t kFirst = kG <= 4 ? kG : kG == 6 ? 3 : 4;
  AddLanesOf<kFirst>(weights, v, ahead, keys, dim, correction, weight_scales,
                     kG, o);
  if constexpr (kFirst < kG)
    AddLanesOf<kG - kFirst>(weights + kFirst, v, RowsAhead<T>{}, keys, dim,
                            correction + kFirst, weight_scales + kFirst, kG,
                            o + kFirst * k8);
}

// A chunk's step over a block of keys. v_ahead: v, or nullptr if they were
// asked for; ahead: rows of the next block.
template <size_t kG, class T>
HWY_INLINE void LaneStep(const LaneState& state, const T* k, const T* v,
                         const T* v_ahead, const RowsAhead<T>& ahead,
                         size_t keys, size_t dim, float softcap,
                         float* scores) {
  alignas(64) float correction[k8], weight_scales[k8];
  if (dim == 64)
    ScoreLanes<kG, 64>(state, k, v_ahead, keys, dim, scores);
  else
    ScoreLanes<kG, 0>(state, k, v_ahead, keys, dim, scores);
  if (softcap != 0.0f) CapLogits(softcap, keys * k8, scores);
  UpdateEight(scores, keys, state.max, state.sum, correction);
  if constexpr (std::is_same_v<T, Q8KvByte>)
    PairWeights(scores, v, keys, KvRowStep<T>(dim), weight_scales);
  AddLanes<kG>(scores, v, ahead, keys, dim, correction, weight_scales, state.o);
}

// One part of decode attention: keys [0, count), all seen by every query.
template <class T>
HWY_INLINE void DecodePartLanes(const T* all_k, const T* all_v, size_t dim,
                                const float* q, size_t group, size_t count,
                                const AttentionParams& params, float* scratch,
                                const DecodePart& part) {
  using Query = typename LaneRows<T>::Query;
  const size_t stride = RoundUpToLanes(dim), step = KvRowStep<T>(dim);
  const size_t chunks = (group + k8 - 1) / k8;
  // Each is a multiple of 8 floats: all stay aligned.
  float* scores = AlignUp(scratch);             // [kDecodeKeys, 8]
  float* maxima = scores + kDecodeKeys * k8;    // [chunks, 8]
  float* sums = maxima + chunks * k8;           // [chunks, 8]
  float* query_scales = sums + chunks * k8;     // [chunks, 8]
  float* queries = query_scales + chunks * k8;  // [group, stride]
  float* o = queries + group * stride;          // [group, dim]
  const auto first_of = [&](size_t chunk) { return chunk * group / chunks; };
  const auto state_of = [&](size_t chunk) {
    return LaneState{queries + first_of(chunk) * stride,
                     query_scales + chunk * k8, o + first_of(chunk) * dim,
                     maxima + chunk * k8, sums + chunk * k8};
  };

  std::fill(maxima, sums, kNoMax);
  std::fill(sums, queries, 0.0f);  // and scales
  std::fill(o, o + group * dim, 0.0f);
  for (size_t c = 0; c < chunks; ++c)
    PackEight(q + first_of(c) * dim, first_of(c + 1) - first_of(c), dim,
              QueryFactor(params), static_cast<Query*>(state_of(c).queries),
              state_of(c).query_scales);

  for (size_t first = 0; first < count; first += kDecodeKeys) {
    const size_t keys = std::min(kDecodeKeys, count - first);
    const size_t asked = std::min(keys, count - first - keys);
    const T* k = all_k + first * step;
    const T* v = all_v + first * step;
    for (size_t c = 0; c < chunks; ++c) {
      WithQueries(first_of(c + 1) - first_of(c), [&]<size_t kG>() HWY_ATTR {
        LaneStep<kG>(state_of(c), k, v, c == 0 ? v : nullptr,
                     RowsAhead<T>{k + keys * step, c == 0 ? asked : 0}, keys,
                     dim, params.softcap, scores);
      });
    }
  }

  for (size_t c = 0; c < chunks; ++c) {
    const LaneState state = state_of(c);
    const size_t begin = first_of(c), some = first_of(c + 1) - begin;
    for (size_t g = 0; g < some; ++g) {
      float* out = part.o + (begin + g) * stride;
      for (size_t i = 0; i < dim; i += 8)
        std::copy_n(state.o + i * some + g * 8, 8, out + i);
      std::fill(out + dim, out + stride, 0.0f);
      part.max[begin + g] = state.max[g];
      part.sum[begin + g] = state.sum[g];
    }
  }
}

#endif  // DAPPLE_DECODE_LANES

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
