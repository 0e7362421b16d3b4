// Packing for the int8 GEMM's kernels with minima: rows of activations into
// groups of bytes whose scales are multiples of the row's. int8_gemm.h
// describes the layout.
//
// A batch is as many groups as a vector has lanes, so that what a group has one
// of (its largest, its scale, its sums) is found for all at once.

// Per-target include guard.
#if defined(DAPPLE_GEMM_INT8_PACK_MULTIPLES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_INT8_PACK_MULTIPLES_INL_H_
#undef DAPPLE_GEMM_INT8_PACK_MULTIPLES_INL_H_
#else
#define DAPPLE_GEMM_INT8_PACK_MULTIPLES_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gemm/int8_gemm.h"
#include "gemm/int8_maddubs-inl.h"
#include "hwy/highway.h"
#include "kernels/exp-inl.h"
#include "kernels/fold_lanes-inl.h"
#include "util/checked.h"

#if DAPPLE_MADDUBS
HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace pack {

namespace hn = hwy::HWY_NAMESPACE;

using int8_gemm::kGroup;
using int8_gemm::RowGroupHeader;

using DB = hn::CappedTag<float, 8>;
using DBI = hn::RebindToSigned<DB>;
using VB = hn::Vec<DB>;
using VBI = hn::Vec<DBI>;
inline constexpr size_t kBatch = hn::MaxLanes(DB());  // 8, or 4 of SSE
inline constexpr size_t kGroupBytes = int8_gemm::RowGroupBytes(1, true);

// Bits order magnitudes: NaN counts as larger than infinity, so neither goes
// unnoticed.
HWY_INLINE VBI BitsOfMagnitude(const float* x) {
  const DB d;
  return hn::BitCast(DBI(), hn::Abs(hn::LoadU(d, x)));
}

// The largest magnitude of each group of a batch.
HWY_INLINE VBI LargestBits(const float* x) {
  const DBI di;
  VBI most[kBatch];
  HWY_UNROLL(8)
  for (size_t g = 0; g < kBatch; ++g) {
    most[g] = hn::Zero(di);
    HWY_UNROLL(8)
    for (size_t i = 0; i < kGroup; i += kBatch)
      most[g] = hn::Max(most[g], BitsOfMagnitude(x + g * kGroup + i));
  }
  return kernels::HWY_NAMESPACE::FoldLanes(
      di, most, [](VBI a, VBI b) HWY_ATTR { return hn::Max(a, b); });
}

// x [kGroup] times factor, below 128 in magnitude, rounded to quants. Returns
// kCentre Σ quants as int16: of the first two of each four, of the others, and
// so on.
HWY_INLINE VBI RoundGroup(const float* x, VB factor, uint8_t* quants) {
  const DB d;
  const DBI di;
  const hn::Repartition<int16_t, DB> d16;
  const hn::Repartition<int8_t, DB> d8;
  const hn::Repartition<uint8_t, DB> du8;
  const VB magic = hn::Set(d, kernels::HWY_NAMESPACE::kRoundMagic);
  const auto at = [&](size_t i) HWY_ATTR {
    const VB rounded =
        hn::Add(hn::Mul(hn::LoadU(d, x + i * kBatch), factor), magic);
    return hn::Sub(hn::BitCast(di, rounded), hn::BitCast(di, magic));
  };
  const auto centre = hn::Set(du8, uint8_t{int8_gemm::kCentre});
  auto sums = hn::Zero(d16);
  HWY_UNROLL(2)
  for (size_t i = 0; i < kGroup / kBatch; i += 4) {
    // Within blocks of 16 bytes: one permutation instead of three.
    auto bytes =
        hn::ReorderDemote2To(d8, hn::ReorderDemote2To(d16, at(i), at(i + 1)),
                             hn::ReorderDemote2To(d16, at(i + 2), at(i + 3)));
    if constexpr (kBatch == 8) {
      alignas(32) static constexpr int32_t kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
      bytes = hn::BitCast(
          d8, hn::TableLookupLanes(hn::BitCast(di, bytes),
                                   hn::SetTableIndices(di, kOrder)));
    }
    hn::StoreU(hn::BitCast(du8, bytes), du8, quants + i * kBatch);
    sums = hn::Add(sums, hn::SatWidenMulPairwiseAdd(d16, centre, bytes));
  }
  return hn::BitCast(di, sums);
}

// x: a batch of groups, of which the first `count` are packed to out.
// multiples: kMaxMultiple / the row's largest.
HWY_INLINE void PackBatch(const float* x, float multiples, size_t count,
                          uint8_t* out) {
  const DB d;
  const DBI di;
  const hn::Repartition<int16_t, DB> d16;
  const hn::Repartition<int64_t, DB> d64;
  // The least multiple that holds the group's values; a little less, lest
  // rounding called for the next.
  const VB exact = hn::Mul(hn::BitCast(d, LargestBits(x)),
                           hn::Set(d, multiples * (1.0f - 0x1p-20f)));
  VBI multiple = hn::ConvertTo(di, exact);
  multiple = hn::Sub(
      multiple,
      hn::VecFromMask(
          di, hn::RebindMask(di, hn::Lt(hn::ConvertTo(d, multiple), exact))));
  multiple = hn::Min(multiple, hn::Set(di, int8_gemm::kMaxMultiple));
  const VB scale = hn::ConvertTo(d, multiple);
  HWY_ALIGN float factors[kBatch];
  hn::Store(hn::IfThenElseZero(hn::Gt(scale, hn::Zero(d)),
                               hn::Div(hn::Set(d, 127.0f * multiples), scale)),
            d, factors);
  VBI sums[kBatch];
  HWY_ALIGN uint8_t unwanted[kGroup];
  for (size_t g = 0; g < kBatch; ++g)
    sums[g] = RoundGroup(
        x + g * kGroup, hn::Set(d, factors[g]),
        g < count ? out + g * kGroupBytes + sizeof(RowGroupHeader) : unwanted);
  const VBI centre_sums =
      kernels::HWY_NAMESPACE::FoldLanes(di, sums, [&](VBI a, VBI b) HWY_ATTR {
        return hn::BitCast(di,
                           hn::Add(hn::BitCast(d16, a), hn::BitCast(d16, b)));
      });
  const auto centres = hn::Sub(hn::Zero(d16), hn::BitCast(d16, centre_sums));
  static_assert(int8_gemm::kCentre == 8);
  const VBI quants = hn::ShiftRight<3>(hn::WidenMulPairwiseAdd(
      di, hn::BitCast(d16, centre_sums), hn::Set(d16, int16_t{1})));
  const VB sum = hn::Mul(scale, hn::ConvertTo(d, quants));

  // To headers: a transposition of blocks of four lanes.
  const VBI twice = hn::Or(hn::ShiftLeft<16>(multiple), multiple);
  const VBI scale_bits = hn::BitCast(di, scale);
  const VBI sum_bits = hn::BitCast(di, sum);
  const VBI centre_bits = hn::BitCast(di, centres);
  const auto front_low =
      hn::BitCast(d64, hn::InterleaveLower(di, twice, scale_bits));
  const auto front_high =
      hn::BitCast(d64, hn::InterleaveUpper(di, twice, scale_bits));
  const auto back_low =
      hn::BitCast(d64, hn::InterleaveLower(di, sum_bits, centre_bits));
  const auto back_high =
      hn::BitCast(d64, hn::InterleaveUpper(di, sum_bits, centre_bits));
  HWY_ALIGN int64_t headers[4][kBatch / 2];  // [g % 4][g / 4]
  hn::Store(hn::InterleaveLower(d64, front_low, back_low), d64, headers[0]);
  hn::Store(hn::InterleaveUpper(d64, front_low, back_low), d64, headers[1]);
  hn::Store(hn::InterleaveLower(d64, front_high, back_high), d64, headers[2]);
  hn::Store(hn::InterleaveUpper(d64, front_high, back_high), d64, headers[3]);
  static_assert(sizeof(RowGroupHeader) == 2 * sizeof(int64_t) &&
                offsetof(RowGroupHeader, multiple) == 0 &&
                offsetof(RowGroupHeader, scale) == 4 &&
                offsetof(RowGroupHeader, sum) == 8 &&
                offsetof(RowGroupHeader, centres) == 12);
  for (size_t g = 0; g < count; ++g)
    std::memcpy(out + g * kGroupBytes, headers[g % 4] + g / 4 * 2,
                sizeof(RowGroupHeader));
}

// Calls visit(x, first, count) for each batch of x [k]'s groups, behind x's end
// zeros. Some groups may be in two batches.
template <class Visit>
HWY_INLINE void ForBatches(const float* x, size_t k, const Visit& visit) {
  constexpr size_t kElements = kBatch * kGroup;
  size_t i = 0;
  for (; i + kElements <= k; i += kElements) visit(x + i, i / kGroup, kBatch);
  if (i == k) return;
  if (i != 0 && k % kGroup == 0)
    return visit(x + k - kElements, k / kGroup - kBatch, kBatch);
  HWY_ALIGN float padded[kElements];
  std::fill(std::copy(x + i, x + k, padded), padded + kElements, 0.0f);
  visit(padded, i / kGroup, CeilDiv(k - i, kGroup));
}

// x: [k] to a row for kernels with minima. A group's scale is the least
// multiple of the row's that holds its values: too large by 1 / multiple at
// most.
HWY_INLINE void PackRowOfMultiples(const float* x, size_t k, uint8_t* out) {
  const DBI di;
  const size_t groups = CeilDiv(k, kGroup);
  VBI most = hn::Zero(di);
  ForBatches(x, k, [&](const float* batch, size_t, size_t) HWY_ATTR {
    HWY_UNROLL(4)
    for (size_t i = 0; i < kBatch * kGroup; i += 2 * kBatch)
      most = hn::Max(most, hn::Max(BitsOfMagnitude(batch + i),
                                   BitsOfMagnitude(batch + i + kBatch)));
  });
  const int32_t most_bits = hn::ReduceMax(di, most);
  const bool finite = most_bits < 0x7F800000;
  const float largest = hwy::BitCastScalar<float>(most_bits);
  constexpr float kMost = int8_gemm::kMaxMultiple;
  float scale = 0.0f;
  // As of a block (QuantizeBlock): too small for an inverse counts as zero, and
  // NaN or infinity leaves nothing that looks like a number.
  if (!finite || largest < 0x1p-80f) {
    std::memset(out, 0, groups * kGroupBytes);
    if (!finite) scale = hwy::BitCastScalar<float>(0x7FC00000u);
  } else {
    const float multiples = kMost / largest;
    ForBatches(x, k,
               [&](const float* batch, size_t first, size_t count) HWY_ATTR {
                 PackBatch(batch, multiples, count, out + first * kGroupBytes);
               });
    scale = largest / (127.0f * kMost);
  }
  std::memcpy(out + groups * kGroupBytes, &scale, sizeof(scale));
}

}  // namespace pack
}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();
#endif  // DAPPLE_MADDUBS

#endif  // per-target include guard
