// The int8 GEMM of x86 without VNNI: pmaddubsw multiplies unsigned bytes by
// signed ones and adds two products in 16 bits.
//
// With quants of 4 bits all 16 products of a lane's group fit 16 bits
// (16 · 15 · 127 < 2^15), and with 5 bits 8 of them (8 · 31 · 127), so one
// widening addition serves eight or four multiplications. Signed bytes have
// their sign moved to the other factor and are widened every time.
//
// A group's scale of a row is an integer times the row's own, so that the
// widening of its sums to 32 bits, a multiplication anyway, takes it in. That
// of the columns is a float.
//
// On AVX2 a register block is six rows by two vectors: twelve sums of integers,
// two weights, an activation, a product; or four rows where the products are
// widened within a group. The float sums stay in memory, in the L1 cache.

// Per-target include guard.
#if defined(DAPPLE_GEMM_INT8_MADDUBS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_INT8_MADDUBS_INL_H_
#undef DAPPLE_GEMM_INT8_MADDUBS_INL_H_
#else
#define DAPPLE_GEMM_INT8_MADDUBS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "gemm/int8_gemm.h"
#include "hwy/cache_control.h"
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
using int8_gemm::RowGroupHeader;

inline constexpr size_t kQuad = 4;
inline constexpr size_t kQuads = kGroup / kQuad;
// Divide 12.
template <Quants kKind>
inline constexpr size_t kTileRows =
    kKind == Quants::kFourBits || kKind == Quants::kCentredFourBits ? 6 : 4;
inline constexpr size_t kTileVectors = 2;
inline constexpr size_t kRowBytes = int8_gemm::RowGroupBytes(1, true);
inline constexpr size_t kHeader = sizeof(RowGroupHeader);

using DF = hn::CappedTag<float, kPanelWidth / 2>;
using DI32 = hn::Repartition<int32_t, DF>;
using DI16 = hn::Repartition<int16_t, DF>;
using DI8 = hn::Repartition<int8_t, DF>;
using DU8 = hn::Repartition<uint8_t, DF>;
using VI32 = hn::Vec<DI32>;
using VI16 = hn::Vec<DI16>;

// Keeps values in registers, where they are: GCC would begin all products of an
// unrolled group at once to add them up pairwise, and run out of registers.
template <class V>
HWY_INLINE void Pin(V& v, V& w) {
  asm("" : "+x"(v.raw), "+x"(w.raw));
}

// In a row's header.
inline constexpr size_t kScaleAt = offsetof(RowGroupHeader, scale);
inline constexpr size_t kSumAt = offsetof(RowGroupHeader, sum);
inline constexpr size_t kCentresAt = offsetof(RowGroupHeader, centres);

// Four bytes of a row, repeated.
HWY_INLINE VI32 FourAt(const uint8_t* from) {
  int32_t four;
  std::memcpy(&four, from, sizeof(four));
  return hn::Set(DI32(), four);
}

HWY_INLINE hn::Vec<DI8> FourOf(const uint8_t* row, size_t quad) {
  return hn::BitCast(DI8(), FourAt(row + kHeader + quad * kQuad));
}

// Sums of a group: dot[r][v] = m Σ w x, four neighbours a lane, m the row's
// multiple, or 1 of signed quants; of centred quants m Σ (w - kCentre) x. Sums
// in 16 bits may wrap on the way there, not at the end.
template <Quants kKind>
HWY_INLINE void Dot(const int8_t* HWY_RESTRICT quants,
                    const uint8_t* HWY_RESTRICT rows, size_t row_stride,
                    VI32 (&dot)[kTileRows<kKind>][kTileVectors]) {
  constexpr size_t kRows = kTileRows<kKind>;
  const size_t n = hn::Lanes(DF());
  if constexpr (kKind == Quants::kSigned) {
    const VI16 one = hn::Set(DI16(), int16_t{1});
    HWY_UNROLL(6)
    for (size_t r = 0; r < kRows; ++r) dot[r][0] = dot[r][1] = hn::Zero(DI32());
    HWY_UNROLL(8)
    for (size_t q = 0; q < kQuads; ++q) {
      hn::Vec<DI8> w[kTileVectors];
      hn::Vec<DU8> magnitude[kTileVectors];
      HWY_UNROLL(2)
      for (size_t v = 0; v < kTileVectors; ++v) {
        w[v] = hn::Load(DI8(), quants + (q * kPanelWidth + v * n) * kQuad);
        magnitude[v] = hn::BitCast(DU8(), hn::Abs(w[v]));
      }
      HWY_UNROLL(6)
      for (size_t r = 0; r < kRows; ++r) {
        const auto x = FourOf(rows + r * row_stride, q);
        HWY_UNROLL(2)
        for (size_t v = 0; v < kTileVectors; ++v) {
          // 2 * 128 * 127 fits: the saturation never happens.
          const VI16 pairs = hn::SatWidenMulPairwiseAdd(
              DI16(), magnitude[v],
              hn::IfNegativeThenNegOrUndefIfZero(w[v], x));
          dot[r][v] =
              hn::Add(dot[r][v], hn::WidenMulPairwiseAdd(DI32(), pairs, one));
        }
        Pin(dot[r][0], dot[r][1]);
      }
    }
  } else {
    constexpr bool kCentred = kKind == Quants::kCentredFourBits;
    constexpr size_t kFit = kKind == Quants::kFiveBits ? 4 : 8;
    HWY_UNROLL(2)
    for (size_t first = 0; first < kQuads; first += kFit) {
      VI16 sums[kRows][kTileVectors];
      if constexpr (kCentred) {
        HWY_UNROLL(6)
        for (size_t r = 0; r < kRows; ++r)
          sums[r][0] = sums[r][1] =
              hn::BitCast(DI16(), FourAt(rows + r * row_stride + kCentresAt));
      }
      HWY_UNROLL(8)
      for (size_t q = 0; q < kFit; ++q) {
        hn::Vec<DU8> w[kTileVectors];
        HWY_UNROLL(2)
        for (size_t v = 0; v < kTileVectors; ++v)
          w[v] = hn::BitCast(
              DU8(),
              hn::Load(DI8(),
                       quants + ((first + q) * kPanelWidth + v * n) * kQuad));
        HWY_UNROLL(6)
        for (size_t r = 0; r < kRows; ++r) {
          const auto x = FourOf(rows + r * row_stride, first + q);
          // Both products before the additions: faster in a loop of these
          // alone.
          VI16 pairs0 = hn::SatWidenMulPairwiseAdd(DI16(), w[0], x);
          VI16 pairs1 = hn::SatWidenMulPairwiseAdd(DI16(), w[1], x);
          Pin(pairs0, pairs1);
          const bool add = q != 0 || kCentred;
          sums[r][0] = add ? hn::Add(sums[r][0], pairs0) : pairs0;
          sums[r][1] = add ? hn::Add(sums[r][1], pairs1) : pairs1;
          Pin(sums[r][0], sums[r][1]);
        }
      }
      HWY_UNROLL(6)
      for (size_t r = 0; r < kRows; ++r) {
        const VI16 multiple =
            hn::BitCast(DI16(), FourAt(rows + r * row_stride));
        HWY_UNROLL(2)
        for (size_t v = 0; v < kTileVectors; ++v) {
          const VI32 wide =
              hn::WidenMulPairwiseAdd(DI32(), sums[r][v], multiple);
          dot[r][v] = first == 0 ? wide : hn::Add(dot[r][v], wide);
        }
      }
    }
  }
}

// Where float sums lie; null: they are zero.
struct Sums {
  float* at;
  size_t stride;
};

// to = from + the products of `count` groups, [kTileRows, 2 * lanes] from
// column `column` of the panel on, times the rows' scales unless null. rows and
// scales: row_stride bytes apart. ahead: likewise, rows [kTileRows / 2] to ask
// for, since so many short streams are not foreseen by the processor.
template <Quants kKind>
HWY_NOINLINE void MultiplyTile(const PanelGroup* HWY_RESTRICT panel,
                               const uint8_t* HWY_RESTRICT rows,
                               size_t row_stride, size_t count, size_t column,
                               const uint8_t* ahead, Sums from,
                               const uint8_t* scales, Sums to) {
  constexpr size_t kRows = kTileRows<kKind>;
  const DF d;
  const size_t n = hn::Lanes(d);
  HWY_ALIGN float sums[kRows][kTileVectors][hn::MaxLanes(d)];
  HWY_UNROLL(6)
  for (size_t r = 0; r < kRows; ++r) {
    // A store that waited for y's cache line would keep those of the sums
    // waiting.
    hwy::Prefetch(to.at + r * to.stride);
    hwy::Prefetch(to.at + r * to.stride + kTileVectors * n - 1);
    HWY_UNROLL(2)
    for (size_t v = 0; v < kTileVectors; ++v)
      hn::Store(from.at ? hn::LoadU(d, from.at + r * from.stride + v * n)
                        : hn::Zero(d),
                d, sums[r][v]);
  }
  for (size_t g = 0; g < count; ++g, ++panel, rows += kRowBytes) {
    VI32 dot[kRows][kTileVectors];
    Dot<kKind>(panel->quants + column * kQuad, rows, row_stride, dot);
    HWY_UNROLL(3)
    for (size_t r = 0; r < kRows / 2; ++r)
      hwy::Prefetch(ahead + r * row_stride + g * kRowBytes);
    HWY_UNROLL(6)
    for (size_t r = 0; r < kRows; ++r) {
      const uint8_t* row = rows + r * row_stride;
      HWY_UNROLL(2)
      for (size_t v = 0; v < kTileVectors; ++v) {
        auto scale = hn::Load(d, panel->scales + column + v * n);
        if constexpr (kKind == Quants::kSigned)
          scale = hn::Mul(scale, hn::BitCast(d, FourAt(row + kScaleAt)));
        auto sum = hn::MulAdd(hn::ConvertTo(d, dot[r][v]), scale,
                              hn::Load(d, sums[r][v]));
        if constexpr (kKind == Quants::kFourBits || kKind == Quants::kFiveBits)
          sum = hn::NegMulAdd(hn::Load(d, panel->mins + column + v * n),
                              hn::BitCast(d, FourAt(row + kSumAt)), sum);
        hn::Store(sum, d, sums[r][v]);
      }
    }
  }
  HWY_UNROLL(6)
  for (size_t r = 0; r < kRows; ++r) {
    const auto scale = scales == nullptr
                           ? hn::Set(d, 1.0f)
                           : hn::BitCast(d, FourAt(scales + r * row_stride));
    HWY_UNROLL(2)
    for (size_t v = 0; v < kTileVectors; ++v)
      hn::StoreU(hn::Mul(hn::Load(d, sums[r][v]), scale), d,
                 to.at + r * to.stride + v * n);
  }
}

template <Quants kKind>
HWY_INLINE void MultiplyKind(const Block& block) {
  constexpr size_t kRows = kTileRows<kKind>;
  const size_t width = kTileVectors * hn::Lanes(DF());
  const size_t padded = (block.row_count + kRows - 1) / kRows * kRows;
  const size_t stride = int8_gemm::PackedRowBytes(block.groups, true);
  // Rows whose tiles lie in y altogether; others come there from the sums.
  const size_t whole =
      block.columns == kPanelWidth ? block.row_count / kRows * kRows : 0;
  for (size_t first = 0; first < block.groups; first += kSliceGroups) {
    const size_t count = std::min(kSliceGroups, block.groups - first);
    const bool last = first + count == block.groups;
    for (size_t r = 0; r < padded; r += kRows) {
      const uint8_t* rows = block.rows + r * stride;
      const uint8_t* next = r + kRows < padded
                                ? rows + kRows * stride + first * kRowBytes
                                : block.rows + (first + count) * kRowBytes;
      for (size_t c = 0; c < kPanelWidth; c += width) {
        const Sums sums{block.sums + r * kPanelWidth + c, kPanelWidth};
        MultiplyTile<kKind>(
            block.panel + first, rows + first * kRowBytes, stride, count, c,
            next + (c == 0 ? 0 : kRows / 2 * stride),
            first == 0 ? Sums{} : sums,
            last ? rows + block.groups * kRowBytes : nullptr,
            last && r < whole
                ? Sums{block.y + r * block.y_stride + c, block.y_stride}
                : sums);
      }
    }
  }
  int8_gemm::StoreSums(block, whole);
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
    case int8_gemm::Quants::kCentredFourBits:
      return maddubs::MultiplyKind<int8_gemm::Quants::kCentredFourBits>(block);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();
#endif  // DAPPLE_MADDUBS

#endif  // per-target include guard
