// The int8 GEMM of x86 without VNNI: pmaddubsw multiplies unsigned bytes by
// signed ones and adds two products in 16 bits.
//
// With quants of 4 bits all 16 products of a lane's group fit 16 bits
// (16 · 15 · 127 < 2^15), and with 5 bits 8 of them (8 · 31 · 127), so one
// widening addition serves eight or four multiplications. Signed bytes have
// their sign moved to the other factor and are widened every time.
//
// On AVX2 a register block is four rows by two vectors: eight sums of integers,
// two weights, an activation. The float sums stay in memory, in the L1 cache.

// Per-target include guard.
#if defined(DAPPLE_GEMM_INT8_MADDUBS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_INT8_MADDUBS_INL_H_
#undef DAPPLE_GEMM_INT8_MADDUBS_INL_H_
#else
#define DAPPLE_GEMM_INT8_MADDUBS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "gemm/int8_gemm.h"
#include "hwy/highway.h"

// AVX2 and older; the product is emulated on SSE2.
#undef DAPPLE_MADDUBS
#define DAPPLE_MADDUBS \
  (HWY_ARCH_X86 && HWY_TARGET >= HWY_AVX2 && HWY_TARGET <= HWY_SSE2)

#if DAPPLE_MADDUBS
HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace maddubs {

namespace hn = hwy::HWY_NAMESPACE;

using int8_gemm::Block;
using int8_gemm::kGroup;
using int8_gemm::kPanelWidth;
using int8_gemm::kSliceGroups;
using int8_gemm::PanelGroup;
using int8_gemm::Quants;

inline constexpr size_t kQuad = 4;
inline constexpr size_t kQuads = kGroup / kQuad;
inline constexpr size_t kTileRows = 4;
inline constexpr size_t kTileVectors = 2;
inline constexpr size_t kRowBytes = int8_gemm::RowGroupBytes(1, true);
inline constexpr size_t kHeader = kRowBytes - kGroup;

using DF = hn::CappedTag<float, kPanelWidth / 2>;
using DI32 = hn::Repartition<int32_t, DF>;
using DI16 = hn::Repartition<int16_t, DF>;
using DI8 = hn::Repartition<int8_t, DF>;
using DU8 = hn::Repartition<uint8_t, DF>;
using VI32 = hn::Vec<DI32>;
using VI16 = hn::Vec<DI16>;

// Keeps a value in a register, where it is: GCC would begin all products of an
// unrolled group at once to add them up pairwise, and run out of registers.
template <class V>
HWY_INLINE void Pin(V& v) {
  asm("" : "+x"(v.raw));
}

HWY_INLINE hn::Vec<DI8> FourOf(const uint8_t* row, size_t quad) {
  int32_t four;
  std::memcpy(&four, row + kHeader + quad * kQuad, kQuad);
  return hn::BitCast(DI8(), hn::Set(DI32(), four));
}

// Sums of a group: dot[r][v] = Σ w x, four neighbours a lane.
template <Quants kKind>
HWY_INLINE void Dot(const int8_t* HWY_RESTRICT quants,
                    const uint8_t* HWY_RESTRICT rows, size_t row_stride,
                    VI32 (&dot)[kTileRows][kTileVectors]) {
  const size_t n = hn::Lanes(DF());
  const VI16 one = hn::Set(DI16(), int16_t{1});
  if constexpr (kKind == Quants::kSigned) {
    HWY_UNROLL(4)
    for (size_t r = 0; r < kTileRows; ++r)
      dot[r][0] = dot[r][1] = hn::Zero(DI32());
    HWY_UNROLL(8)
    for (size_t q = 0; q < kQuads; ++q) {
      hn::Vec<DI8> w[kTileVectors];
      hn::Vec<DU8> magnitude[kTileVectors];
      HWY_UNROLL(2)
      for (size_t v = 0; v < kTileVectors; ++v) {
        w[v] = hn::Load(DI8(), quants + (q * kPanelWidth + v * n) * kQuad);
        magnitude[v] = hn::BitCast(DU8(), hn::Abs(w[v]));
      }
      HWY_UNROLL(4)
      for (size_t r = 0; r < kTileRows; ++r) {
        const auto x = FourOf(rows + r * row_stride, q);
        HWY_UNROLL(2)
        for (size_t v = 0; v < kTileVectors; ++v) {
          // 2 * 128 * 127 fits: the saturation never happens.
          const VI16 pairs = hn::SatWidenMulPairwiseAdd(
              DI16(), magnitude[v],
              hn::IfNegativeThenNegOrUndefIfZero(w[v], x));
          dot[r][v] =
              hn::Add(dot[r][v], hn::WidenMulPairwiseAdd(DI32(), pairs, one));
          Pin(dot[r][v]);
        }
      }
    }
  } else {
    constexpr size_t kFit = kKind == Quants::kFourBits ? 8 : 4;
    HWY_UNROLL(2)
    for (size_t first = 0; first < kQuads; first += kFit) {
      VI16 sums[kTileRows][kTileVectors];
      HWY_UNROLL(8)
      for (size_t q = 0; q < kFit; ++q) {
        hn::Vec<DU8> w[kTileVectors];
        HWY_UNROLL(2)
        for (size_t v = 0; v < kTileVectors; ++v)
          w[v] = hn::BitCast(
              DU8(),
              hn::Load(DI8(),
                       quants + ((first + q) * kPanelWidth + v * n) * kQuad));
        HWY_UNROLL(4)
        for (size_t r = 0; r < kTileRows; ++r) {
          const auto x = FourOf(rows + r * row_stride, first + q);
          HWY_UNROLL(2)
          for (size_t v = 0; v < kTileVectors; ++v) {
            const VI16 pairs = hn::SatWidenMulPairwiseAdd(DI16(), w[v], x);
            sums[r][v] = q == 0 ? pairs : hn::Add(sums[r][v], pairs);
            Pin(sums[r][v]);
          }
        }
      }
      HWY_UNROLL(4)
      for (size_t r = 0; r < kTileRows; ++r) {
        HWY_UNROLL(2)
        for (size_t v = 0; v < kTileVectors; ++v) {
          const VI32 wide = hn::WidenMulPairwiseAdd(DI32(), sums[r][v], one);
          dot[r][v] = first == 0 ? wide : hn::Add(dot[r][v], wide);
        }
      }
    }
  }
}

// Adds the products of `count` groups to sums [kTileRows, kPanelWidth], columns
// [column, column + 2 * lanes). rows: row_stride bytes apart.
template <Quants kKind>
HWY_NOINLINE void MultiplyTile(const PanelGroup* HWY_RESTRICT panel,
                               const uint8_t* HWY_RESTRICT rows,
                               size_t row_stride, size_t count, size_t column,
                               float* HWY_RESTRICT sums) {
  const DF d;
  const size_t n = hn::Lanes(d);
  for (size_t g = 0; g < count; ++g, ++panel, rows += kRowBytes) {
    VI32 dot[kTileRows][kTileVectors];
    Dot<kKind>(panel->quants + column * kQuad, rows, row_stride, dot);
    HWY_UNROLL(2)
    for (size_t v = 0; v < kTileVectors; ++v) {
      const auto scale = hn::Load(d, panel->scales + column + v * n);
      const auto min = hn::Load(d, panel->mins + column + v * n);
      HWY_UNROLL(4)
      for (size_t r = 0; r < kTileRows; ++r) {
        float row[2];  // scale, sum
        std::memcpy(row, rows + r * row_stride, sizeof(row));
        float* to = sums + r * kPanelWidth + column + v * n;
        auto sum =
            hn::MulAdd(hn::ConvertTo(d, dot[r][v]),
                       hn::Mul(scale, hn::Set(d, row[0])), hn::Load(d, to));
        if constexpr (kKind != Quants::kSigned)
          sum = hn::NegMulAdd(min, hn::Set(d, row[1]), sum);
        hn::Store(sum, d, to);
      }
    }
  }
}

template <Quants kKind>
HWY_INLINE void MultiplyKind(const Block& block) {
  const size_t width = kTileVectors * hn::Lanes(DF());
  const size_t padded =
      (block.row_count + kTileRows - 1) / kTileRows * kTileRows;
  std::memset(block.sums, 0, padded * kPanelWidth * sizeof(float));
  for (size_t first = 0; first < block.groups; first += kSliceGroups) {
    const size_t count = std::min(kSliceGroups, block.groups - first);
    for (size_t r = 0; r < padded; r += kTileRows)
      for (size_t c = 0; c < kPanelWidth; c += width)
        MultiplyTile<kKind>(block.panel + first,
                            block.rows + (r * block.groups + first) * kRowBytes,
                            block.groups * kRowBytes, count, c,
                            block.sums + r * kPanelWidth);
  }
}

}  // namespace maddubs

void MultiplyMaddubs(const int8_gemm::Block& block) {
  switch (block.kind) {
    case int8_gemm::Quants::kSigned:
      return maddubs::MultiplyKind<int8_gemm::Quants::kSigned>(block);
    case int8_gemm::Quants::kFourBits:
      return maddubs::MultiplyKind<int8_gemm::Quants::kFourBits>(block);
    case int8_gemm::Quants::kFiveBits:
      return maddubs::MultiplyKind<int8_gemm::Quants::kFiveBits>(block);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();
#endif  // DAPPLE_MADDUBS

#endif  // per-target include guard
