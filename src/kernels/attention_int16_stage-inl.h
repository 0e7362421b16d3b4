// Integer attention's operands (attention_int16-inl.h): queries, and blocks of
// keys and values, as pairs of 16-bit integers with scales.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_ATTENTION_INT16_STAGE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_INT16_STAGE_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_INT16_STAGE_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_INT16_STAGE_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/attention_layout.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/exp-inl.h"
#include "kernels/kv_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if DAPPLE_ATTENTION_INT16

using DI32 = hn::RebindToSigned<DQ>;
using DI16 = hn::Repartition<int16_t, DQ>;
using VI32 = hn::Vec<DI32>;
static_assert(hn::MaxLanes(DQ()) <= 8, "head_dim is whole vectors");

// Below 2^15, with room for rounding.
inline constexpr float kNorm = 32700.0f;
inline constexpr int kPBits = 13;
// keys * 2^kPBits * ValueUnit is 2^31: one less is the largest value.
constexpr float ValueUnit(size_t dim) {
  return static_cast<float>((size_t{1} << (31 - kPBits)) / KeysPerBlock(dim));
}

// Two vectors as pairs of integers, |x| < 2^15, in the halves of each lane:
// adding kRoundMagic leaves round(x) in the low bits.
HWY_INLINE VI32 LowBitsAsPairs(VQ low, VQ high) {
  const DI32 di;
  const DI16 d16;
  const auto shifted = hn::ShiftLeft<16>(hn::BitCast(di, high));
  return hn::BitCast(
      di, hn::OddEven(hn::BitCast(d16, shifted), hn::BitCast(d16, low)));
}
HWY_INLINE VI32 PairInts(VQ low, VQ high) {
  const VQ magic = hn::Set(DQ(), kRoundMagic);
  return LowBitsAsPairs(hn::Add(low, magic), hn::Add(high, magic));
}
HWY_INLINE VI32 ScaledPairs(VQ low, VQ low_factor, VQ high, VQ high_factor) {
  const VQ magic = hn::Set(DQ(), kRoundMagic);
  return LowBitsAsPairs(hn::MulAdd(low, low_factor, magic),
                        hn::MulAdd(high, high_factor, magic));
}

// Pairs of terms that a dot product of keys has: dimension i goes with i + n,
// so that two vectors make one of pairs; the last may lack its second.
HWY_INLINE size_t PairsOfRow(size_t dim) {
  const size_t n = hn::Lanes(DQ());
  return (dim + 2 * n - 1) / (2 * n) * n;
}

// ---- Staging ----------------------------------------------------------------

// Factors of rows whose sums of squares are given to integers of norm kNorm,
// and what undoes them. The latter is not finite if the sum is not; rows of
// nothing but zeros stay so.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void ScalesOf(D d, V squares, V* factor, V* scale) {
  const V norm = hn::Sqrt(squares);
  const V least = hn::Set(d, 1e-30f);  // NaN is not below it
  *factor =
      hn::IfThenZeroElse(hn::Lt(norm, least), hn::Div(hn::Set(d, kNorm), norm));
  *scale = hn::Mul(norm, hn::Set(d, 1.0f / kNorm));
}

template <class T>
HWY_INLINE float SumOfSquares(const T* row, size_t dim) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  const KvRowReader<T> reader(d, row);
  VQ even = hn::Zero(d), odd = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * n <= dim; i += 2 * n) {
    const VQ x = reader.Load(d, i), y = reader.Load(d, i + n);
    even = hn::MulAdd(x, x, even);
    odd = hn::MulAdd(y, y, odd);
  }
  if (i < dim) {
    const VQ x = reader.Load(d, i);
    even = hn::MulAdd(x, x, even);
  }
  return hn::ReduceSum(d, hn::Add(even, odd));
}

// The exponent field of a row's largest magnitude, of floats or of f16. All
// ones: a number is not finite.
template <class T>
HWY_INLINE int32_t ExponentField(const T* row, size_t dim) {
  const DQ d;
  const DI32 di;
  const KvRowReader<T> reader(d, row);
  VI32 most = hn::Zero(di);  // bits order magnitudes
  for (size_t i = 0; i < dim; i += hn::Lanes(d))
    most = hn::Max(most, hn::BitCast(di, hn::Abs(reader.Load(d, i))));
  return hn::ReduceMax(di, most) >> 23;
}

// The larger of two halves, where there are more than eight lanes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE auto LargestEight(D /*d*/, V v) {
  if constexpr (hn::MaxLanes(D()) <= 8) {
    return v;
  } else {
    const hn::Half<D> dh;
    return hn::Max(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v));
  }
}
HWY_INLINE int32_t ExponentField(const F16* row, size_t dim) {
  const hn::Repartition<uint16_t, DQ> d;
  const hn::CappedTag<uint16_t, 8> d8;  // head_dim is a multiple of 8
  const size_t n = hn::Lanes(d);
  const auto* bits = reinterpret_cast<const uint16_t*>(row);
  auto most = hn::Zero(d);
  size_t i = 0;
  for (; i + n <= dim; i += n)  // without the sign
    most = hn::Max(most, hn::ShiftLeft<1>(hn::LoadU(d, bits + i)));
  auto eight = LargestEight(d, most);
  if (i < dim)
    eight = hn::Max(eight, hn::ShiftLeft<1>(hn::LoadU(d8, bits + i)));
  return hn::ReduceMax(d8, eight) >> 11;
}

// fields: [count] of ExponentField, with room for whole vectors, as the results
// have. The least e, but for rows near zero, such that all of a row are below
// 2^e in magnitude: exponents are e, or NaN where a number is not finite,
// inverses 2^-e.
template <class T>
HWY_INLINE void ExponentsOf(const int32_t* fields, size_t count,
                            float* exponents, float* inverses) {
  constexpr bool kF16 = std::is_same_v<T, F16>;
  constexpr int32_t kBias = kF16 ? 14 : 126, kAll = kF16 ? 31 : 255;
  const DQ d;
  const DI32 di;
  for (size_t r = 0; r < count; r += hn::Lanes(d)) {
    const VI32 field = hn::Load(di, fields + r);
    const VI32 e =
        hn::Max(hn::Sub(field, hn::Set(di, kBias)), hn::Set(di, -60));
    const auto finite = hn::RebindMask(d, hn::Ne(field, hn::Set(di, kAll)));
    const auto inverse = hn::ShiftLeft<23>(hn::Sub(hn::Set(di, 127), e));
    hn::StoreU(hn::IfThenElse(finite, hn::ConvertTo(d, e), hn::NaN(d)), d,
               exponents + r);
    hn::StoreU(hn::IfThenElseZero(finite, hn::BitCast(d, inverse)), d,
               inverses + r);
  }
}

// Pairs [count, PairsOfRow] of rows of T.
template <class T>
HWY_INLINE void StageKeyInts(const T* rows, size_t count, size_t dim,
                             const float* factors,
                             Int16Pair* HWY_RESTRICT out) {
  const DQ d;
  const DI32 di;
  const size_t n = hn::Lanes(d);
  for (size_t r = 0; r < count; ++r) {
    const VQ factor = hn::Set(d, factors[r]);
    const KvRowReader<T> reader(d, rows);
    size_t i = 0;
    for (; i + 2 * n <= dim; i += 2 * n, out += n)
      hn::Store(
          ScaledPairs(reader.Load(d, i), factor, reader.Load(d, i + n), factor),
          di, out);
    if (i < dim) {
      hn::Store(ScaledPairs(reader.Load(d, i), factor, hn::Zero(d), factor), di,
                out);
      out += n;
    }
    rows += KvRowStep<T>(dim);
  }
}

// Pairs [ceil(count / 2), dim] of rows of T. inverses: [count + 1] 2^-e, 0 for
// the row that is not there.
template <class T>
HWY_INLINE void StageValueInts(const T* rows, size_t count, size_t dim,
                               const float* inverses,
                               Int16Pair* HWY_RESTRICT out) {
  const DQ d;
  const DI32 di;
  const size_t n = hn::Lanes(d);
  const size_t step = KvRowStep<T>(dim);
  const float unit = ValueUnit(dim);
  const VQ largest = hn::Set(d, unit - 1.0f);
  for (size_t r = 0; r < count; r += 2) {
    const VQ f0 = hn::Set(d, inverses[r] * unit);
    const VQ f1 = hn::Set(d, inverses[r + 1] * unit);
    const KvRowReader<T> low(d, rows);
    const KvRowReader<T> high(d, r + 1 < count ? rows + step : rows);
    for (size_t i = 0; i < dim; i += n) {
      if constexpr (std::is_same_v<T, F16>) {
        // Its eleven bits are never rounded up to 2^e.
        hn::Store(ScaledPairs(low.Load(d, i), f0, high.Load(d, i), f1), di,
                  out + i);
      } else {
        hn::Store(PairInts(hn::Min(hn::Mul(low.Load(d, i), f0), largest),
                           hn::Min(hn::Mul(high.Load(d, i), f1), largest)),
                  di, out + i);
      }
    }
    rows += 2 * step;
    out += dim;
  }
}

// In passes, each over all rows: what one row waits for the next does not.
template <class T>
HWY_INLINE void StageBlock(const T* keys, const T* values, size_t count,
                           size_t padded, size_t dim,
                           const Staged<Int16Pair>& to) {
  constexpr size_t kRoom = KeysPerBlock(0) + hn::MaxLanes(DQ());
  HWY_ALIGN float squares[kRoom];
  HWY_ALIGN float factors[kRoom];
  HWY_ALIGN int32_t fields[kRoom];
  const DQ d;
  const size_t step = KvRowStep<T>(dim), pairs = PairsOfRow(dim);
  for (size_t r = 0; r < count; ++r) {
    squares[r] = SumOfSquares(keys + r * step, dim);
    fields[r] = ExponentField(values + r * step, dim);
  }
  for (size_t r = 0; r < count; r += hn::Lanes(d)) {
    VQ factor, scale;
    ScalesOf(d, hn::Load(d, squares + r), &factor, &scale);
    hn::Store(factor, d, factors + r);
    hn::StoreU(scale, d, to.key_scale + r);
  }
  StageKeyInts(keys, count, dim, factors, to.k);
  std::fill(to.k + count * pairs, to.k + padded * pairs, 0);
  ExponentsOf<T>(fields, count, to.exponent, to.unscale);
  std::copy_n(to.unscale, count, factors);
  factors[count] = 0.0f;
  StageValueInts(values, count, dim, factors, to.values);
  std::fill(to.key_scale + count, to.key_scale + padded, 0.0f);
  std::fill(to.exponent + count, to.exponent + padded, 0.0f);
}

// One lane of a strip's packed queries: out[t * width] = pair t.
HWY_INLINE void PackQuery(const float* q, size_t dim, float factor,
                          size_t width, Int16Pair* out, float* scale) {
  const hn::CappedTag<float, 1> d1;
  hn::Vec<decltype(d1)> to_ints, undone;
  ScalesOf(d1, hn::Set(d1, SumOfSquares(q, dim)), &to_ints, &undone);
  *scale = hn::GetLane(undone) * factor;
  // A number that is not finite makes the scale so; its integers are 0.
  const float each = std::isfinite(*scale) ? hn::GetLane(to_ints) : 0.0f;
  const size_t n = hn::Lanes(DQ());
  const auto round = [&](size_t i) {
    const float x = i < dim && each != 0.0f ? q[i] * each : 0.0f;
    return std::bit_cast<uint32_t>(x + kRoundMagic);
  };
  for (size_t i = 0; i < dim; i += 2 * n)
    for (size_t lane = 0; lane < n; ++lane, out += width)
      *out = static_cast<Int16Pair>((round(i + lane) & 0xFFFFu) |
                                    round(i + n + lane) << 16);
}

#endif  // DAPPLE_ATTENTION_INT16

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
