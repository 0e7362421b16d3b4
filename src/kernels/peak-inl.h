// Register blocks of kPeakRows × kPeakColumns sums: enough chains to hide the
// latency of two multipliers, few enough for the registers. Operands are loaded
// anew each step, from no place twice in a round: the compiler can neither
// hoist a product nor use one twice, and two loads a cycle keep up.

// Per-target include guard.
#if defined(DAPPLE_KERNELS_PEAK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_PEAK_INL_H_
#undef DAPPLE_KERNELS_PEAK_INL_H_
#else
#define DAPPLE_KERNELS_PEAK_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/attention_layout.h"
#include "kernels/peak.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Sums, one row's operand and a column's, and what emulation needs.
constexpr size_t kPeakRows = 2;
#if HWY_ARCH_X86 && (HWY_TARGET >= HWY_AVX2)
constexpr size_t kPeakColumns = 5;
#else
constexpr size_t kPeakColumns = 6;
#endif
constexpr size_t kPeakSteps = 8;  // operands: a few KiB, which stay in L1

#undef DAPPLE_PEAK_PAIRS
#undef DAPPLE_PEAK_BF16
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3_DL
#define DAPPLE_PEAK_PAIRS 1  // no vpdpbusd
#else
#define DAPPLE_PEAK_PAIRS 0
#endif
#if HWY_NATIVE_DOT_BF16 && !HWY_TARGET_IS_SVE
#define DAPPLE_PEAK_BF16 1
#else
#define DAPPLE_PEAK_BF16 0
#endif

// Calls step(sum, a, b) for each sum of the block, `rounds` times; the sum of
// all sums. DA, DB: tags of the operands; values[...]: their bytes.
template <class DSum, class DA, class DB, class Step>
HWY_INLINE double Blocks(DSum ds, DA da, DB db, const hn::TFromD<DA>* as,
                         const hn::TFromD<DB>* bs, size_t rounds,
                         const Step& step) {
  hn::Vec<DSum> sums[kPeakRows][kPeakColumns];
  HWY_UNROLL(2)
  for (size_t r = 0; r < kPeakRows; ++r) HWY_UNROLL(6)
  for (size_t c = 0; c < kPeakColumns; ++c) sums[r][c] = hn::Zero(ds);
  const size_t na = hn::Lanes(da), nb = hn::Lanes(db);
  for (size_t round = 0; round < rounds; round += kPeakSteps) {
    // Unrolled: counting would take a part of what is to be measured. The
    // operands might have changed, as far as the compiler knows.
    asm volatile("" : : "r"(as), "r"(bs) : "memory");
    HWY_UNROLL(8)
    for (size_t place = 0; place < kPeakSteps; ++place) {
      const auto* a = as + place * kPeakRows * na;
      const auto* b = bs + place * kPeakColumns * nb;
      const auto a0 = hn::Load(da, a);
      const auto a1 = hn::Load(da, a + na);
      HWY_UNROLL(6)
      for (size_t c = 0; c < kPeakColumns; ++c) {
        auto column = hn::Load(db, b + c * nb);
#if HWY_ARCH_X86
        // One load for both products: as operands in memory they would be two.
        asm("" : "+x"(column.raw));
#endif
        sums[0][c] = step(sums[0][c], a0, column);
        sums[1][c] = step(sums[1][c], a1, column);
#if HWY_ARCH_X86
        // GCC would add products up pairwise, and run out of registers.
        asm("" : "+x"(sums[0][c].raw), "+x"(sums[1][c].raw));
#endif
      }
    }
  }
  auto total = hn::Zero(ds);
  for (size_t r = 0; r < kPeakRows; ++r)
    for (size_t c = 0; c < kPeakColumns; ++c)
      total = hn::Add(total, sums[r][c]);
  return static_cast<double>(hn::GetLane(total));
}

// Keeps a result that nobody wants from being optimised away.
HWY_INLINE void Keep(double value) {
  volatile double sink = value;
  (void)sink;
}

constexpr size_t kOperandBytes =
    kPeakSteps * kPeakColumns * HWY_MAX_BYTES;  // the larger of the two

HWY_INLINE size_t PeakInt8(size_t rounds) {
  const hn::ScalableTag<int32_t> d;
  const hn::Repartition<int8_t, decltype(d)> d8;
  alignas(64) int8_t b[kOperandBytes];
  for (size_t i = 0; i < kOperandBytes; ++i)
    b[i] = static_cast<int8_t>(i % 7) - 3;
#if HWY_ARCH_X86
  const hn::Repartition<uint8_t, decltype(d)> da;
  alignas(64) uint8_t a[kOperandBytes];
  for (size_t i = 0; i < kOperandBytes; ++i) a[i] = static_cast<uint8_t>(i % 5);
#else
  const hn::Repartition<int8_t, decltype(d)> da;
  alignas(64) int8_t a[kOperandBytes];
  for (size_t i = 0; i < kOperandBytes; ++i) a[i] = static_cast<int8_t>(i % 5);
#endif
#if DAPPLE_PEAK_PAIRS
  // What weights of 4 bits come to (gemm/int8_maddubs-inl.h); those of 8 bits
  // need two instructions more.
  const hn::Repartition<int16_t, decltype(d)> d16;
  Keep(Blocks(d16, da, d8, a, b, rounds, [&](auto sum, auto x, auto y) {
    return hn::Add(sum, hn::SatWidenMulPairwiseAdd(d16, x, y));
  }));
#else
  Keep(Blocks(d, da, d8, a, b, rounds, [&](auto sum, auto x, auto y) {
    return hn::SumOfMulQuadAccumulate(d, x, y, sum);
  }));
#endif
  return hn::Lanes(d8);
}

HWY_INLINE size_t PeakF32(size_t rounds) {
  const hn::ScalableTag<float> d;
  constexpr size_t kCount = kOperandBytes / sizeof(float);
  alignas(64) float a[kCount], b[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    a[i] = static_cast<float>(i % 7) - 3.0f;
    b[i] = static_cast<float>(i % 5) - 2.0f;
  }
  Keep(Blocks(d, d, d, a, b, rounds,
              [](auto sum, auto x, auto y) { return hn::MulAdd(x, y, sum); }));
  return hn::Lanes(d);
}

HWY_INLINE size_t PeakInt16([[maybe_unused]] size_t rounds) {
#if DAPPLE_ATTENTION_INT16
  const hn::ScalableTag<int32_t> d;
  const hn::Repartition<int16_t, decltype(d)> d16;
  constexpr size_t kCount = kOperandBytes / sizeof(int16_t);
  alignas(64) int16_t a[kCount], b[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    a[i] = static_cast<int16_t>(i % 7) - 3;
    b[i] = static_cast<int16_t>(i % 5) - 2;
  }
  Keep(Blocks(d, d16, d16, a, b, rounds, [&](auto sum, auto x, auto y) {
    return hn::Add(sum, hn::WidenMulPairwiseAdd(d, x, y));
  }));
  return hn::Lanes(d16);
#else
  return 0;
#endif
}

HWY_INLINE size_t PeakBf16([[maybe_unused]] size_t rounds) {
#if DAPPLE_PEAK_BF16
  const hn::ScalableTag<float> d;
  const hn::Repartition<hwy::bfloat16_t, decltype(d)> dh;
  constexpr size_t kCount = kOperandBytes / sizeof(hwy::bfloat16_t);
  alignas(64) hwy::bfloat16_t a[kCount], b[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    a[i] = hwy::BF16FromF32(static_cast<float>(i % 7) - 3.0f);
    b[i] = hwy::BF16FromF32(static_cast<float>(i % 5) - 2.0f);
  }
  // With the instruction in hardware all goes to the first sum.
  auto rest = hn::Zero(d);
  Keep(Blocks(d, dh, dh, a, b, rounds, [&](auto sum, auto x, auto y) {
    return hn::ReorderWidenMulAccumulate(d, x, y, sum, rest);
  }));
  Keep(hn::GetLane(rest));
  return hn::Lanes(dh);
#else
  return 0;
#endif
}

}  // namespace

double RunPeakOn(PeakKind kind, size_t rounds) {
  const size_t lanes = kind == PeakKind::kInt8    ? PeakInt8(rounds)
                       : kind == PeakKind::kInt16 ? PeakInt16(rounds)
                       : kind == PeakKind::kBf16  ? PeakBf16(rounds)
                                                  : PeakF32(rounds);
  return 2.0 * static_cast<double>(lanes * kPeakRows * kPeakColumns) *
         static_cast<double>(rounds);
}

uint64_t ReadWordsOn(const uint64_t* HWY_RESTRICT words, size_t count) {
  const hn::CappedTag<uint64_t, 8> d;
  const size_t n = hn::Lanes(d);
  auto x0 = hn::Zero(d), x1 = hn::Zero(d), x2 = hn::Zero(d), x3 = hn::Zero(d);
  for (size_t i = 0; i < count; i += 4 * n) {
    x0 = hn::Xor(x0, hn::LoadU(d, words + i));
    x1 = hn::Xor(x1, hn::LoadU(d, words + i + n));
    x2 = hn::Xor(x2, hn::LoadU(d, words + i + 2 * n));
    x3 = hn::Xor(x3, hn::LoadU(d, words + i + 3 * n));
  }
  alignas(64) uint64_t lanes[8];
  hn::Store(hn::Xor(hn::Xor(x0, x1), hn::Xor(x2, x3)), d, lanes);
  uint64_t all = 0;
  for (size_t i = 0; i < n; ++i) all ^= lanes[i];
  return all;
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
