// Decode attention in float: lanes are head dimensions.
//
// A block of keys is read once for all queries of the group: a few keys at a
// time are multiplied with up to four queries, and four accumulators are
// reduced together. The online softmax takes one step a block and query, then
// the block's values are added up in the same manner.
#if defined(DAPPLE_KERNELS_ATTENTION_DECODE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_DECODE_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_DECODE_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_DECODE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/attention.h"
#include "kernels/attention_decode_bf16-inl.h"
#include "kernels/attention_layout.h"
#include "kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DK = hn::ScalableTag<float>;
using VK = hn::Vec<DK>;

// Queries that share one pass over the keys, each of which is converted once in
// it: with 16 registers, of two keys at a time.
inline constexpr size_t kQueries = 4;
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3
inline constexpr bool kFewRegisters = true;  // 16
#else
inline constexpr bool kFewRegisters = false;
#endif

// The four lanes' sums of 128-bit blocks, block by block added up.
template <class D, class V = hn::Vec<D>>
HWY_INLINE auto AddBlocks(D /*d*/, V v) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> dh;
    return AddBlocks(dh, hn::Add(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)));
  }
}

// sums[i] = Σ lanes of v_i. sums: [4].
HWY_INLINE void SumFour(VK v0, VK v1, VK v2, VK v3, float* sums) {
  const DK d;
  const hn::Repartition<double, DK> d64;
  const VK t01 =
      hn::Add(hn::InterleaveLower(d, v0, v1), hn::InterleaveUpper(d, v0, v1));
  const VK t23 =
      hn::Add(hn::InterleaveLower(d, v2, v3), hn::InterleaveUpper(d, v2, v3));
  const auto p01 = hn::BitCast(d64, t01);
  const auto p23 = hn::BitCast(d64, t23);
  const VK all = hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, p01, p23)),
                         hn::BitCast(d, hn::InterleaveUpper(d64, p01, p23)));
  const hn::CappedTag<float, 4> d4;
  hn::StoreU(AddBlocks(d, all), d4, sums);
}

// scores[g][j] = q[g] · k[j]. q: [kG, stride]; k, ahead: [keys, stride];
// scores: [kG, kScoreStride], of which keys rounded up to 4 are written.
template <size_t kG, class T>
HWY_INLINE void DotKeys(const float* HWY_RESTRICT q, const T* k, const T* ahead,
                        size_t keys, size_t stride,
                        float* HWY_RESTRICT scores) {
  constexpr size_t kK = kG > 2 && kFewRegisters ? 2 : 4;
  const DK d;
  const size_t n = hn::Lanes(d);
  for (size_t j = 0; j < keys; j += kK) {
    const T* rows[kK];
    VK acc[kK][kG];
    HWY_UNROLL(4)
    for (size_t i = 0; i < kK; ++i) {
      const size_t row = std::min(j + i, keys - 1);
      rows[i] = k + row * stride;
      PrefetchRow(ahead, row, stride);
      HWY_UNROLL(4)
      for (size_t g = 0; g < kG; ++g) acc[i][g] = hn::Zero(d);
    }
    for (size_t c = 0; c < stride; c += n) {
      VK kv[kK];
      HWY_UNROLL(4)
      for (size_t i = 0; i < kK; ++i) kv[i] = LoadFloat(d, rows[i] + c);
      HWY_UNROLL(4)
      for (size_t g = 0; g < kG; ++g) {
        const VK qv = hn::Load(d, q + g * stride + c);
        HWY_UNROLL(4)
        for (size_t i = 0; i < kK; ++i)
          acc[i][g] = hn::MulAdd(qv, kv[i], acc[i][g]);
      }
    }
    float* to = scores + j;
    if constexpr (kK == 4) {
      HWY_UNROLL(4)
      for (size_t g = 0; g < kG; ++g)
        SumFour(acc[0][g], acc[1][g], acc[2][g], acc[3][g],
                to + g * kScoreStride);
    } else {
      float sums[4];
      HWY_UNROLL(2)
      for (size_t g = 0; g < kG; g += 2) {
        const size_t next = g + 1 < kG ? g + 1 : g;
        SumFour(acc[0][g], acc[1][g], acc[0][next], acc[1][next], sums);
        std::copy_n(sums, 2, to + g * kScoreStride);
        std::copy_n(sums + 2, 2, to + next * kScoreStride);
      }
    }
  }
}

// Rows to ask for, one every `every` keys: all at once would fill the queue of
// misses, and everything would wait for it.
template <class T>
struct Ahead {
  const T* rows;  // [count, stride]
  size_t count;
  size_t every;
};

// o[g] += Σ_j p[g][j] v[j] for kC vectors of dimensions.
template <size_t kG, size_t kC, class T>
HWY_INLINE void AddWeighted(const float* HWY_RESTRICT p,
                            const T* HWY_RESTRICT v, size_t keys, size_t stride,
                            const Ahead<T>& ahead, float* HWY_RESTRICT o) {
  const DK d;
  const size_t n = hn::Lanes(d);
  VK acc[kG][kC];
  HWY_UNROLL(4)
  for (size_t g = 0; g < kG; ++g) {
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c)
      acc[g][c] = hn::Load(d, o + g * stride + c * n);
  }
  size_t row = 0, next = 0;
  for (size_t j = 0; j < keys; ++j) {
    if (j == next && row < ahead.count) {
      PrefetchRow(ahead.rows, row++, stride);
      next += ahead.every;
    }
    VK vv[kC];
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c)
      vv[c] = LoadFloat(d, v + j * stride + c * n);
    HWY_UNROLL(4)
    for (size_t g = 0; g < kG; ++g) {
      const VK weight = hn::Set(d, p[g * kScoreStride + j]);
      HWY_UNROLL(4)
      for (size_t c = 0; c < kC; ++c)
        acc[g][c] = hn::MulAdd(weight, vv[c], acc[g][c]);
    }
  }
  HWY_UNROLL(4)
  for (size_t g = 0; g < kG; ++g) {
    HWY_UNROLL(4)
    for (size_t c = 0; c < kC; ++c)
      hn::Store(acc[g][c], d, o + g * stride + c * n);
  }
}

// p: [kG, kScoreStride]; v, ahead: [keys, stride]; o: [kG, stride].
template <size_t kG, class T>
HWY_INLINE void AddValueRows(const float* p, const T* v, const T* ahead,
                             size_t keys, size_t stride, float* o) {
  const size_t n = hn::Lanes(DK());
  constexpr size_t kC = kG > 2 && kFewRegisters ? 2 : 4;
  const size_t passes = std::max<size_t>(1, stride / (kC * n));
  const size_t share = (keys + passes - 1) / passes;
  size_t c = 0, asked = ahead == nullptr ? keys : 0;
  const auto take = [&]() HWY_ATTR {
    const size_t count = std::min(share, keys - asked);
    const Ahead<T> some{ahead == nullptr ? nullptr : ahead + asked * stride,
                        count, passes};
    asked += count;
    return some;
  };
  for (; c + kC * n <= stride; c += kC * n)
    AddWeighted<kG, kC>(p, v + c, keys, stride, take(), o + c);
  for (; c < stride; c += n)
    AddWeighted<kG, 1>(p, v + c, keys, stride, take(), o + c);
}

// The same two steps for a whole group, kQueries at a time.
template <class T>
HWY_INLINE void DotKeysGroup(const float* q, size_t group, const T* k,
                             const T* ahead, size_t keys, size_t stride,
                             float* scores) {
  size_t g = 0;
  for (; g + kQueries <= group; g += kQueries) {
    DotKeys<kQueries>(q + g * stride, k, ahead, keys, stride,
                      scores + g * kScoreStride);
    ahead = nullptr;  // once is enough
  }
  q += g * stride;
  scores += g * kScoreStride;
  if (group - g == 1) DotKeys<1>(q, k, ahead, keys, stride, scores);
  if (group - g == 2) DotKeys<2>(q, k, ahead, keys, stride, scores);
  if (group - g == 3) DotKeys<3>(q, k, ahead, keys, stride, scores);
}

template <class T>
HWY_INLINE void AddValuesGroup(const float* p, size_t group, const T* v,
                               const T* ahead, size_t keys, size_t stride,
                               float* o) {
  size_t g = 0;
  for (; g + kQueries <= group; g += kQueries) {
    AddValueRows<kQueries>(p + g * kScoreStride, v, ahead, keys, stride,
                           o + g * stride);
    ahead = nullptr;
  }
  p += g * kScoreStride;
  o += g * stride;
  if (group - g == 1) AddValueRows<1>(p, v, ahead, keys, stride, o);
  if (group - g == 2) AddValueRows<2>(p, v, ahead, keys, stride, o);
  if (group - g == 3) AddValueRows<3>(p, v, ahead, keys, stride, o);
}

// One query's step of the online softmax. scores: [keys], room for whole
// vectors, become probabilities; o: [stride] is rescaled.
HWY_INLINE void UpdateQuery(float* scores, size_t keys, size_t stride,
                            float* max, float* sum, float* o) {
  const DK d;
  const size_t n = hn::Lanes(d);
  const size_t padded = (keys + n - 1) / n * n;
  for (size_t j = keys; j < padded; ++j)
    scores[j] = -std::numeric_limits<float>::infinity();
  VK most = hn::Set(d, *max);
  for (size_t j = 0; j < padded; j += n)
    most = hn::Max(most, hn::Load(d, scores + j));
  const VK new_max = hn::MaxOfLanes(d, most);
  const VK factor = Exp2(d, hn::Sub(hn::Set(d, *max), new_max));
  VK total = hn::Zero(d);
  for (size_t j = 0; j < padded; j += n) {
    const VK p = Exp2(d, hn::Sub(hn::Load(d, scores + j), new_max));
    hn::Store(p, d, scores + j);
    total = hn::Add(total, p);
  }
  *sum = *sum * hn::GetLane(factor) + hn::ReduceSum(d, total);
  *max = hn::GetLane(new_max);
  for (size_t c = 0; c < stride; c += n)
    hn::Store(hn::Mul(hn::Load(d, o + c), factor), d, o + c);
}

// One part of decode attention: keys [0, count), all seen by every query.
template <class T>
HWY_INLINE void DecodePartFloat(const T* all_k, const T* all_v, size_t dim,
                                const float* q, size_t group, size_t count,
                                const AttentionParams& params, float* scratch,
                                const DecodePart& part) {
  const DK d;
  const size_t n = hn::Lanes(d);
  const size_t stride = RoundUpToLanes(dim);
  const size_t staged_keys = KeysPerBlock(dim);
  const size_t step = KvRowStep<T>(dim);
  // Rows that are not whole vectors are staged as float and padded first.
  // Staging all, to convert a key once for more than kQueries queries, pays
  // only where there is no instruction for it: the block is still in L1.
  constexpr bool kConvertsFast = !HWY_ARCH_X86 || HWY_TARGET <= HWY_AVX2;
  constexpr bool kPlain =
      !std::is_same_v<T, Q8KvByte> && !std::is_same_v<T, Q4KvByte>;
  const bool direct =
      kPlain && dim == stride && (kConvertsFast || group <= kQueries);

  // Each part but the last two is a multiple of 16 floats: all stay aligned.
  float* staged = AlignUp(scratch);                // [staged_keys, stride]
  float* queries = staged + staged_keys * stride;  // [group, stride]
  float* o = queries + group * stride;             // [group, stride]
  float* scores = o + group * stride;              // [group, kScoreStride]
  float* max = scores + group * kScoreStride;      // [group]
  float* sum = max + group;                        // [group]

  StageRows(q, group, group, dim, stride, queries);
  const VK factor = hn::Set(d, QueryFactor(params));
  for (size_t i = 0; i < group * stride; i += n)
    hn::Store(hn::Mul(hn::Load(d, queries + i), factor), d, queries + i);
  std::fill(o, o + group * stride, 0.0f);
  std::fill(max, max + group, kNoMax);
  std::fill(sum, sum + group, 0.0f);

  for (size_t first = 0; first < count; first += kDecodeKeys) {
    const size_t keys = std::min(kDecodeKeys, count - first);
    const T* k = all_k + first * step;
    const T* v = all_v + first * step;
    if (direct) {
      if constexpr (kPlain)
        DotKeysGroup(queries, group, k, v, keys, stride, scores);
    } else {
      for (size_t j = 0; j < keys; j += staged_keys) {
        const size_t some = std::min(staged_keys, keys - j);
        StageRows(k + j * step, some, some, dim, stride, staged);
        DotKeysGroup<float>(queries, group, staged, nullptr, some, stride,
                            scores + j);
      }
    }

    if (params.softcap != 0.0f) {
      for (size_t g = 0; g < group; ++g)
        CapLogits(params.softcap, keys, scores + g * kScoreStride);
    }
    for (size_t g = 0; g < group; ++g)
      UpdateQuery(scores + g * kScoreStride, keys, stride, max + g, sum + g,
                  o + g * stride);

    if (direct) {
      // The next block's keys, or again these at the end.
      const T* ahead = first + 2 * keys <= count ? k + keys * step : k;
      if constexpr (kPlain)
        AddValuesGroup(scores, group, v, ahead, keys, stride, o);
    } else {
      for (size_t j = 0; j < keys; j += staged_keys) {
        const size_t some = std::min(staged_keys, keys - j);
        StageRows(v + j * step, some, some, dim, stride, staged);
        AddValuesGroup<float>(scores + j, group, staged, nullptr, some, stride,
                              o);
      }
    }
  }

  std::copy(o, o + group * stride, part.o);
  std::copy(max, max + group, part.max);
  std::copy(sum, sum + group, part.sum);
}

// out[g] = Σ_p w[p] o[p][g] / Σ_p w[p] sum[p][g], w[p] = 2^(max[p][g] - max),
// in order. parts: [count]; out: [group, dim].
HWY_INLINE void MergeParts(const float* parts, size_t count, size_t part_floats,
                           size_t group, size_t dim, float* out) {
  const DK d;
  const size_t n = hn::Lanes(d), stride = RoundUpToLanes(dim);
  const auto at = [&](size_t p) { return parts + p * part_floats; };
  alignas(64) float weights[kMaxDecodeParts];
  for (size_t g = 0; g < group; ++g) {
    const size_t max_at = group * stride + g, sum_at = max_at + group;
    float max = kNoMax;
    for (size_t p = 0; p < kMaxDecodeParts; ++p) {
      weights[p] = p < count ? at(p)[max_at] : kNoMax;
      max = std::max(max, weights[p]);
    }
    for (size_t p = 0; p < kMaxDecodeParts; p += n) {
      const VK less = hn::Sub(hn::Load(d, weights + p), hn::Set(d, max));
      hn::Store(Exp2(d, less), d, weights + p);
    }
    float sum = 0.0f;
    for (size_t p = 0; p < count; ++p) sum += weights[p] * at(p)[sum_at];
    // A sum of 0 means no key, or that every score was -inf.
    const VK inverse = hn::Set(d, sum == 0.0f ? 0.0f : 1.0f / sum);
    for (size_t i = 0; i < dim; i += n) {
      VK total = hn::Zero(d);
      for (size_t p = 0; p < count; ++p)
        total = hn::MulAdd(hn::Set(d, weights[p]),
                           hn::LoadU(d, at(p) + g * stride + i), total);
      total = hn::Mul(total, inverse);
      if (i + n <= dim)
        hn::StoreU(total, d, out + g * dim + i);
      else
        hn::StoreN(total, d, out + g * dim + i, dim - i);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
