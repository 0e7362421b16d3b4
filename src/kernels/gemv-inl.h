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

// The same for blocks of quants: the scale is applied to a block's sum.
template <size_t kRows, bool kQ4>
HWY_INLINE void BlockFloatRows(const uint8_t* w, size_t stride, size_t k,
                               const float* x, float* y) {
  const BlockFloatTag d;
  using V = hn::Vec<decltype(d)>;
  const size_t n = hn::Lanes(d);
  HWY_ALIGN int8_t unpacked[kRows][kBlock];
  V sum[kRows];
  for (size_t r = 0; r < kRows; ++r) sum[r] = hn::Zero(d);
  const uint8_t* next = w + kRows * stride;
  for (size_t i = 0; i < k; i += kBlock) {
    PrefetchRange<kRows * kBlockBytes<kQ4>>(next);
    next += kRows * kBlockBytes<kQ4>;
    HWY_UNROLL(8)
    for (size_t r = 0; r < kRows; ++r) {
      const uint8_t* block = w + r * stride;
      const int8_t* quants = BlockQuants<kQ4>(block, unpacked[r]);
      V dot = hn::Zero(d);
      for (size_t j = 0; j < kBlock; j += n)
        dot = hn::MulAdd(QuantsToFloat(d, quants + j), hn::LoadU(d, x + i + j),
                         dot);
      sum[r] = hn::MulAdd(dot, BroadcastScale(d, block), sum[r]);
    }
    w += kBlockBytes<kQ4>;
  }
  for (size_t r = 0; r < kRows; ++r) y[r] = hn::ReduceSum(d, sum[r]);
}

// ---- Quantized activations ------------------------------------------------
//
// A block's 32 products are summed in int32, exactly; kOffset is what the
// unsigned operand of the dot instruction has too much (128 where int8
// weights are biased for vpdpbusd, 8 for nibbles).

using DI8 = hn::CappedTag<int8_t, 32>;
using DU8 = hn::RebindToUnsigned<DI8>;
using DI16 = hn::Repartition<int16_t, DI8>;
using DI32 = hn::Repartition<int32_t, DI8>;
using DF = hn::Rebind<float, DI32>;
using VI8 = hn::Vec<DI8>;
using VU8 = hn::Vec<DU8>;
using VI32 = hn::Vec<DI32>;
inline constexpr size_t kParts = kBlock / hn::MaxLanes(DI8());

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

// acc + dot of signed w and x; with kVnni, what BlockOffset took off first.
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

// What the accumulator starts from, given a block's activations.
template <bool kQ4>
HWY_INLINE VI32 BlockOffset(const VI8 (&x)[kParts]) {
  VI32 sum = hn::Zero(DI32());
  constexpr bool kBiased = HWY_TARGET <= HWY_AVX3_DL;
  if constexpr (kQ4 || kBiased) {
    const VU8 offset = hn::Set(DU8(), uint8_t{kQ4 ? 8 : 128});
    for (size_t p = 0; p < kParts; ++p) sum = DotUnsigned(offset, x[p], sum);
    sum = hn::Neg(sum);
  }
  return sum;
}

template <bool kQ4>
HWY_INLINE VI32 BlockDot(const uint8_t* block, const VI8 (&x)[kParts],
                         VI32 acc) {
  const uint8_t* quants = block + kScaleBytes;
  if constexpr (kQ4) {
    const VU8 mask = hn::Set(DU8(), uint8_t{15});
#if HWY_MAX_BYTES >= 32  // kParts == 1
    // The same 16 bytes in both halves, the upper half shifted by a nibble:
    // elements 0..15 and 16..31. What a 32-bit shift brings in from the
    // neighbouring byte is masked off.
    const hn::Repartition<uint32_t, DU8> du32;
    HWY_ALIGN static constexpr uint32_t kShift[8] = {0, 0, 0, 0, 4, 4, 4, 4};
    const auto both = hn::BitCast(du32, hn::LoadDup128(DU8(), quants));
    const auto apart = hn::Shr(both, hn::Load(du32, kShift));
    return DotUnsigned(hn::And(hn::BitCast(DU8(), apart), mask), x[0], acc);
#else
    const hn::Repartition<uint16_t, DU8> dpairs;
    const VU8 low = hn::LoadU(DU8(), quants);
    const VU8 high =
        hn::BitCast(DU8(), hn::ShiftRight<4>(hn::BitCast(dpairs, low)));
    acc = DotUnsigned(hn::And(low, mask), x[0], acc);
    return DotUnsigned(hn::And(high, mask), x[1], acc);
#endif
  } else {
    const auto* signed_quants = reinterpret_cast<const int8_t*>(quants);
    HWY_UNROLL(2)
    for (size_t p = 0; p < kParts; ++p)
      acc = DotSigned(hn::LoadU(DI8(), signed_quants + p * hn::MaxLanes(DI8())),
                      x[p], acc);
    return acc;
  }
}

// scales[r] = scale of the block at w + r * stride, times x_scale. All rows
// are converted together: one at a time, the conversions would cost as much
// as the dot products. scales: [4], aligned.
template <size_t kRows>
HWY_INLINE void BlockScales(const uint8_t* w, size_t stride, float x_scale,
                            float* scales) {
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
  hn::Store(hn::Mul(F16BitsToFloat(d, halves), hn::Set(d, x_scale)), d, scales);
#if HWY_ARCH_X86
  // Keep them in memory: a multiply-add that broadcasts its operand from there
  // is free, shuffling them out of a register is not.
  asm("" : "+m"(*reinterpret_cast<float(*)[4]>(scales)));
#endif
}

template <size_t kRows, bool kQ4>
HWY_INLINE void QuantizedRows(const uint8_t* w, size_t stride, size_t blocks,
                              const BlockActivation* x, float* y) {
  const DF d;
  using V = hn::Vec<DF>;
  alignas(16) float scales[4];
  V sum[kRows];
  HWY_UNROLL(8)
  for (size_t r = 0; r < kRows; ++r) sum[r] = hn::Zero(d);
  const uint8_t* next = w + kRows * stride;
  for (size_t b = 0; b < blocks; ++b) {
    PrefetchRange<kRows * kBlockBytes<kQ4>>(next);
    next += kRows * kBlockBytes<kQ4>;
    VI8 xq[kParts];
    HWY_UNROLL(2)
    for (size_t p = 0; p < kParts; ++p)
      xq[p] = hn::LoadU(DI8(), x[b].quants + p * hn::MaxLanes(DI8()));
    const VI32 offset = BlockOffset<kQ4>(xq);
    BlockScales<kRows>(w, stride, x[b].scale, scales);
    HWY_UNROLL(8)
    for (size_t r = 0; r < kRows; ++r) {
      const uint8_t* block = w + r * stride;
      const V dot = hn::ConvertTo(d, BlockDot<kQ4>(block, xq, offset));
      sum[r] = hn::MulAdd(dot, hn::Set(d, scales[r]), sum[r]);
    }
    w += kBlockBytes<kQ4>;
  }
  HWY_UNROLL(8)
  for (size_t r = 0; r < kRows; ++r) y[r] = hn::ReduceSum(d, sum[r]);
}

// ---- Activations ----------------------------------------------------------

HWY_INLINE void QuantizeBlock(const float* x, BlockActivation* out) {
  const BlockFloatTag d;
  const hn::Rebind<int32_t, BlockFloatTag> di32;
  const hn::Rebind<int8_t, BlockFloatTag> di8;
  const size_t n = hn::Lanes(d);
  // Magnitudes compared as integers: NaN counts as larger than infinity, so
  // neither goes unnoticed.
  auto max_bits = hn::Zero(di32);
  for (size_t i = 0; i < kBlock; i += n)
    max_bits =
        hn::Max(max_bits, hn::BitCast(di32, hn::Abs(hn::LoadU(d, x + i))));
  const float largest =
      hwy::BitCastScalar<float>(hn::ReduceMax(di32, max_bits));
  // Below this 127 / largest would overflow; such values count as zero.
  const bool tiny = largest < 0x1p-100f;
  const bool finite = largest <= 3.4028234e38f;
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
