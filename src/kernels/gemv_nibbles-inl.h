// Matrix-vector products with q4_0 and q4_1 on AVX2, which has no dot product
// of bytes: two blocks at a time, so that unpacking, widening and converting
// are shared, and scales of eight blocks converted together. Half the
// instructions a block of gemv-inl.h's general way.
//
// Activations are laid out anew for it, once a call: quants of two blocks side
// by side, scales and sums in vectors of their own. Offsets (q4_0's 8) and
// minima meet the activations' sums.
//
// The intrinsics are those of the one target that this is for.
#if defined(DAPPLE_KERNELS_GEMV_NIBBLES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_GEMV_NIBBLES_INL_H_
#undef DAPPLE_KERNELS_GEMV_NIBBLES_INL_H_
#else
#define DAPPLE_KERNELS_GEMV_NIBBLES_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/gemv-inl.h"
#include "kernels/gemv.h"
#include "kernels/quant-inl.h"

#if HWY_TARGET == HWY_AVX2
#include <immintrin.h>

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace nibbles {

inline constexpr size_t kStep = 8;  // blocks
// Longer rows go the general way.
inline constexpr size_t kMaxBlocks = 1024;

// 40 KiB of stack at most.
struct Activations {
  float scales[kMaxBlocks + kStep];
  float sums[kMaxBlocks + kStep];  // of q4_0 times -8
  // [blocks / 2][4][16]: first halves of both blocks, then second halves.
  alignas(32) int8_t quants[kMaxBlocks * kBlock];
};

template <class F>
inline constexpr bool kTakes =
    std::is_same_v<F, FormatQ4_0> || std::is_same_v<F, FormatQ4_1>;

// The last blocks are followed by kStep scales and sums of zero, and by quants
// of zero up to an even number.
template <class F>
HWY_INLINE void Arrange(const BlockActivation* x, size_t blocks,
                        Activations* out) {
  const float factor = F::kHasMin ? 1.0f : -static_cast<float>(F::kOffset);
  const auto place = [&](size_t b, const int8_t* quants) {
    int8_t* to = out->quants + b / 2 * (2 * kBlock) + b % 2 * 16;
    std::memcpy(to, quants, 16);
    std::memcpy(to + kBlock, quants + 16, 16);
  };
  for (size_t b = 0; b < blocks; ++b) {
    out->scales[b] = x[b].scale;
    out->sums[b] = factor * x[b].sum;
    place(b, x[b].quants);
  }
  constexpr int8_t kNone[kBlock] = {};
  if (blocks % 2 != 0) place(blocks, kNone);
  std::memset(out->scales + blocks, 0, kStep * sizeof(float));
  std::memset(out->sums + blocks, 0, kStep * sizeof(float));
}

// The f16 at the beginning of each of kCount blocks, in the first lanes.
template <size_t kBytes, int kCount>
HWY_INLINE __m256 Halves(const uint8_t* p) {
  const auto at = [p](size_t b) {
    int16_t half;
    std::memcpy(&half, p + b * kBytes, sizeof(half));
    return half;
  };
  __m128i halves = _mm_cvtsi32_si128(static_cast<uint16_t>(at(0)));
  if constexpr (kCount > 1) halves = _mm_insert_epi16(halves, at(1), 1);
  if constexpr (kCount > 2) {
    halves = _mm_insert_epi16(halves, at(2), 2);
    halves = _mm_insert_epi16(halves, at(3), 3);
  }
  if constexpr (kCount > 4) {
    halves = _mm_insert_epi16(halves, at(4), 4);
    halves = _mm_insert_epi16(halves, at(5), 5);
    halves = _mm_insert_epi16(halves, at(6), 6);
    halves = _mm_insert_epi16(halves, at(7), 7);
  }
  return _mm256_cvtph_ps(halves);
}

struct Sums {
  __m256 dots;
  __m256 mins;
};

// Blocks 2 kPair and 2 kPair + 1 of a step, of which the second may be missing.
// scales: of all.
template <class F, int kPair, bool kBoth>
HWY_INLINE void AddPair(const uint8_t* block, const int8_t* quants,
                        __m256 scales, __m256& dots) {
  constexpr size_t kSkip = F::kBytes - 16;
  const auto* bytes = block + 2 * kPair * F::kBytes + kSkip;
  __m256i both = _mm256_zextsi128_si256(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  if constexpr (kBoth)
    both = _mm256_inserti128_si256(
        both,
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + F::kBytes)),
        1);
  const __m256i mask = _mm256_set1_epi8(15);
  const auto* x = reinterpret_cast<const __m256i*>(quants) + 2 * kPair;
  // Four products a lane, of at most 15 * 127: far from saturation.
  const __m256i pairs = _mm256_add_epi16(
      _mm256_maddubs_epi16(_mm256_and_si256(both, mask), _mm256_load_si256(x)),
      _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(both, 4), mask),
                           _mm256_load_si256(x + 1)));
  const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  constexpr int kA = 2 * kPair, kB = kA + 1;
  const __m256 scale = _mm256_permutevar8x32_ps(
      scales, _mm256_setr_epi32(kA, kA, kA, kA, kB, kB, kB, kB));
  dots = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scale, dots);
}

// kCount blocks of a row from block `b` on: 8, 4, 2 or 1. Nothing beyond them
// is read.
template <class F, int kCount>
HWY_INLINE void AddBlocks(const uint8_t* row, const Activations& x, size_t b,
                          Sums* sums) {
  const uint8_t* block = row + b * F::kBytes;
  const int8_t* quants = x.quants + b * kBlock;
  const __m256 raw = Halves<F::kBytes, kCount>(block);
  const __m256 scale = _mm256_mul_ps(raw, _mm256_loadu_ps(x.scales + b));
  const __m256 mins = F::kHasMin ? Halves<F::kBytes, kCount>(block + 2) : raw;
  sums->mins = _mm256_fmadd_ps(mins, _mm256_loadu_ps(x.sums + b), sums->mins);
  AddPair<F, 0, (kCount > 1)>(block, quants, scale, sums->dots);
  if constexpr (kCount > 2)
    AddPair<F, 1, true>(block, quants, scale, sums->dots);
  if constexpr (kCount > 4) {
    AddPair<F, 2, true>(block, quants, scale, sums->dots);
    AddPair<F, 3, true>(block, quants, scale, sums->dots);
  }
}

// kRows rows, stride bytes apart.
template <class F, size_t kRows>
HWY_INLINE void Rows(const uint8_t* w, size_t stride, size_t blocks,
                     const Activations& x, float* y) {
  Sums sums[kRows];
  HWY_UNROLL(2)
  for (size_t r = 0; r < kRows; ++r)
    sums[r].dots = sums[r].mins = _mm256_setzero_ps();
  const uint8_t* next =
      w + (kRows * stride > kPrefetchLead ? kRows * stride : kPrefetchLead);
  size_t b = 0;
  for (; b + kStep <= blocks; b += kStep) {
    PrefetchRange<kRows * kStep * F::kBytes>(next);
    next += kRows * kStep * F::kBytes;
    HWY_UNROLL(2)
    for (size_t r = 0; r < kRows; ++r)
      AddBlocks<F, 8>(w + r * stride, x, b, &sums[r]);
  }
  const auto add = [&]<int kCount>() HWY_ATTR {
    if ((blocks & kCount) == 0) return;
    HWY_UNROLL(2)
    for (size_t r = 0; r < kRows; ++r)
      AddBlocks<F, kCount>(w + r * stride, x, b, &sums[r]);
    b += kCount;
  };
  add.template operator()<4>();
  add.template operator()<2>();
  add.template operator()<1>();
  const hn::Full256<float> d;
  HWY_UNROLL(2)
  for (size_t r = 0; r < kRows; ++r)
    y[r] = hn::ReduceSum(
        d, hn::Vec256<float>{_mm256_add_ps(sums[r].dots, sums[r].mins)});
}

// Rows [first, last) of w [n, blocks], as gemv.h says.
template <class F>
HWY_NOINLINE void AllRows(const uint8_t* w, size_t stride, size_t blocks,
                          size_t first, size_t last, const BlockActivation* x,
                          float* y) {
  Activations arranged;
  Arrange<F>(x, blocks, &arranged);
  size_t r = first;
  for (; r + 2 <= last; r += 2)
    Rows<F, 2>(w + r * stride, stride, blocks, arranged, y + r);
  if (r < last) Rows<F, 1>(w + r * stride, stride, blocks, arranged, y + r);
}

}  // namespace nibbles
}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET == HWY_AVX2

#endif  // per-target include guard
