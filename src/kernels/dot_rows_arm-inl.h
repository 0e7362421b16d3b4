// The rows of dot_rows.h, compiled once for each set of instructions.
//
// Everything is in an unnamed namespace and no inline function of another
// header is called: the linker keeps one copy of those, and must not keep one
// with instructions that another processor lacks.

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/dot_rows.h"

#define DAPPLE_INLINE inline __attribute__((always_inline))

namespace dapple::kernels {
namespace {

// Four rows of weights that walk along together.
struct FourRows {
  const uint8_t* row[4];

  DAPPLE_INLINE FourRows(const uint8_t* w, size_t stride)
      : row{w, w + stride, w + 2 * stride, w + 3 * stride} {}
  DAPPLE_INLINE void Advance(size_t bytes) {
    for (const uint8_t*& r : row) r += bytes;
  }
};

// start + the products of 16 weights, in any four parts.
DAPPLE_INLINE int32x4_t Dot16(int8x16_t w, int8x16_t x, int32x4_t start) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(start, w, x);
#else
  // Two products of at most 128 * 127 fit 16 bits.
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
  return vpadalq_s16(start, vmlal_high_s8(low, w, x));
#endif
}

// start + the products of 32 weights between -31 and 63.
DAPPLE_INLINE int32x4_t DotSmall32(int8x16_t w0, int8x16_t w1, int8x16_t x0,
                                   int8x16_t x1, int32x4_t start) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(vdotq_s32(start, w0, x0), w1, x1);
#else
  // Four products of at most 63 * 127 fit 16 bits.
  int16x8_t sum = vmull_s8(vget_low_s8(w0), vget_low_s8(x0));
  sum = vmlal_high_s8(sum, w0, x0);
  sum = vmlal_s8(sum, vget_low_s8(w1), vget_low_s8(x1));
  sum = vmlal_high_s8(sum, w1, x1);
  return vpadalq_s16(start, sum);
#endif
}

// Lane r: the sum of dots[r].
DAPPLE_INLINE int32x4_t SumEach(const int32x4_t dots[4]) {
  return vpaddq_s32(vpaddq_s32(dots[0], dots[1]), vpaddq_s32(dots[2], dots[3]));
}

// Lane r: the f16 at rows.row[r] as float.
DAPPLE_INLINE float32x4_t Halves(const FourRows& rows) {
  uint16x4_t bits =
      vld1_dup_u16(reinterpret_cast<const uint16_t*>(rows.row[0]));
  bits = vld1_lane_u16(reinterpret_cast<const uint16_t*>(rows.row[1]), bits, 1);
  bits = vld1_lane_u16(reinterpret_cast<const uint16_t*>(rows.row[2]), bits, 2);
  bits = vld1_lane_u16(reinterpret_cast<const uint16_t*>(rows.row[3]), bits, 3);
  return vcvt_f32_f16(vreinterpret_f16_u16(bits));
}

// ---- Blocks of 32 -----------------------------------------------------------

struct Q8_0 {
  static constexpr size_t kElements = 32, kBytes = sizeof(BlockQ8_0);

  static DAPPLE_INLINE float32x4_t Four(FourRows rows, size_t blocks,
                                        const BlockActivation* x) {
    float32x4_t sum = vdupq_n_f32(0.0f);
    for (size_t b = 0; b < blocks; ++b, ++x) {
      const int8x16_t x0 = vld1q_s8(x->quants), x1 = vld1q_s8(x->quants + 16);
      int32x4_t dots[4];
      for (size_t r = 0; r < 4; ++r) {
        const auto* w = reinterpret_cast<const int8_t*>(rows.row[r] + 2);
        const int32x4_t first = Dot16(vld1q_s8(w), x0, vdupq_n_s32(0));
        dots[r] = Dot16(vld1q_s8(w + 16), x1, first);
      }
      const float32x4_t scales = vmulq_n_f32(Halves(rows), x->scale);
      sum = vfmaq_f32(sum, vcvtq_f32_s32(SumEach(dots)), scales);
      rows.Advance(kBytes);
    }
    return sum;
  }
};

struct Q4_0 {
  static constexpr size_t kElements = 32, kBytes = sizeof(BlockQ4_0);

  static DAPPLE_INLINE float32x4_t Four(FourRows rows, size_t blocks,
                                        const BlockActivation* x) {
    const uint8x16_t low = vdupq_n_u8(15);
    const int8x16_t minus_eight = vdupq_n_s8(-8);
    float32x4_t sum = vdupq_n_f32(0.0f);
    for (size_t b = 0; b < blocks; ++b, ++x) {
      const int8x16_t x0 = vld1q_s8(x->quants), x1 = vld1q_s8(x->quants + 16);
      // What nibbles have too much, taken off once for all rows.
      const int32x4_t start =
          DotSmall32(minus_eight, minus_eight, x0, x1, vdupq_n_s32(0));
      int32x4_t dots[4];
      for (size_t r = 0; r < 4; ++r) {
        const uint8x16_t both = vld1q_u8(rows.row[r] + 2);
        dots[r] =
            DotSmall32(vreinterpretq_s8_u8(vandq_u8(both, low)),
                       vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), x0, x1, start);
      }
      const float32x4_t scales = vmulq_n_f32(Halves(rows), x->scale);
      sum = vfmaq_f32(sum, vcvtq_f32_s32(SumEach(dots)), scales);
      rows.Advance(kBytes);
    }
    return sum;
  }
};

// ---- Superblocks of 256 -----------------------------------------------------

// out[i], lane r: word i of the 16 bytes at rows.row[r] + offset.
DAPPLE_INLINE void TransposeWords(const FourRows& rows, size_t offset,
                                  uint32x4_t out[4]) {
  uint32x4_t in[4];
  for (size_t r = 0; r < 4; ++r)
    in[r] = vreinterpretq_u32_u8(vld1q_u8(rows.row[r] + offset));
  const auto wide = [](uint32x4_t v) { return vreinterpretq_u64_u32(v); };
  const uint64x2_t even01 = wide(vtrn1q_u32(in[0], in[1]));
  const uint64x2_t odd01 = wide(vtrn2q_u32(in[0], in[1]));
  const uint64x2_t even23 = wide(vtrn1q_u32(in[2], in[3]));
  const uint64x2_t odd23 = wide(vtrn2q_u32(in[2], in[3]));
  out[0] = vreinterpretq_u32_u64(vtrn1q_u64(even01, even23));
  out[1] = vreinterpretq_u32_u64(vtrn1q_u64(odd01, odd23));
  out[2] = vreinterpretq_u32_u64(vtrn2q_u64(even01, even23));
  out[3] = vreinterpretq_u32_u64(vtrn2q_u64(odd01, odd23));
}

// Byte kByte of each lane, as float. The conversion divides by a power of two.
template <int kByte>
DAPPLE_INLINE float32x4_t ByteToFloat(uint32x4_t words) {
  const uint32x4_t bytes = vandq_u32(words, vdupq_n_u32(0xFFu << (8 * kByte)));
  if constexpr (kByte == 0)
    return vcvtq_f32_u32(bytes);
  else
    return vcvtq_n_f32_u32(bytes, 8 * kByte);
}

struct Q4_K {
  static constexpr size_t kElements = 256, kBytes = sizeof(BlockQ4_K);

  // A fourth of a superblock: parts 2 * kPair and 2 * kPair + 1, whose scales
  // and minima are bytes of the words.
  template <int kPair>
  static DAPPLE_INLINE void Pair(const FourRows& rows, const BlockActivation* x,
                                 uint32x4_t scales, uint32x4_t minima,
                                 float32x4_t* sum, float32x4_t* min_sum) {
    constexpr int kByte = kPair % 2 * 2;
    const BlockActivation& a = x[2 * kPair];
    const BlockActivation& b = x[2 * kPair + 1];
    const int8x16_t a0 = vld1q_s8(a.quants), a1 = vld1q_s8(a.quants + 16);
    const int8x16_t b0 = vld1q_s8(b.quants), b1 = vld1q_s8(b.quants + 16);
    const uint8x16_t low = vdupq_n_u8(15);
    int32x4_t low_dots[4], high_dots[4];
    for (size_t r = 0; r < 4; ++r) {
      const uint8_t* w = rows.row[r] + 16 + 32 * kPair;
      const uint8x16_t w0 = vld1q_u8(w), w1 = vld1q_u8(w + 16);
      low_dots[r] = DotSmall32(vreinterpretq_s8_u8(vandq_u8(w0, low)),
                               vreinterpretq_s8_u8(vandq_u8(w1, low)), a0, a1,
                               vdupq_n_s32(0));
      high_dots[r] = DotSmall32(vreinterpretq_s8_u8(vshrq_n_u8(w0, 4)),
                                vreinterpretq_s8_u8(vshrq_n_u8(w1, 4)), b0, b1,
                                vdupq_n_s32(0));
    }
    *sum = vfmaq_f32(*sum, vcvtq_f32_s32(SumEach(low_dots)),
                     vmulq_n_f32(ByteToFloat<kByte>(scales), a.scale));
    *sum = vfmaq_f32(*sum, vcvtq_f32_s32(SumEach(high_dots)),
                     vmulq_n_f32(ByteToFloat<kByte + 1>(scales), b.scale));
    *min_sum = vfmaq_n_f32(*min_sum, ByteToFloat<kByte>(minima), a.sum);
    *min_sum = vfmaq_n_f32(*min_sum, ByteToFloat<kByte + 1>(minima), b.sum);
  }

  static DAPPLE_INLINE float32x4_t Four(FourRows rows, size_t blocks,
                                        const BlockActivation* x) {
    float32x4_t sum = vdupq_n_f32(0.0f);
    for (size_t b = 0; b < blocks; ++b, x += 8) {
      // Words: scale and minimum, then the twelve bytes of group scales
      // (BlockQ4_K says how they are packed).
      uint32x4_t words[4];
      TransposeWords(rows, 0, words);
      const uint32x4_t six = vdupq_n_u32(0x3F3F3F3Fu);
      const uint32x4_t four = vdupq_n_u32(0x0F0F0F0Fu);
      const uint32x4_t two = vdupq_n_u32(0x30303030u);
      const uint32x4_t scales0 = vandq_u32(words[1], six);
      const uint32x4_t minima0 = vandq_u32(words[2], six);
      const uint32x4_t scales1 = vorrq_u32(
          vandq_u32(words[3], four), vandq_u32(vshrq_n_u32(words[1], 2), two));
      const uint32x4_t minima1 =
          vorrq_u32(vandq_u32(vshrq_n_u32(words[3], 4), four),
                    vandq_u32(vshrq_n_u32(words[2], 2), two));
      float32x4_t block_sum = vdupq_n_f32(0.0f);
      float32x4_t min_sum = vdupq_n_f32(0.0f);
      Pair<0>(rows, x, scales0, minima0, &block_sum, &min_sum);
      Pair<1>(rows, x, scales0, minima0, &block_sum, &min_sum);
      Pair<2>(rows, x, scales1, minima1, &block_sum, &min_sum);
      Pair<3>(rows, x, scales1, minima1, &block_sum, &min_sum);
      const float32x4_t scale =
          vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(words[0])));
      const float32x4_t minimum =
          vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(words[0], 16)));
      sum = vfmaq_f32(sum, block_sum, scale);
      sum = vfmsq_f32(sum, min_sum, minimum);
      rows.Advance(kBytes);
    }
    return sum;
  }
};

struct Q6_K {
  static constexpr size_t kElements = 256, kBytes = sizeof(BlockQ6_K);

  // Byte kByte of each lane, with its sign.
  template <int kByte>
  static DAPPLE_INLINE int32x4_t SignedByte(uint32x4_t words) {
    const int32x4_t top = vreinterpretq_s32_u32(
        kByte == 3 ? words
                   : vshlq_n_u32(words, kByte == 3 ? 0 : 24 - 8 * kByte));
    return vshrq_n_s32(top, 24);
  }

  // Part kPart: two groups of 16, whose scales are bytes of `scales`.
  template <int kPart>
  static DAPPLE_INLINE void Part(const FourRows& rows, const BlockActivation* x,
                                 uint32x4_t scales, float32x4_t* sum) {
    constexpr int kHalf = kPart / 4, kQuarter = kPart % 4;
    const int8x16_t minus_32 = vdupq_n_s8(-32);
    int32x4_t group_sums[2];
    for (size_t g = 0; g < 2; ++g) {
      const int8x16_t xq = vld1q_s8(x[kPart].quants + 16 * g);
      const int32x4_t start = Dot16(minus_32, xq, vdupq_n_s32(0));
      int32x4_t dots[4];
      for (size_t r = 0; r < 4; ++r) {
        const uint8_t* w = rows.row[r] + 16 * g;
        const uint8x16_t both = vld1q_u8(w + 64 * kHalf + 32 * (kQuarter % 2));
        const uint8x16_t high = vld1q_u8(w + 128 + 32 * kHalf);
        const uint8x16_t four =
            kQuarter < 2 ? vandq_u8(both, vdupq_n_u8(15)) : vshrq_n_u8(both, 4);
        uint8x16_t two = high;
        if constexpr (kQuarter > 0)
          two = vshrq_n_u8(high, kQuarter > 0 ? 2 * kQuarter : 1);
        // Bits above the sixth are the next quarters'.
        const uint8x16_t six =
            vandq_u8(vsliq_n_u8(four, two, 4), vdupq_n_u8(63));
        dots[r] = Dot16(vreinterpretq_s8_u8(six), xq, start);
      }
      group_sums[g] = SumEach(dots);
    }
    constexpr int kByte = kPart % 2 * 2;
    const int32x4_t total =
        vmlaq_s32(vmulq_s32(group_sums[0], SignedByte<kByte>(scales)),
                  group_sums[1], SignedByte<kByte + 1>(scales));
    *sum = vfmaq_n_f32(*sum, vcvtq_f32_s32(total), x[kPart].scale);
  }

  static DAPPLE_INLINE float32x4_t Four(FourRows rows, size_t blocks,
                                        const BlockActivation* x) {
    float32x4_t sum = vdupq_n_f32(0.0f);
    for (size_t b = 0; b < blocks; ++b, x += 8) {
      uint32x4_t scales[4];
      TransposeWords(rows, 192, scales);
      float32x4_t block_sum = vdupq_n_f32(0.0f);
      Part<0>(rows, x, scales[0], &block_sum);
      Part<1>(rows, x, scales[0], &block_sum);
      Part<2>(rows, x, scales[1], &block_sum);
      Part<3>(rows, x, scales[1], &block_sum);
      Part<4>(rows, x, scales[2], &block_sum);
      Part<5>(rows, x, scales[2], &block_sum);
      Part<6>(rows, x, scales[3], &block_sum);
      Part<7>(rows, x, scales[3], &block_sum);
      FourRows block_scales = rows;
      block_scales.Advance(208);
      sum = vfmaq_f32(sum, block_sum, Halves(block_scales));
      rows.Advance(kBytes);
    }
    return sum;
  }
};

// A row left over runs as all four of a block: the same operations.
template <class Format>
void Rows(const uint8_t* w, size_t stride, size_t k, size_t rows,
          const BlockActivation* x, float* y) {
  const size_t blocks = k / Format::kElements;
  size_t r = 0;
  for (; r + 4 <= rows; r += 4)
    vst1q_f32(y + r, Format::Four(FourRows(w + r * stride, stride), blocks, x));
  for (; r < rows; ++r)
    y[r] =
        vgetq_lane_f32(Format::Four(FourRows(w + r * stride, 0), blocks, x), 0);
}

}  // namespace
}  // namespace dapple::kernels
