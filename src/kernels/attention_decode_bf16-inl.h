// Decode attention where the processor has a bf16 dot product: lanes are the
// group's queries for the scores, head dimensions for the values.
//
// Sixteen keys at a time are rounded to bf16, and each pair of dimensions is
// multiplied with all queries at once: scores come out as [keys, queries], so
// the online softmax works down the columns and nothing is summed across lanes.
// Two keys' probabilities and values then make one product. Each key and value
// is converted once for up to kLaneQueries queries. Smaller groups than
// kLeastBF16Group are left to the float path, which is as fast for them (Zen 4,
// head_dim 64, ns a key: group 4 13.4 in float, 15.5 here; group 7 22.8, 16.8).
//
// Queries, keys, values and probabilities are rounded to bf16, as in prefill;
// scores, softmax and sums stay float.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_ATTENTION_DECODE_BF16_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_DECODE_BF16_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_DECODE_BF16_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_DECODE_BF16_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/attention_layout.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/exp-inl.h"

#undef DAPPLE_DECODE_BF16
#define DAPPLE_DECODE_BF16 (HWY_NATIVE_DOT_BF16 && HWY_ARCH_X86)

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Asks for row `row` of [_, step] at `ahead`, which is needed soon (nullptr:
// nothing is): keys and values are two streams that take turns, too short for
// the hardware to guess.
template <class T>
HWY_INLINE void PrefetchRow(const T* ahead, size_t row, size_t step) {
  if (ahead == nullptr) return;
  for (size_t c = 0; c < step; c += 64 / sizeof(T))
    hwy::Prefetch(ahead + row * step + c);
}

// fn.operator()<queries>(), queries in [1, 8].
template <class Fn>
HWY_INLINE void WithQueries(size_t queries, Fn&& fn) {
  switch (queries) {
    case 1:
      return fn.template operator()<1>();
    case 2:
      return fn.template operator()<2>();
    case 3:
      return fn.template operator()<3>();
    case 4:
      return fn.template operator()<4>();
    case 5:
      return fn.template operator()<5>();
    case 6:
      return fn.template operator()<6>();
    case 7:
      return fn.template operator()<7>();
    default:
      return fn.template operator()<8>();
  }
}

#if DAPPLE_DECODE_BF16

// Tags of the lanes that hold one query each.
using DL = hn::CappedTag<float, kDecodeQueries>;
using DLPair = hn::RebindToUnsigned<DL>;
using VL = hn::Vec<DL>;
inline constexpr size_t kLaneQueries = hn::MaxLanes(DL());
inline constexpr size_t kLeastBF16Group = 5;
// Keys whose scores are held in registers together.
inline constexpr size_t kScoreRows = 16;

// acc + a * b, both terms of each lane's pair.
template <class D, class VPairs = hn::Vec<hn::RebindToUnsigned<D>>>
HWY_INLINE hn::Vec<D> DotPairs(D d, VPairs a, VPairs b, hn::Vec<D> acc) {
  const hn::Repartition<hwy::bfloat16_t, D> dbf16;
  hn::Vec<D> unused = hn::Zero(d);
  return hn::ReorderWidenMulAccumulate(d, hn::BitCast(dbf16, a),
                                       hn::BitCast(dbf16, b), acc, unused);
}

// scores[j][:] = k[j] · q. k: [kScoreRows, pairs]; q: [pairs, kLaneQueries];
// scores: [kScoreRows, kLaneQueries]. kPairs: pairs, or 0 if not known.
template <size_t kPairs>
HWY_INLINE void ScoreRows(const BF16Pair* HWY_RESTRICT k, size_t pairs,
                          const BF16Pair* HWY_RESTRICT q,
                          float* HWY_RESTRICT scores) {
  const DL d;
  const DLPair du32;
  if constexpr (kPairs != 0) pairs = kPairs;
  VL acc[kScoreRows];
  HWY_UNROLL(16)
  for (size_t i = 0; i < kScoreRows; ++i) acc[i] = hn::Zero(d);
  for (size_t t = 0; t < pairs; ++t) {
    const auto qv = hn::Load(du32, q + t * kLaneQueries);
    HWY_UNROLL(16)
    for (size_t i = 0; i < kScoreRows; ++i)
      acc[i] = DotPairs(d, qv, hn::Set(du32, k[i * pairs + t]), acc[i]);
  }
  HWY_UNROLL(16)
  for (size_t i = 0; i < kScoreRows; ++i)
    hn::Store(acc[i], d, scores + i * kLaneQueries);
}

HWY_INLINE void ScoreRowsOfAnySize(const BF16Pair* k, size_t pairs,
                                   const BF16Pair* q, float* scores) {
  if (pairs == 32) return ScoreRows<32>(k, pairs, q, scores);
  if (pairs == 64) return ScoreRows<64>(k, pairs, q, scores);
  ScoreRows<0>(k, pairs, q, scores);
}

// One step of the online softmax: scores [keys, kLaneQueries], in units of
// log2, become pairs of probabilities [ceil(keys / 2), kLaneQueries] in the
// same memory. max, sum: [kLaneQueries], brought up to date; correction: by
// which older sums must be multiplied.
HWY_INLINE const BF16Pair* UpdateLanes(float* scores, size_t keys, float* max,
                                       float* sum, float* correction) {
  const DL d;
  const DLPair du32;
  constexpr size_t n = kLaneQueries;
  const VL old_max = hn::Load(d, max);
  VL most[4] = {old_max, old_max, old_max, old_max};
  size_t j = 0;
  for (; j + 4 <= keys; j += 4) {
    HWY_UNROLL(4)
    for (size_t i = 0; i < 4; ++i)
      most[i] = hn::Max(most[i], hn::Load(d, scores + (j + i) * n));
  }
  for (; j < keys; ++j) most[0] = hn::Max(most[0], hn::Load(d, scores + j * n));
  const VL new_max =
      hn::Max(hn::Max(most[0], most[1]), hn::Max(most[2], most[3]));
  const VL factor = Exp2(d, hn::Sub(old_max, new_max));
  VL total = hn::Mul(hn::Load(d, sum), factor);

  const auto round = [&](VL v) HWY_ATTR {  // of numbers >= 0, as in prefill
    return hn::Add(hn::BitCast(du32, v), hn::Set(du32, 0x8000u));
  };
  // Pair j / 2 lies where scores that have been read lay.
  auto* pairs = reinterpret_cast<BF16Pair*>(scores);
  for (j = 0; j < keys; j += 2) {
    const float* s = scores + j * n;
    const VL low = Exp2Coarse(d, hn::Sub(hn::Load(d, s), new_max));
    VL high = hn::Zero(d);
    if (j + 1 < keys)
      high = Exp2Coarse(d, hn::Sub(hn::Load(d, s + n), new_max));
    total = hn::Add(total, hn::Add(low, high));
    const auto both = hn::OrAnd(hn::ShiftRight<16>(round(low)), round(high),
                                hn::Set(du32, 0xFFFF0000u));
    hn::Store(both, du32, pairs + j / 2 * n);
  }
  hn::Store(new_max, d, max);
  hn::Store(total, d, sum);
  hn::Store(factor, d, correction);
  return pairs;
}

// Two rows' elements as pairs, rounded to nearest even.
HWY_INLINE VPair PairRows(VQ low, VQ high) {
  // One conversion of both, then their halves interleaved.
  const hn::Repartition<hwy::bfloat16_t, DQ> dbf16;
  const hn::Repartition<uint16_t, DQ> du16;
  constexpr size_t n = hn::MaxLanes(DQ());
  alignas(64) static constexpr auto kOrder = [] {
    std::array<uint16_t, 2 * n> order{};
    for (size_t i = 0; i < n; ++i) {
      order[2 * i] = static_cast<uint16_t>(i);
      order[2 * i + 1] = static_cast<uint16_t>(n + i);
    }
    return order;
  }();
  const auto halves = hn::BitCast(du16, hn::OrderedDemote2To(dbf16, low, high));
  return hn::BitCast(
      hn::ScalableTag<BF16Pair>(),
      hn::TableLookupLanes(halves, hn::SetTableIndices(du16, kOrder.data())));
}

// o[g] = o[g] * correction[g] + Σ_j p[g][j] v[j] for kC vectors of dimensions,
// of which the last may have only `last` elements in a row of T. rows: [keys,
// step] of which elements from `i` on; p: [ceil(keys / 2), kLaneQueries]; o:
// [kG, stride].
template <size_t kG, size_t kC, class T>
HWY_INLINE void AddPairs(const T* rows, size_t step, size_t i, size_t last,
                         size_t keys, const BF16Pair* HWY_RESTRICT p,
                         const T* ahead, const float* correction, size_t stride,
                         float* HWY_RESTRICT o) {
  const DQ d;
  const hn::ScalableTag<BF16Pair> du32;
  const size_t n = hn::Lanes(d);
  VQ acc[kG][kC];
  HWY_UNROLL(8)
  for (size_t g = 0; g < kG; ++g) {
    const VQ factor = hn::Set(d, correction[g]);
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c)
      acc[g][c] = hn::Mul(factor, hn::Load(d, o + g * stride + c * n));
  }
  for (size_t j = 0; j < keys; j += 2) {
    const bool both = j + 1 < keys;
    const KvRowReader<T> first(d, rows + j * step);
    const KvRowReader<T> second(d, rows + (both ? j + 1 : j) * step);
    PrefetchRow(ahead, j, step);
    PrefetchRow(ahead, j + 1, step);
    VPair v[kC];
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c) {
      const bool whole = kC > 1 || last == n;
      const VQ low =
          whole ? first.Load(d, i + c * n) : first.LoadN(d, i + c * n, last);
      VQ high =
          whole ? second.Load(d, i + c * n) : second.LoadN(d, i + c * n, last);
      if (!both) high = hn::Zero(d);
      v[c] = PairRows(low, high);
    }
    HWY_UNROLL(8)
    for (size_t g = 0; g < kG; ++g) {
      const auto weight = hn::Set(du32, p[j / 2 * kLaneQueries + g]);
      HWY_UNROLL(4)
      for (size_t c = 0; c < kC; ++c)
        acc[g][c] = DotPairs(d, v[c], weight, acc[g][c]);
    }
  }
  HWY_UNROLL(8)
  for (size_t g = 0; g < kG; ++g) {
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c)
      hn::Store(acc[g][c], d, o + g * stride + c * n);
  }
}

// The same for all dimensions. `ahead`: rows to ask for meanwhile, or nullptr.
template <size_t kG, class T>
HWY_INLINE void AddPairRows(const T* rows, size_t dim, size_t keys,
                            const BF16Pair* p, const T* ahead,
                            const float* correction, size_t stride, float* o) {
  constexpr size_t kC = kG <= 4 ? 4 : 2;  // up to 16 accumulators
  const size_t n = hn::Lanes(DQ());
  const size_t step = KvRowStep<T>(dim);
  size_t i = 0;
  for (; i + kC * n <= dim; i += kC * n) {
    AddPairs<kG, kC>(rows, step, i, n, keys, p, ahead, correction, stride,
                     o + i);
    ahead = nullptr;  // once is enough
  }
  for (; i < dim; i += n) {
    AddPairs<kG, 1>(rows, step, i, std::min(n, dim - i), keys, p, ahead,
                    correction, stride, o + i);
    ahead = nullptr;
  }
}

// The same for `queries` of them, at most kLaneQueries.
template <class T>
HWY_INLINE void AddPairsOfChunk(size_t queries, const T* rows, size_t dim,
                                size_t keys, const BF16Pair* p, const T* ahead,
                                const float* correction, size_t stride,
                                float* o) {
  WithQueries(queries, [&]<size_t kG>() HWY_ATTR {
    AddPairRows<kG>(rows, dim, keys, p, ahead, correction, stride, o);
  });
}

// q: [queries, dim] to pairs [dim / 2, kLaneQueries], times factor; the lanes
// from `queries` on are 0. row: [dim / 2].
HWY_INLINE void PackLanes(const float* q, size_t queries, size_t dim,
                          float factor, BF16Pair* HWY_RESTRICT row,
                          BF16Pair* HWY_RESTRICT out) {
  const DL d;
  const hn::Rebind<hwy::bfloat16_t, DL> dbf16;
  constexpr size_t n = kLaneQueries;  // divides dim
  std::fill(out, out + dim / 2 * n, BF16Pair{0});
  for (size_t g = 0; g < queries; ++g) {
    for (size_t i = 0; i < dim; i += n) {
      const VL v = hn::Mul(hn::LoadU(d, q + g * dim + i), hn::Set(d, factor));
      hn::StoreU(hn::DemoteTo(dbf16, v), dbf16,
                 reinterpret_cast<hwy::bfloat16_t*>(row) + i);
    }
    for (size_t t = 0; t < dim / 2; ++t) out[t * n + g] = row[t];
  }
}

// One part of decode attention: keys [0, count), all seen by every query.
// part: see attention_layout.h.
template <class T>
HWY_INLINE void DecodePartBF16(const T* keys, const T* values, size_t dim,
                               const float* q, size_t group, size_t count,
                               const AttentionParams& params, float* scratch,
                               const DecodePart& part) {
  constexpr size_t kQ = kLaneQueries;
  const size_t stride = RoundUpToLanes(dim), step = KvRowStep<T>(dim);
  const size_t chunks = (group + kQ - 1) / kQ, pairs = dim / 2;
  // Each is a multiple of 16 floats: all stay aligned.
  float* at = AlignUp(scratch);
  auto* staged = reinterpret_cast<BF16Pair*>(at);  // [kScoreRows, pairs]
  at += kScoreRows * pairs;
  auto* queries = reinterpret_cast<BF16Pair*>(at);  // [chunks, pairs, kQ]
  at += RoundUpToLanes(chunks * pairs * kQ);
  float* o = at;  // [group, stride]
  at += group * stride;
  float* scores = at;  // [chunks, kDecodeKeys, kQ]
  at += chunks * kDecodeKeys * kQ;
  float* max = at;  // [chunks, kQ]
  at += RoundUpToLanes(chunks * kQ);
  float* sum = at;  // [chunks, kQ]
  at += RoundUpToLanes(chunks * kQ);
  float* correction = at;  // [kQ]

  const float factor = QueryFactor(params);
  for (size_t c = 0; c < chunks; ++c)
    PackLanes(q + c * kQ * dim, std::min(kQ, group - c * kQ), dim, factor,
              staged, queries + c * pairs * kQ);
  std::fill(o, o + group * stride, 0.0f);
  std::fill(max, max + chunks * kQ, kNoMax);
  std::fill(sum, sum + chunks * kQ, 0.0f);

  for (size_t first = 0; first < count; first += kDecodeKeys) {
    const size_t now = std::min(kDecodeKeys, count - first);
    const T* k = keys + first * step;
    const T* v = values + first * step;
    for (size_t j = 0; j < now; j += kScoreRows) {
      const size_t some = std::min(kScoreRows, now - j);
      for (size_t i = 0; i < some; ++i) PrefetchRow(v, j + i, step);
      StageKeys(k + j * step, some, kScoreRows, dim, staged);
      for (size_t c = 0; c < chunks; ++c)
        ScoreRowsOfAnySize(staged, pairs, queries + c * pairs * kQ,
                           scores + (c * kDecodeKeys + j) * kQ);
    }
    // The next block's keys, where there are as many.
    const T* ahead = first + 2 * now <= count ? k + now * step : nullptr;
    for (size_t c = 0; c < chunks; ++c) {
      float* s = scores + c * kDecodeKeys * kQ;
      if (params.softcap != 0.0f) CapLogits(params.softcap, now * kQ, s);
      const BF16Pair* p =
          UpdateLanes(s, now, max + c * kQ, sum + c * kQ, correction);
      AddPairsOfChunk(std::min(kQ, group - c * kQ), v, dim, now, p,
                      c == 0 ? ahead : nullptr, correction, stride,
                      o + c * kQ * stride);
    }
  }
  std::copy(o, o + group * stride, part.o);
  std::copy(max, max + group, part.max);
  std::copy(sum, sum + group, part.sum);
}

#endif  // DAPPLE_DECODE_BF16

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
