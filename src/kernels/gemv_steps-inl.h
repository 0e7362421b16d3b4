// Matrix-vector products with q4_0 and q4_1 on AVX2, which has no dot product
// of bytes: eight blocks of 32 make a step, in which their sums are brought
// together, one a lane, so that widening, converting and scaling are done once
// for all of them. gemv-inl.h's general way does it for each block, which is
// faster for q8_0 where it comes from memory: twice as many bytes.
//
// Activations are laid out anew for it, once a call. Offsets (q4_0's 8) and
// minima meet the activations' sums.
//
// The intrinsics are those of the one target that this is for.
#if defined(DAPPLE_KERNELS_GEMV_STEPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_GEMV_STEPS_INL_H_
#undef DAPPLE_KERNELS_GEMV_STEPS_INL_H_
#else
#define DAPPLE_KERNELS_GEMV_STEPS_INL_H_
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
namespace steps {

inline constexpr size_t kStep = 8;  // blocks
// Longer rows go the general way.
inline constexpr size_t kMaxBlocks = 1024;
// Blocks that do not fill a step make steps of 4, 2 and 1 of two rows each.
inline constexpr size_t kMaxSteps = kMaxBlocks / kStep + 3;

template <class F>
inline constexpr bool kTakes =
    std::is_same_v<F, FormatQ4_0> || std::is_same_v<F, FormatQ4_1>;

// Which block has which lane of a step: lane i of one row is its block
// BlockOf(i); of two rows, lane i is row i / 4's block i % 4.
constexpr size_t BlockOf(size_t lane) { return lane % 4 * 2 + lane / 4; }

// 45 KiB of stack at most.
struct Activations {
  // Of each step's lanes, 0 where it has no block.
  float scales[kMaxSteps][kStep];
  float sums[kMaxSteps][kStep];  // of q4_0 times -8
  // Of each step: of lanes i and i + 4 the first 16, then the last 16, for each
  // i in [0, 4).
  alignas(32) int8_t quants[kMaxSteps][kStep * kBlock];
};

template <class F>
HWY_INLINE void Arrange(const BlockActivation* x, size_t blocks,
                        Activations* out) {
  const float factor = F::kHasMin ? 1.0f : -static_cast<float>(F::kOffset);
  size_t s = 0;
  // Lane i: block first + block(i) if that is below `count`.
  const auto arrange = [&](size_t first, size_t count, auto&& block) {
    for (size_t lane = 0; lane < kStep; ++lane) {
      const size_t b = block(lane);
      const bool is_there = b < count;
      const BlockActivation& from = x[first + (is_there ? b : 0)];
      out->scales[s][lane] = is_there ? from.scale : 0.0f;
      out->sums[s][lane] = is_there ? factor * from.sum : 0.0f;
      int8_t* to = out->quants[s] + lane % 4 * (2 * kBlock) + lane / 4 * 16;
      std::memcpy(to, from.quants, 16);
      std::memcpy(to + kBlock, from.quants + 16, 16);
    }
    ++s;
  };
  size_t b = 0;
  for (; b + kStep <= blocks; b += kStep) arrange(b, kStep, BlockOf);
  for (size_t count : {4, 2, 1}) {
    if ((blocks & count) == 0) continue;
    arrange(b, count, [](size_t lane) { return lane % 4; });
    b += count;
  }
}

// ---- A step's blocks --------------------------------------------------------

// Eight blocks of a row.
template <class F>
struct OneRow {
  const uint8_t* row;
  static constexpr bool Has(size_t /*lane*/) { return true; }
  HWY_INLINE const uint8_t* At(size_t lane) const {
    return row + BlockOf(lane) * F::kBytes;
  }
};

// kCount blocks of each of two rows: 4, 2 or 1.
template <class F, size_t kCount>
struct TwoRows {
  const uint8_t* rows[2];
  static constexpr bool Has(size_t lane) { return lane % 4 < kCount; }
  HWY_INLINE const uint8_t* At(size_t lane) const {
    return rows[lane / 4] + lane % 4 * F::kBytes;
  }
};

HWY_INLINE __m128i Load128(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

struct Scales {
  __m256 scales;
  __m256 mins;  // q4_1's, else the scales
};

// Of each lane's block, from its first two f16. Nothing outside of the blocks
// is read.
template <class F, class Blocks>
HWY_INLINE Scales ReadScales(const Blocks& blocks) {
  const auto begin = [&](size_t lane) HWY_ATTR {
    return Blocks::Has(lane) ? Load128(blocks.At(lane)) : _mm_setzero_si128();
  };
  // Scales of four lanes, then their minima.
  const auto four = [&](size_t lane) HWY_ATTR {
    return _mm_unpacklo_epi32(
        _mm_unpacklo_epi16(begin(lane), begin(lane + 1)),
        _mm_unpacklo_epi16(begin(lane + 2), begin(lane + 3)));
  };
  const __m128i low = four(0), high = four(4);
  const __m256 scales = _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high));
  if constexpr (!F::kHasMin) return {scales, scales};
  return {scales, _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high))};
}

// ---- A step's products ------------------------------------------------------

// Products of two blocks' nibbles with activations, four a lane of 16 bits: at
// most 4 * 15 * 127.
template <class F>
HWY_INLINE __m256i PairOfNibbles(const uint8_t* low, const uint8_t* high,
                                 const int8_t* quants) {
  constexpr size_t kSkip = F::kBytes - 16;
  const __m256i both = _mm256_inserti128_si256(
      _mm256_castsi128_si256(Load128(low + kSkip)), Load128(high + kSkip), 1);
  const __m256i mask = _mm256_set1_epi8(15);
  const auto* x = reinterpret_cast<const __m256i*>(quants);
  return _mm256_add_epi16(
      _mm256_maddubs_epi16(_mm256_and_si256(both, mask), _mm256_load_si256(x)),
      _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(both, 4), mask),
                           _mm256_load_si256(x + 1)));
}

// The dot product of each lane's block.
template <class F, class Blocks>
HWY_INLINE __m256i StepDots(const Blocks& blocks, const int8_t* quants) {
  const auto pair = [&](size_t i) HWY_ATTR {
    return Blocks::Has(i) ? PairOfNibbles<F>(blocks.At(i), blocks.At(i + 4),
                                             quants + i * (2 * kBlock))
                          : _mm256_setzero_si256();
  };
  // Two pairs' halves added up, then four pairs' quarters: at most 16 * 15 *
  // 127 < 2^15 in a lane.
  const auto fold = [](__m256i a, __m256i b) HWY_ATTR {
    return _mm256_castsi256_ps(_mm256_add_epi16(_mm256_unpacklo_epi64(a, b),
                                                _mm256_unpackhi_epi64(a, b)));
  };
  const __m256 a = fold(pair(0), pair(1)), b = fold(pair(2), pair(3));
  const __m256i eighths =
      _mm256_add_epi16(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)),
                       _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD)));
  return _mm256_madd_epi16(eighths, _mm256_set1_epi16(1));
}

// ---- Rows -------------------------------------------------------------------

struct Sums {
  __m256 dots;
  __m256 mins;
};

// Step s.
template <class F, class Blocks>
HWY_INLINE void AddStep(const Blocks& blocks, const Activations& x, size_t s,
                        Sums* sums) {
  const Scales read = ReadScales<F>(blocks);
  const __m256 scale = _mm256_mul_ps(read.scales, _mm256_loadu_ps(x.scales[s]));
  sums->mins =
      _mm256_fmadd_ps(read.mins, _mm256_loadu_ps(x.sums[s]), sums->mins);
  const __m256i dots = StepDots<F>(blocks, x.quants[s]);
  sums->dots = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, sums->dots);
}

// Two rows, stride bytes apart; y: [2]. stride 0: the same row twice.
template <class F>
HWY_INLINE void TwoOfRows(const uint8_t* w, size_t stride, size_t blocks,
                          const Activations& x, float* y) {
  Sums sums[2];
  HWY_UNROLL(2)
  for (size_t r = 0; r < 2; ++r)
    sums[r].dots = sums[r].mins = _mm256_setzero_ps();
  const uint8_t* next =
      w + (2 * stride > kPrefetchLead ? 2 * stride : kPrefetchLead);
  size_t b = 0, s = 0;
  for (; b + kStep <= blocks; b += kStep, ++s) {
    const uint8_t* at = w + b * F::kBytes;
    HWY_UNROLL(2)
    for (size_t r = 0; r < 2; ++r) {
      // Half of it each time: lines asked for all at once queue up.
      PrefetchRange<kStep * F::kBytes>(next);
      next += kStep * F::kBytes;
      AddStep<F>(OneRow<F>{at + r * stride}, x, s, &sums[r]);
    }
  }
  // From here on four lanes a row.
  const auto fold = [](__m256 v0, __m256 v1) HWY_ATTR {
    return _mm256_add_ps(_mm256_permute2f128_ps(v0, v1, 0x20),
                         _mm256_permute2f128_ps(v0, v1, 0x31));
  };
  Sums both{fold(sums[0].dots, sums[1].dots), fold(sums[0].mins, sums[1].mins)};
  const auto add = [&]<size_t kCount>() HWY_ATTR {
    if ((blocks & kCount) == 0) return;
    const uint8_t* at = w + b * F::kBytes;
    AddStep<F>(TwoRows<F, kCount>{{at, at + stride}}, x, s, &both);
    b += kCount;
    ++s;
  };
  add.template operator()<4>();
  add.template operator()<2>();
  add.template operator()<1>();
  __m256 v = _mm256_add_ps(both.dots, both.mins);
  v = _mm256_add_ps(v, _mm256_permute_ps(v, 0b01001110));
  v = _mm256_add_ps(v, _mm256_movehdup_ps(v));
  y[0] = _mm256_cvtss_f32(v);
  y[1] = _mm_cvtss_f32(_mm256_extractf128_ps(v, 1));
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
    TwoOfRows<F>(w + r * stride, stride, blocks, arranged, y + r);
  if (r < last) {
    float twice[2];
    TwoOfRows<F>(w + r * stride, 0, blocks, arranged, twice);
    y[r] = twice[0];
  }
}

}  // namespace steps
}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET == HWY_AVX2

#endif  // per-target include guard
