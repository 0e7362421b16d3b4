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
  alignas(32) float scales[kMaxBlocks];
  alignas(32) float sums[kMaxBlocks];  // of q4_0 times -8
  // [blocks / 2][4][16]: first halves of both blocks, then second halves.
  alignas(32) int8_t quants[kMaxBlocks * kBlock];
};

template <class F>
inline constexpr bool kTakes =
    std::is_same_v<F, FormatQ4_0> || std::is_same_v<F, FormatQ4_1>;

// The last blocks are followed by zeros up to a multiple of kStep.
template <class F>
HWY_INLINE void Arrange(const BlockActivation* x, size_t blocks,
                        Activations* out) {
  const float factor = F::kHasMin ? 1.0f : -static_cast<float>(F::kOffset);
  const size_t padded = (blocks + kStep - 1) / kStep * kStep;
  for (size_t b = 0; b < padded; ++b) {
    const bool real = b < blocks;
    out->scales[b] = real ? x[b].scale : 0.0f;
    out->sums[b] = real ? factor * x[b].sum : 0.0f;
    int8_t* to = out->quants + b / 2 * (2 * kBlock) + b % 2 * 16;
    for (size_t half = 0; half < 2; ++half)
      if (real)
        std::memcpy(to + half * kBlock, x[b].quants + half * 16, 16);
      else
        std::memset(to + half * kBlock, 0, 16);
  }
}

// The f16 at the beginning of eight blocks.
template <size_t kBytes>
HWY_INLINE __m256 Halves(const uint8_t* p) {
  const auto at = [p](size_t b) {
    int16_t half;
    std::memcpy(&half, p + b * kBytes, sizeof(half));
    return half;
  };
  __m128i halves = _mm_cvtsi32_si128(at(0));
  halves = _mm_insert_epi16(halves, at(1), 1);
  halves = _mm_insert_epi16(halves, at(2), 2);
  halves = _mm_insert_epi16(halves, at(3), 3);
  halves = _mm_insert_epi16(halves, at(4), 4);
  halves = _mm_insert_epi16(halves, at(5), 5);
  halves = _mm_insert_epi16(halves, at(6), 6);
  halves = _mm_insert_epi16(halves, at(7), 7);
  return _mm256_cvtph_ps(halves);
}

struct Sums {
  __m256 dots;
  __m256 mins;
};

// Blocks 2 kPair and 2 kPair + 1 of eight. scales: of all eight.
template <class F, int kPair>
HWY_INLINE void AddPair(const uint8_t* block, const int8_t* quants,
                        __m256 scales, __m256& dots) {
  constexpr size_t kSkip = F::kBytes - 16;
  const auto* low_bytes = block + 2 * kPair * F::kBytes + kSkip;
  const __m256i both = _mm256_inserti128_si256(
      _mm256_castsi128_si256(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(low_bytes))),
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(low_bytes + F::kBytes)),
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

// Eight blocks of a row.
template <class F>
HWY_INLINE void AddBlocks(const uint8_t* block, const int8_t* quants,
                          const float* scales, const float* x_sums,
                          Sums* sums) {
  const __m256 raw = Halves<F::kBytes>(block);
  const __m256 scale = _mm256_mul_ps(raw, _mm256_load_ps(scales));
  const __m256 mins = F::kHasMin ? Halves<F::kBytes>(block + 2) : raw;
  sums->mins = _mm256_fmadd_ps(mins, _mm256_load_ps(x_sums), sums->mins);
  AddPair<F, 0>(block, quants, scale, sums->dots);
  AddPair<F, 1>(block, quants, scale, sums->dots);
  AddPair<F, 2>(block, quants, scale, sums->dots);
  AddPair<F, 3>(block, quants, scale, sums->dots);
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
      AddBlocks<F>(w + r * stride + b * F::kBytes, x.quants + b * kBlock,
                   x.scales + b, x.sums + b, &sums[r]);
  }
  if (b < blocks) {
    // Nothing beyond a row is read, and scales of 0 make numbers of it.
    for (size_t r = 0; r < kRows; ++r) {
      alignas(32) uint8_t rest[kStep * F::kBytes] = {};
      std::memcpy(rest, w + r * stride + b * F::kBytes,
                  (blocks - b) * F::kBytes);
      AddBlocks<F>(rest, x.quants + b * kBlock, x.scales + b, x.sums + b,
                   &sums[r]);
    }
  }
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
