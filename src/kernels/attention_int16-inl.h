// Prefill attention in 16-bit integers, where the processor has pmaddwd but no
// bf16 dot product: pmaddwd multiplies twice as many numbers as a multiply-add
// of floats, and paddd does not need the multipliers (`dapple bench limits`: up
// to twice the operations of float on Zen 3).
//
// - A query and a key are rows of integers with a scale each, their Euclidean
//   norms being kNorm: by Cauchy-Schwarz no dot product leaves 32 bits.
// - A row of values is v = V 2^e / ValueUnit, |V| <= ValueUnit, e being its own
//   exponent: it depends on no other row, so that a query's result does not
//   depend on which later keys share the block. 2^e moves into the
//   probabilities, whose logits s become t = s + e; they are rounded to
//   multiples of 2^-kPBits of the largest 2^t of the block and query: rounding
//   is relative to what a key adds to the result. The softmax's sum takes 2^t
//   2^-e before rounding.
// - So a block's products stay in 32 bits as well; they are added up in float
//   from block to block.
//
// Results are off by less than a sixth of what rounding operands to bf16 makes
// them (attention_prefill_test).
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_ATTENTION_INT16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_INT16_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_INT16_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_INT16_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/attention_int16_stage-inl.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/exp-inl.h"
#include "kernels/pair_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if DAPPLE_ATTENTION_INT16

// ---- Products ---------------------------------------------------------------

// sums[i][v] = Σ_t a(i, t) · b[t][v] of pairs; a, b as in MultiplyTile. Names,
// not a loop over an array, which GCC would keep in memory.
static_assert(kTile == 4);
template <bool kRowsOfA>
HWY_INLINE void MultiplyTile16(const Int16Pair* HWY_RESTRICT a, size_t stride,
                               const Int16Pair* HWY_RESTRICT b, size_t depth,
                               VI32 (&sums)[kTile][2]) {
  const DI32 di;
  const DI16 d16;
  const size_t n = hn::Lanes(di);
  VI32 s00 = hn::Zero(di), s10 = s00, s20 = s00, s30 = s00;
  VI32 s01 = s00, s11 = s00, s21 = s00, s31 = s00;
  const size_t row = kRowsOfA ? stride : 1, next = kRowsOfA ? 1 : stride;
  const auto step = [&](size_t t) HWY_ATTR {
    const auto b0 = hn::BitCast(d16, hn::Load(di, b + 2 * t * n));
    const auto b1 = hn::BitCast(d16, hn::Load(di, b + (2 * t + 1) * n));
    const Int16Pair* at = a + t * next;
    const auto a0 = hn::BitCast(d16, hn::Set(di, at[0]));
    AddProduct(a0, b0, s00);
    AddProduct(a0, b1, s01);
    const auto a1 = hn::BitCast(d16, hn::Set(di, at[row]));
    AddProduct(a1, b0, s10);
    AddProduct(a1, b1, s11);
    const auto a2 = hn::BitCast(d16, hn::Set(di, at[2 * row]));
    AddProduct(a2, b0, s20);
    AddProduct(a2, b1, s21);
    const auto a3 = hn::BitCast(d16, hn::Set(di, at[3 * row]));
    AddProduct(a3, b0, s30);
    AddProduct(a3, b1, s31);
  };
  size_t t = 0;
  for (; t + 2 <= depth; t += 2) {
    step(t);
    step(t + 1);
  }
  if (t < depth) step(t);
  sums[0][0] = s00, sums[1][0] = s10, sums[2][0] = s20, sums[3][0] = s30;
  sums[0][1] = s01, sums[1][1] = s11, sums[2][1] = s21, sums[3][1] = s31;
}

template <bool kRowsOfA>
HWY_INLINE void MultiplyTile16(const Int16Pair* HWY_RESTRICT a, size_t stride,
                               const Int16Pair* HWY_RESTRICT b, size_t depth,
                               VI32 (&sums)[kTile][1]) {
  const DI32 di;
  const DI16 d16;
  const size_t n = hn::Lanes(di);
  VI32 s0 = hn::Zero(di), s1 = s0, s2 = s0, s3 = s0;
  const size_t row = kRowsOfA ? stride : 1, next = kRowsOfA ? 1 : stride;
  for (size_t t = 0; t < depth; ++t) {
    const auto bv = hn::BitCast(d16, hn::Load(di, b + t * n));
    const Int16Pair* at = a + t * next;
    AddProduct(hn::BitCast(d16, hn::Set(di, at[0])), bv, s0);
    AddProduct(hn::BitCast(d16, hn::Set(di, at[row])), bv, s1);
    AddProduct(hn::BitCast(d16, hn::Set(di, at[2 * row])), bv, s2);
    AddProduct(hn::BitCast(d16, hn::Set(di, at[3 * row])), bv, s3);
  }
  sums[0][0] = s0, sums[1][0] = s1, sums[2][0] = s2, sums[3][0] = s3;
}

// scores[j][:] = k[j] · q + offsets[j] for j < keys, rounded up to kTile. most:
// the largest of each lane.
template <size_t kV>
HWY_INLINE void ScoreKeys16(const Staged<Int16Pair>& block,
                            const float* HWY_RESTRICT offsets, size_t keys,
                            size_t pairs, const Int16Pair* q,
                            const float* q_scale, float* HWY_RESTRICT scores,
                            VQ (&most)[kV]) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  VQ scale[kV];
  HWY_UNROLL(2)
  for (size_t v = 0; v < kV; ++v) {
    scale[v] = hn::Load(d, q_scale + v * n);
    most[v] = hn::Set(d, kNoMax);
  }
  const float* HWY_RESTRICT key_scales = block.key_scale;
  for (size_t j = 0; j < keys; j += kTile) {
    VI32 sums[kTile][kV];
    MultiplyTile16<true>(block.k + j * pairs, pairs, q, pairs, sums);
    HWY_UNROLL(4)
    for (size_t i = 0; i < kTile; ++i) {
      const VQ key_scale = hn::Set(d, key_scales[j + i]);
      const VQ offset = hn::Set(d, offsets[j + i]);
      HWY_UNROLL(2)
      for (size_t v = 0; v < kV; ++v) {
        const VQ score = hn::MulAdd(hn::ConvertTo(d, sums[i][v]),
                                    hn::Mul(key_scale, scale[v]), offset);
        most[v] = hn::Max(most[v], score);
        hn::Store(score, d, scores + ((j + i) * kV + v) * n);
      }
    }
  }
}

// The largest of each lane's scores [keys, kV * Lanes].
template <size_t kV>
HWY_INLINE void LargestScores(const float* scores, size_t keys,
                              VQ (&most)[kV]) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  HWY_UNROLL(2)
  for (size_t v = 0; v < kV; ++v) most[v] = hn::Set(d, kNoMax);
  for (size_t j = 0; j < keys; ++j) {
    HWY_UNROLL(2)
    for (size_t v = 0; v < kV; ++v)
      most[v] = hn::Max(most[v], hn::Load(d, scores + (j * kV + v) * n));
  }
}

// What a block's results are multiplied with, and those before it.
template <size_t kV>
struct BlockWeights {
  VQ before[kV];
  VQ block[kV];
};

// One step of the online softmax: scores [keys, kV * Lanes] become pairs of
// probabilities [ceil(keys / 2), kV * Lanes] in the same memory, in units of
// 2^-kPBits of each lane's largest, `most`.
template <size_t kV>
HWY_INLINE const Int16Pair* UpdateSoftmax16(const Strip& strip,
                                            const float* unscale, size_t keys,
                                            const VQ (&most)[kV], float* scores,
                                            BlockWeights<kV>* weights) {
  const DQ d;
  const DI32 di;
  const size_t n = hn::Lanes(d);
  VQ sum[kV];
  HWY_UNROLL(2)
  for (size_t v = 0; v < kV; ++v) sum[v] = hn::Zero(d);
  const auto probability = [&](size_t j, size_t v) HWY_ATTR {
    const VQ s = hn::Load(d, scores + (j * kV + v) * n);
    const VQ p = Exp2Coarse<kPBits>(d, hn::Sub(s, most[v]));
    sum[v] = hn::MulAdd(p, hn::Set(d, unscale[j]), sum[v]);
    return p;
  };
  // Pair j / 2 lies where scores that have been read lay.
  auto* pairs = reinterpret_cast<Int16Pair*>(scores);
  size_t j = 0;
  for (; j + 2 <= keys; j += 2) {
    HWY_UNROLL(2)
    for (size_t v = 0; v < kV; ++v) {
      const VQ low = probability(j, v);
      const VQ high = probability(j + 1, v);
      hn::Store(PairInts(low, high), di, pairs + (j / 2 * kV + v) * n);
    }
  }
  if (j < keys) {
    HWY_UNROLL(2)
    for (size_t v = 0; v < kV; ++v)
      hn::Store(PairInts(probability(j, v), hn::Zero(d)), di,
                pairs + (j / 2 * kV + v) * n);
  }
  HWY_UNROLL(2)
  for (size_t v = 0; v < kV; ++v) {
    const VQ old_max = hn::Load(d, strip.max + v * n);
    const VQ new_max = hn::Max(old_max, most[v]);
    weights->before[v] = Exp2(d, hn::Sub(old_max, new_max));
    weights->block[v] =
        hn::Mul(Exp2(d, hn::Sub(most[v], new_max)),
                hn::Set(d, 1.0f / static_cast<float>(1 << kPBits)));
    hn::Store(new_max, d, strip.max + v * n);
    const VQ old_sum = hn::Load(d, strip.sum + v * n);
    hn::Store(hn::MulAdd(sum[v], weights->block[v],
                         hn::Mul(old_sum, weights->before[v])),
              d, strip.sum + v * n);
  }
  return pairs;
}

// o = o * before + vᵀ p * block. values: [depth, dim]; p: [depth, kV * Lanes];
// o: [dim, kV * Lanes].
template <size_t kV>
HWY_INLINE void AddValues16(const Int16Pair* values, size_t depth, size_t dim,
                            const Int16Pair* p, BlockWeights<kV> weights,
                            float* o) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  HWY_UNROLL(2)
  for (size_t v = 0; v < kV; ++v)
    weights.block[v] =
        hn::Mul(weights.block[v], hn::Set(d, 1.0f / ValueUnit(dim)));
  for (size_t i0 = 0; i0 < dim; i0 += kTile) {
    VI32 sums[kTile][kV];
    MultiplyTile16<false>(values + i0, dim, p, depth, sums);
    HWY_UNROLL(4)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(2)
      for (size_t v = 0; v < kV; ++v) {
        float* at = o + ((i0 + i) * kV + v) * n;
        const VQ before = hn::Mul(hn::Load(d, at), weights.before[v]);
        hn::Store(
            hn::MulAdd(hn::ConvertTo(d, sums[i][v]), weights.block[v], before),
            d, at);
      }
    }
  }
}

template <size_t kV>
HWY_NOINLINE void AttendBlock(const Strip& strip,
                              const Staged<Int16Pair>& block, size_t first_key,
                              size_t keys, size_t dim,
                              const AttentionParams& params, float* scores) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  const bool capped = params.softcap != 0.0f;
  // The exponents of the rows of values, after a cap.
  static constexpr float kNone[KeysPerBlock(0)] = {};
  VQ most[kV];
  ScoreKeys16<kV>(block, capped ? kNone : block.exponent, keys, PairsOfRow(dim),
                  reinterpret_cast<const Int16Pair*>(strip.q), strip.q_scale,
                  scores, most);
  if (capped) {
    CapLogits(params.softcap, keys * kV * n, scores);
    for (size_t j = 0; j < keys; ++j)
      for (size_t v = 0; v < kV; ++v) {
        float* s = scores + (j * kV + v) * n;
        hn::Store(hn::Add(hn::Load(d, s), hn::Set(d, block.exponent[j])), d, s);
      }
  }
  const bool some_hidden =
      first_key + keys > strip.all_visible || first_key < strip.all_seen;
  if (some_hidden)
    HideUnseen<kV>(strip.last_key, WindowLanes(params), first_key, keys,
                   scores);
  // Not as they were, or with some that are no keys'.
  if (capped || some_hidden || keys % kTile != 0)
    LargestScores<kV>(scores, keys, most);
  BlockWeights<kV> weights;
  const Int16Pair* p =
      UpdateSoftmax16<kV>(strip, block.unscale, keys, most, scores, &weights);
  AddValues16<kV>(block.values, (keys + 1) / 2, dim, p, weights, strip.o);
}

#endif  // DAPPLE_ATTENTION_INT16

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
