// The register-blocked products of prefill attention and probe scores, whose
// lanes are queries: S = K Qᵀ [keys, strip] and Oᵀ += Vᵀ P [head_dim, strip],
// a strip being up to three vectors of queries.
//
// E is the element that one lane of an operand holds along the sum's axis:
// float, or BF16Pair, two consecutive terms for the processor's bf16 dot
// product, which adds both to a float. Operands of a sum over n terms have
// n / PairOf<E> elements.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_TILE_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_TILE_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/attention_layout.h"
#include "kernels/attention_params.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DQ = hn::ScalableTag<float>;
using VQ = hn::Vec<DQ>;

inline constexpr size_t kStripVectors = 3;

// Strip of queries [begin, begin + vectors * Lanes).
struct Strip {
  size_t begin;
  size_t vectors;       // 1..3
  size_t all_visible;   // keys that every query of the strip sees
  size_t some_visible;  // keys that its last query sees
  float* q;             // [head_dim, width], or pairs, [PairsOfRow, width]
  float* q_scale;       // [width], of pairs of integers
  float* o;             // [head_dim, width]
  float* max;           // [width]
  float* sum;           // [width]
  int32_t* last_key;    // [width] newest key that each lane sees
  size_t first_seen;    // oldest key that any query of the strip sees
  size_t all_seen;      // oldest key that every query sees
};
// Rows of the register tile: kTile * 3 accumulators + 3 + 1 registers.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3
inline constexpr size_t kTile = 4;  // 16 registers
#else
inline constexpr size_t kTile = 8;  // 32 registers
#endif

// The first term's bf16 in the low half, the second's in the high half.
using BF16Pair = uint32_t;
// The same of 16-bit integers (attention_int16-inl.h).
using Int16Pair = int32_t;
template <class E>
inline constexpr size_t PairOf = 2;
template <>
inline constexpr size_t PairOf<float> = 1;

// What attention over keys of T computes with: float keys ask for float
// arithmetic (--compute f32).
#if HWY_NATIVE_DOT_BF16
using FastElement = BF16Pair;
#elif DAPPLE_ATTENTION_INT16
using FastElement = Int16Pair;
#else
using FastElement = float;
#endif
template <class T>
using TileElement =
    std::conditional_t<std::is_same_v<T, float>, float, FastElement>;

// A block of keys and values, and of integers what undoes their scales.
template <class E>
struct Staged {
  E* k;       // [keys padded to kTile, head_dim / PairOf<E>]
  E* values;  // [ceil(keys / PairOf<E>), head_dim]
};
template <>
struct Staged<Int16Pair> {
  Int16Pair* k;       // [keys padded to kTile, PairsOfRow(head_dim)]
  Int16Pair* values;  // [ceil(keys / 2), head_dim]
  float* key_scale;   // [keys padded to kTile]
  float* exponent;    // [keys padded to kTile] of a row of values, e
  float* unscale;     // [keys] 2^-e
};

// acc + a * b in the terms that a lane of a and b holds.
HWY_INLINE VQ MultiplyAdd(float a, VQ b, VQ acc) {
  return hn::MulAdd(hn::Set(DQ(), a), b, acc);
}
#if HWY_NATIVE_DOT_BF16
HWY_INLINE VQ MultiplyAdd(BF16Pair a, hn::Vec<hn::RebindToUnsigned<DQ>> b,
                          VQ acc) {
  const DQ d;
  const hn::RebindToUnsigned<DQ> du32;
  const hn::Repartition<hwy::bfloat16_t, DQ> dbf16;
  VQ unused = hn::Zero(d);
  return hn::ReorderWidenMulAccumulate(d, hn::BitCast(dbf16, hn::Set(du32, a)),
                                       hn::BitCast(dbf16, b), acc, unused);
}
#endif

// acc[i][v] += Σ_t a(i, t) b[t][v], t in order. a(i, t) is a[i * stride + t]
// if kRowsOfA, else a[t * stride + i]. b: [depth, kV * Lanes].
template <bool kRowsOfA, size_t kV, class E>
HWY_INLINE void MultiplyTile(const E* HWY_RESTRICT a, size_t stride,
                             const E* HWY_RESTRICT b, size_t depth,
                             VQ (&acc)[kTile][kV]) {
  const hn::ScalableTag<E> d;
  const size_t n = hn::Lanes(d);
  for (size_t t = 0; t < depth; ++t) {
    hn::Vec<decltype(d)> bv[kV];
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) bv[v] = hn::Load(d, b + v * n);
    b += kV * n;
    const E* at = kRowsOfA ? a + t : a + t * stride;
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      const E av = at[kRowsOfA ? i * stride : i];
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        acc[i][v] = MultiplyAdd(av, bv[v], acc[i][v]);
    }
  }
}

// scores[j][:] = k[j] · q for j < keys (rounded up to kTile: k is padded).
// k: [keys, depth]; q: [depth, kV * Lanes]; scores: [keys, kV * Lanes].
template <size_t kV, class E>
HWY_INLINE void ScoreKeys(const E* k, size_t keys, size_t depth, const E* q,
                          float* scores) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  for (size_t j = 0; j < keys; j += kTile) {
    VQ acc[kTile][kV];
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v) acc[i][v] = hn::Zero(d);
    }
    MultiplyTile<true, kV>(k + j * depth, depth, q, depth, acc);
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        hn::Store(acc[i][v], d, scores + ((j + i) * kV + v) * n);
    }
  }
}

// o = o * correction + vᵀ p. values: [depth, dim]; p: [depth, kV * Lanes],
// depth being the number of keys, or of pairs of keys; o: [dim, kV * Lanes].
template <size_t kV, class E>
HWY_INLINE void AddValues(const E* values, size_t depth, size_t dim, const E* p,
                          const float* correction, float* o) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  for (size_t i0 = 0; i0 < dim; i0 += kTile) {
    VQ acc[kTile][kV];
    float* rows = o + i0 * kV * n;
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        acc[i][v] = hn::Mul(hn::Load(d, rows + (i * kV + v) * n),
                            hn::Load(d, correction + v * n));
    }
    MultiplyTile<false, kV>(values + i0, dim, p, depth, acc);
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        hn::Store(acc[i][v], d, rows + (i * kV + v) * n);
    }
  }
}

// ---- Which keys a lane sees -------------------------------------------------

// params.window for comparisons of key indices, which are below 2^31.
HWY_INLINE int32_t WindowLanes(const AttentionParams& params) {
  constexpr size_t kAll = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(
      params.window == 0 ? kAll : std::min(params.window, kAll));
}

// -inf for each key that a lane does not see: newer than last_key, or not
// among the `window` newest before. The first of the scores is of key
// `first_key`. scores: [keys, kV * Lanes]; last_key: [kV * Lanes].
template <size_t kV>
HWY_INLINE void HideUnseen(const int32_t* last_key, int32_t window,
                           size_t first_key, size_t keys, float* scores) {
  const DQ d;
  const hn::RebindToSigned<DQ> di32;
  const size_t n = hn::Lanes(d);
  const VQ minus_inf = hn::Neg(hn::Inf(d));
  const auto window_keys = hn::Set(di32, window);
  for (size_t j = 0; j < keys; ++j) {
    const auto key = hn::Set(di32, static_cast<int32_t>(first_key + j));
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) {
      float* s = scores + (j * kV + v) * n;
      const auto last = hn::Load(di32, last_key + v * n);
      const auto hidden =
          hn::Or(hn::Gt(key, last), hn::Ge(hn::Sub(last, window_keys), key));
      hn::Store(
          hn::IfThenElse(hn::RebindMask(d, hidden), minus_inf, hn::Load(d, s)),
          d, s);
    }
  }
}

// ---- Operands of float
// --------------------------------------------------------

// Keys [padded, dim] and values [count, dim] from `count` rows.
template <class T>
HWY_INLINE void StageKeys(const T* rows, size_t count, size_t padded,
                          size_t dim, float* HWY_RESTRICT out) {
  StageRows(rows, count, padded, dim, dim, out);
}
template <class T>
HWY_INLINE void StageValues(const T* rows, size_t count, size_t dim,
                            float* HWY_RESTRICT out) {
  StageRows(rows, count, count, dim, dim, out);
}

// One lane of a strip's packed queries: out[i * width] = q[i] * factor.
HWY_INLINE void PackQuery(const float* q, size_t dim, float factor,
                          size_t width, float* out, float* /*scale*/) {
  for (size_t i = 0; i < dim; ++i) out[i * width] = q[i] * factor;
}

// ---- Operands of bf16 pairs
// ---------------------------------------------------
#if HWY_NATIVE_DOT_BF16

using VPair = hn::Vec<hn::ScalableTag<BF16Pair>>;

// Two vectors of finite floats as pairs, rounded to nearest even.
HWY_INLINE VPair MakePairs(VQ low, VQ high) {
  const hn::ScalableTag<BF16Pair> du32;
  const auto round = [&](VQ v) HWY_ATTR {
    const auto bits = hn::BitCast(du32, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du32, 1u));
    return hn::Add(hn::Add(bits, hn::Set(du32, 0x7FFFu)), odd);
  };
  return hn::OrAnd(hn::ShiftRight<16>(round(low)), round(high),
                   hn::Set(du32, 0xFFFF0000u));
}

// The same for numbers >= 0, ties away from zero; NaN stays NaN or becomes
// any number.
HWY_INLINE VPair MakePairsFast(VQ low, VQ high) {
  const hn::ScalableTag<BF16Pair> du32;
  const auto half = hn::Set(du32, 0x8000u);
  return hn::OrAnd(hn::ShiftRight<16>(hn::Add(hn::BitCast(du32, low), half)),
                   hn::Add(hn::BitCast(du32, high), half),
                   hn::Set(du32, 0xFFFF0000u));
}

// Keys [padded, dim / 2] from `count` rows: a pair is two dimensions.
template <class T>
HWY_INLINE void StageKeys(const T* rows, size_t count, size_t padded,
                          size_t dim, BF16Pair* HWY_RESTRICT out) {
  const DQ d;
  const hn::Rebind<hwy::bfloat16_t, DQ> dbf16;
  const size_t n = hn::Lanes(d);
  for (size_t r = 0; r < count; ++r) {
    const KvRowReader<T> reader(d, rows);
    auto* to = reinterpret_cast<hwy::bfloat16_t*>(out);
    size_t i = 0;
    for (; i + n <= dim; i += n)
      hn::StoreU(hn::DemoteTo(dbf16, reader.Load(d, i)), dbf16, to + i);
    if (i < dim)
      hn::StoreN(hn::DemoteTo(dbf16, reader.LoadN(d, i, dim - i)), dbf16,
                 to + i, dim - i);
    rows += KvRowStep<T>(dim);
    out += dim / 2;
  }
  for (size_t i = 0; i < (padded - count) * dim / 2; ++i) out[i] = 0;
}

// Values [ceil(count / 2), dim] from `count` rows: a pair is two keys, of
// which the last may lack its second.
template <class T>
HWY_INLINE void StageValues(const T* rows, size_t count, size_t dim,
                            BF16Pair* HWY_RESTRICT out) {
  const DQ d;
  const hn::ScalableTag<BF16Pair> du32;
  const size_t n = hn::Lanes(d);
  const size_t step = KvRowStep<T>(dim);
  for (size_t r = 0; r < count; r += 2) {
    const bool both = r + 1 < count;
    const KvRowReader<T> first(d, rows);
    const KvRowReader<T> second(d, both ? rows + step : rows);
    for (size_t i = 0; i < dim; i += n) {
      const size_t left = std::min(n, dim - i);
      const bool whole = left == n;
      const VQ low = whole ? first.Load(d, i) : first.LoadN(d, i, left);
      VQ high = whole ? second.Load(d, i) : second.LoadN(d, i, left);
      if (!both) high = hn::Zero(d);
      const VPair pairs = MakePairs(low, high);
      if (whole)
        hn::StoreU(pairs, du32, out + i);
      else
        hn::StoreN(pairs, du32, out + i, left);
    }
    rows += 2 * step;
    out += dim;
  }
}

// out[i * width] = the pair of dimensions 2 i and 2 i + 1.
HWY_INLINE void PackQuery(const float* q, size_t dim, float factor,
                          size_t width, BF16Pair* out, float* /*scale*/) {
  const auto round = [factor](float value) {
    return static_cast<BF16Pair>(ToBF16(value * factor).bits);
  };
  for (size_t i = 0; i < dim; i += 2)
    out[i / 2 * width] = round(q[i]) | round(q[i + 1]) << 16;
}

#endif  // HWY_NATIVE_DOT_BF16

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
