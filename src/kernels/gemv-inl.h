// Several weight rows at a time, so that an activation vector is loaded (and
// its part of the integer offset computed) once for all of them. The sequence
// of operations on a row is the same however many rows go together.
#if defined(DAPPLE_KERNELS_GEMV_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_GEMV_INL_H_
#undef DAPPLE_KERNELS_GEMV_INL_H_
#else
#define DAPPLE_KERNELS_GEMV_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/gemv.h"
#include "kernels/load-inl.h"
#include "kernels/quant-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Asks for `bytes` at p, of the next rows: while kRows rows are being read,
// the rows after them are fetched in the order of their addresses, which
// suits the memory better than kRows interleaved streams.
template <size_t kBytes>
HWY_INLINE void PrefetchRange(const uint8_t* p) {
  constexpr size_t kLines = (kBytes + 63) / 64;
  HWY_UNROLL(16)
  for (size_t i = 0; i < kLines; ++i) hwy::Prefetch(p + i * kBytes / kLines);
}

// How far ahead of the first row that is read rows of small blocks are asked
// for, at least: two rows of a small model would come too late. Zen 4, rows of
// 952 and 504 bytes, 2 threads, share of plain reading's rate: q8_0 79-82 %
// with four rows, 90-94 % with two and this; q4_0 85-92 % and 95-99 %.
inline constexpr size_t kPrefetchLead = 4096;

// ---- Float activations ----------------------------------------------------

// y[r] = Σ w[r][i] x[i] for kRows rows of T, stride bytes apart.
template <size_t kRows, class T>
HWY_INLINE void FloatRows(const uint8_t* w, size_t stride, size_t k,
                          const float* x, float* y) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t n = hn::Lanes(d);
  const T* rows[kRows];
  V sum0[kRows];
  V sum1[kRows];
  HWY_UNROLL(8)
  for (size_t r = 0; r < kRows; ++r) {
    rows[r] = reinterpret_cast<const T*>(w + r * stride);
    sum0[r] = sum1[r] = hn::Zero(d);
  }
  const uint8_t* next = w + kRows * stride;
  size_t i = 0;
  for (; i + 2 * n <= k; i += 2 * n) {
    constexpr size_t kStep = 2 * kRows * sizeof(T) * hn::MaxLanes(d);
    PrefetchRange<kStep>(next);
    next += kStep;
    const V x0 = hn::LoadU(d, x + i);
    const V x1 = hn::LoadU(d, x + i + n);
    HWY_UNROLL(8)
    for (size_t r = 0; r < kRows; ++r) {
      sum0[r] = hn::MulAdd(LoadFloat(d, rows[r] + i), x0, sum0[r]);
      sum1[r] = hn::MulAdd(LoadFloat(d, rows[r] + i + n), x1, sum1[r]);
    }
  }
  for (; i < k; i += n) {
    const size_t left = k - i;
    const V xv = hn::LoadN(d, x + i, left);
    HWY_UNROLL(8)
    for (size_t r = 0; r < kRows; ++r)
      sum0[r] = hn::MulAdd(LoadFloatN(d, rows[r] + i, left), xv, sum0[r]);
  }
  for (size_t r = 0; r < kRows; ++r)
    y[r] = hn::ReduceSum(d, hn::Add(sum0[r], sum1[r]));
}

// The same for quantized rows: weights are unpacked a part at a time.
template <class F, size_t kRows>
HWY_INLINE void BlockFloatRows(const uint8_t* w, size_t stride, size_t k,
                               const float* x, float* y) {
  const BlockFloatTag d;
  using V = hn::Vec<decltype(d)>;
  const size_t n = hn::Lanes(d);
  HWY_ALIGN int8_t unpacked[kBlock];
  HWY_ALIGN float scales[kRows][F::kGroups];
  HWY_ALIGN float mins[kRows][F::kGroups];
  V sum[kRows];
  for (size_t r = 0; r < kRows; ++r) sum[r] = hn::Zero(d);
  const uint8_t* next = w + kRows * stride;
  for (size_t i = 0; i < k; i += F::kElements) {
    PrefetchRange<kRows * F::kBytes>(next);
    next += kRows * F::kBytes;
    for (size_t r = 0; r < kRows; ++r)
      F::Scales(w + r * stride, scales[r], mins[r]);
    for (size_t part = 0; part < F::kElements / kBlock; ++part) {
      const float* xp = x + i + part * kBlock;
      HWY_UNROLL(8)
      for (size_t r = 0; r < kRows; ++r) {
        UnpackPart<F>(w + r * stride, part, unpacked);
        for (size_t j = 0; j < kBlock; j += n)
          sum[r] =
              hn::MulAdd(Weights<F>(d, unpacked, part, j, scales[r], mins[r]),
                         hn::LoadU(d, xp + j), sum[r]);
      }
    }
    w += F::kBytes;
  }
  for (size_t r = 0; r < kRows; ++r) y[r] = hn::ReduceSum(d, sum[r]);
}

// ---- Quantized activations ------------------------------------------------
//
// Products are summed in int32, exactly, four neighbours a lane: a vector's
// lanes never mix groups. What the unsigned operand of the dot instruction has
// too much (a format's kOffset; 128 where int8 weights are biased for
// vpdpbusd) is taken off first, once for all rows. Minima meet the sums of the
// activations.

using DI16 = hn::Repartition<int16_t, DI8>;
using DI32 = hn::Repartition<int32_t, DI8>;
using DF = hn::Rebind<float, DI32>;
using VI32 = hn::Vec<DI32>;
using VF = hn::Vec<DF>;

// acc + dot of u (at most 128) and x, four products a lane.
HWY_INLINE VI32 DotUnsigned(VU8 u, VI8 x, VI32 acc) {
#if HWY_TARGET <= HWY_AVX3_DL || !HWY_ARCH_X86
  return hn::SumOfMulQuadAccumulate(DI32(), u, x, acc);
#else
  // 2 * 128 * 127 fits int16, so the saturation never happens.
  const auto pairs = hn::SatWidenMulPairwiseAdd(DI16(), u, x);
  const auto one = hn::Set(DI16(), int16_t{1});
  return hn::Add(acc, hn::WidenMulPairwiseAdd(DI32(), pairs, one));
#endif
}

// acc + dot of signed w and x; on AVX3_DL, what DotOffset took off first.
HWY_INLINE VI32 DotSigned(VI8 w, VI8 x, VI32 acc) {
#if HWY_TARGET <= HWY_AVX3_DL
  const VU8 biased =
      hn::Xor(hn::BitCast(DU8(), w), hn::Set(DU8(), uint8_t{0x80}));
  return hn::SumOfMulQuadAccumulate(DI32(), biased, x, acc);
#elif HWY_ARCH_X86
  const VU8 magnitude = hn::BitCast(DU8(), hn::Abs(w));
  return DotUnsigned(magnitude, hn::IfNegativeThenNegOrUndefIfZero(w, x), acc);
#else
  return hn::SumOfMulQuadAccumulate(DI32(), w, x, acc);
#endif
}

// What the dot product of x starts from.
template <class F>
HWY_INLINE VI32 DotOffset(VI8 x) {
  constexpr bool kBiased = F::kSigned && HWY_TARGET <= HWY_AVX3_DL;
  constexpr int kExcess = kBiased ? 128 : F::kOffset;
  if constexpr (kExcess == 0) return hn::Zero(DI32());
  const VU8 excess = hn::Set(DU8(), static_cast<uint8_t>(kExcess));
  return hn::Neg(DotUnsigned(excess, x, hn::Zero(DI32())));
}

template <class F>
HWY_INLINE VI32 PartDot(const uint8_t* block, size_t part, size_t v, VI8 x,
                        VI32 acc) {
  const VU8 quants = F::Quants(block, part, v);
  if constexpr (F::kSigned)
    return DotSigned(hn::BitCast(DI8(), quants), x, acc);
  else
    return DotUnsigned(quants, x, acc);
}

// out[r] = f16 at w + r * stride, times x_scale. All rows are converted
// together: one at a time, the conversions would cost as much as the dot
// products. out: [4], aligned.
template <size_t kRows>
HWY_INLINE void HalfScales(const uint8_t* w, size_t stride, float x_scale,
                           float* out) {
  static_assert(kRows <= 4);
  uint64_t bits = 0;
  HWY_UNROLL(4)
  for (size_t r = 0; r < kRows; ++r) {
    uint16_t half;
    std::memcpy(&half, w + r * stride, sizeof(half));
    bits |= uint64_t{half} << (16 * r);
  }
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<uint64_t, 1> d64;
  const auto halves = hn::BitCast(HalfBits<decltype(d)>(), hn::Set(d64, bits));
  hn::Store(hn::Mul(F16BitsToFloat(d, halves), hn::Set(d, x_scale)), d, out);
#if HWY_ARCH_X86
  // Keep them in memory: a multiply-add that broadcasts its operand from there
  // is free, shuffling them out of a register is not.
  asm("" : "+m"(*reinterpret_cast<float(*)[4]>(out)));
#endif
}

// Formats with blocks of 32.
template <class F, size_t kRows>
HWY_INLINE void SmallBlockRows(const uint8_t* w, size_t stride, size_t blocks,
                               const BlockActivation* x, float* y) {
  const DF d;
  alignas(16) float scales[4];
  alignas(16) float mins[4];
  alignas(16) float min_sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  VF sum[kRows];
  HWY_UNROLL(8)
  for (size_t r = 0; r < kRows; ++r) sum[r] = hn::Zero(d);
  const uint8_t* next =
      w + (kRows * stride > kPrefetchLead ? kRows * stride : kPrefetchLead);
  for (size_t b = 0; b < blocks; ++b) {
    PrefetchRange<kRows * F::kBytes>(next);
    next += kRows * F::kBytes;
    VI8 xq[kVectors];
    VI32 offset = hn::Zero(DI32());
    HWY_UNROLL(2)
    for (size_t v = 0; v < kVectors; ++v) {
      xq[v] = hn::LoadU(DI8(), x[b].quants + v * kVectorBytes);
      offset = hn::Add(offset, DotOffset<F>(xq[v]));
    }
    if constexpr (F::kHalfScale) {
      HalfScales<kRows>(w, stride, x[b].scale, scales);
    } else {
      HWY_UNROLL(8)
      for (size_t r = 0; r < kRows; ++r) {
        F::Scales(w + r * stride, &scales[r], nullptr);
        scales[r] *= x[b].scale;
      }
    }
    if constexpr (F::kHasMin) {
      HalfScales<kRows>(w + 2, stride, x[b].sum, mins);
      for (size_t r = 0; r < kRows; ++r) min_sum[r] += mins[r];
    }
    HWY_UNROLL(8)
    for (size_t r = 0; r < kRows; ++r) {
      VI32 dot = offset;
      HWY_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v)
        dot = PartDot<F>(w + r * stride, 0, v, xq[v], dot);
      sum[r] = hn::MulAdd(hn::ConvertTo(d, dot), hn::Set(d, scales[r]), sum[r]);
    }
    w += F::kBytes;
  }
  HWY_UNROLL(8)
  for (size_t r = 0; r < kRows; ++r)
    y[r] = hn::ReduceSum(d, sum[r]) + (F::kHasMin ? min_sum[r] : 0.0f);
}

// The scale of each lane of a part's vector v.
template <class F>
HWY_INLINE VF LaneScales(const float* scales, size_t part, size_t v) {
  const DF d;
  if constexpr (F::kGroup == kBlock) {
    (void)v;
    return hn::Set(d, scales[part]);
  } else if constexpr (kVectors == 2) {
    return hn::Set(d, scales[2 * part + v]);
  } else {
    const VF low = hn::Set(d, scales[2 * part]);
    return hn::ConcatUpperLower(d, hn::Set(d, scales[2 * part + 1]), low);
  }
}

// Sums of the activations of each group of a block of 256. out: [kGroups].
template <class F>
HWY_INLINE void GroupSums(const BlockActivation* x, float* out) {
  for (size_t part = 0; part < F::kElements / kBlock; ++part) {
    if constexpr (F::kGroup == kBlock) {
      out[part] = x[part].sum;
    } else {
      HWY_ALIGN int32_t lanes[8];
      for (size_t v = 0; v < kVectors; ++v) {
        const VI8 xq = hn::LoadU(DI8(), x[part].quants + v * kVectorBytes);
        const VU8 one = hn::Set(DU8(), uint8_t{1});
        hn::Store(DotUnsigned(one, xq, hn::Zero(DI32())), DI32(),
                  lanes + v * hn::MaxLanes(DI32()));
      }
      for (size_t half = 0; half < 2; ++half) {
        const int32_t* four = lanes + 4 * half;
        out[2 * part + half] =
            x[part].scale *
            static_cast<float>(four[0] + four[1] + four[2] + four[3]);
      }
    }
  }
}

// Formats with blocks of 256.
template <class F, size_t kRows>
HWY_INLINE void SuperBlockRows(const uint8_t* w, size_t stride, size_t blocks,
                               const BlockActivation* x, float* y) {
  constexpr size_t kParts = F::kElements / kBlock;
  const DF d;
  const hn::CappedTag<float, 8> dg;  // groups
  const size_t n = hn::Lanes(dg);
  HWY_ALIGN float scales[kRows][F::kGroups];
  HWY_ALIGN float mins[kRows][F::kGroups];
  HWY_ALIGN float x_scales[F::kGroups];
  HWY_ALIGN float x_sums[F::kGroups];
  VF sum[kRows];
  hn::Vec<decltype(dg)> min_sum[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    sum[r] = hn::Zero(d);
    min_sum[r] = hn::Zero(dg);
  }
  const uint8_t* next = w + kRows * stride;
  for (size_t b = 0; b < blocks; ++b, x += kParts) {
    PrefetchRange<kRows * F::kBytes>(next);
    next += kRows * F::kBytes;
    for (size_t g = 0; g < F::kGroups; ++g)
      x_scales[g] = x[g * F::kGroup / kBlock].scale;
    if constexpr (F::kHasMin) GroupSums<F>(x, x_sums);
    for (size_t r = 0; r < kRows; ++r) {
      F::Scales(w + r * stride, scales[r], mins[r]);
      for (size_t g = 0; g < F::kGroups; g += n) {
        hn::Store(
            hn::Mul(hn::Load(dg, scales[r] + g), hn::Load(dg, x_scales + g)),
            dg, scales[r] + g);
        if constexpr (F::kHasMin)
          min_sum[r] = hn::MulAdd(hn::Load(dg, mins[r] + g),
                                  hn::Load(dg, x_sums + g), min_sum[r]);
      }
    }
    HWY_UNROLL(8)
    for (size_t part = 0; part < kParts; ++part) {
      HWY_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v) {
        const VI8 xq = hn::LoadU(DI8(), x[part].quants + v * kVectorBytes);
        const VI32 offset = DotOffset<F>(xq);
        HWY_UNROLL(8)
        for (size_t r = 0; r < kRows; ++r) {
          const VI32 dot = PartDot<F>(w + r * stride, part, v, xq, offset);
          sum[r] = hn::MulAdd(hn::ConvertTo(d, dot),
                              LaneScales<F>(scales[r], part, v), sum[r]);
        }
      }
    }
    w += F::kBytes;
  }
  for (size_t r = 0; r < kRows; ++r) {
    y[r] = hn::ReduceSum(d, sum[r]);
    if constexpr (F::kHasMin) y[r] -= hn::ReduceSum(dg, min_sum[r]);
  }
}

// ---- Activations ----------------------------------------------------------

// The largest magnitude of x [kBlock]; NaN or infinity where one is in it.
HWY_INLINE float LargestOf(const float* x) {
  const BlockFloatTag d;
  const hn::Rebind<int32_t, BlockFloatTag> di32;
  // Magnitudes compared as integers: NaN counts as larger than infinity, so
  // neither goes unnoticed.
  auto max_bits = hn::Zero(di32);
  for (size_t i = 0; i < kBlock; i += hn::Lanes(d))
    max_bits =
        hn::Max(max_bits, hn::BitCast(di32, hn::Abs(hn::LoadU(d, x + i))));
  return hwy::BitCastScalar<float>(hn::ReduceMax(di32, max_bits));
}

HWY_INLINE bool IsFinite(float magnitude) { return magnitude <= 3.4028234e38f; }

HWY_INLINE void QuantizeBlock(const float* x, BlockActivation* out) {
  const BlockFloatTag d;
  const hn::Rebind<int32_t, BlockFloatTag> di32;
  const hn::Rebind<int8_t, BlockFloatTag> di8;
  const size_t n = hn::Lanes(d);
  const float largest = LargestOf(x);
  // Below this 127 / largest would overflow; such values count as zero.
  const bool tiny = largest < 0x1p-100f;
  const bool finite = IsFinite(largest);
  const float inverse = tiny || !finite ? 0.0f : 127.0f / largest;
  auto total = hn::Zero(di32);
  for (size_t i = 0; i < kBlock; i += n) {
    auto scaled = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse));
    if (!finite) scaled = hn::Zero(d);
    const auto quants = hn::NearestInt(scaled);
    total = hn::Add(total, quants);
    hn::StoreU(hn::DemoteTo(di8, quants), di8, out->quants + i);
  }
  // A block that holds NaN or infinity yields NaN, never a plausible number.
  out->scale = !finite ? hwy::BitCastScalar<float>(0x7FC00000u)
               : tiny  ? 0.0f
                       : largest / 127.0f;
  out->sum = out->scale * static_cast<float>(hn::ReduceSum(di32, total));
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
