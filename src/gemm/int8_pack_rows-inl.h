// Packing for the int8 GEMM: rows of activations into groups of bytes.
// int8_gemm.h describes the layouts.

// Per-target include guard.
#if defined(DAPPLE_GEMM_INT8_PACK_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_INT8_PACK_ROWS_INL_H_
#undef DAPPLE_GEMM_INT8_PACK_ROWS_INL_H_
#else
#define DAPPLE_GEMM_INT8_PACK_ROWS_INL_H_
#endif

#include <algorithm>
#include <cassert>
#include <cstring>

#include "gemm/int8_gemm.h"
#include "hwy/highway.h"
#include "kernels/gemv-inl.h"
#include "util/checked.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace pack {

namespace hn = hwy::HWY_NAMESPACE;
namespace kn = kernels::HWY_NAMESPACE;

using int8_gemm::Kernel;
using int8_gemm::kGroup;
using int8_gemm::RowGroupBytes;
using int8_gemm::RowGroupHeader;
using kernels::BlockActivation;

// quants [kGroup] to out, `step` bytes from one run to the next.
template <size_t kRun>
HWY_INLINE void ScatterRuns(const void* quants, size_t step, void* out) {
  for (size_t i = 0; i < kGroup / kRun; ++i)
    std::memcpy(static_cast<uint8_t*>(out) + i * step,
                static_cast<const uint8_t*>(quants) + i * kRun, kRun);
}

HWY_INLINE void Scatter(const void* quants, size_t run, size_t step,
                        void* out) {
  switch (run) {
    case 4:
      return ScatterRuns<4>(quants, step, out);
    case 8:
      return ScatterRuns<8>(quants, step, out);
    default:
      assert(run == kGroup);
      return ScatterRuns<kGroup>(quants, step, out);
  }
}

// RowGroupHeader::centres.
HWY_INLINE int32_t CentresOf(const int8_t* quants) {
  const hn::FixedTag<int8_t, 16> di8;
  const hn::Repartition<uint8_t, decltype(di8)> du8;
  const hn::Repartition<int16_t, decltype(di8)> di16;
  const hn::Repartition<int32_t, decltype(di8)> di32;
  const auto centre = hn::Set(du8, uint8_t{int8_gemm::kCentre});
  const auto sums = hn::Sub(
      hn::Zero(di16),
      hn::Add(hn::SatWidenMulPairwiseAdd(di16, centre, hn::LoadU(di8, quants)),
              hn::SatWidenMulPairwiseAdd(di16, centre,
                                         hn::LoadU(di8, quants + 16))));
  // Four pairs of int16, to be added up without a carry between them.
  const auto two = hn::Add(
      sums, hn::BitCast(di16, hn::Shuffle1032(hn::BitCast(di32, sums))));
  const auto one =
      hn::Add(two, hn::BitCast(di16, hn::Shuffle2301(hn::BitCast(di32, two))));
  return hn::GetLane(hn::BitCast(di32, one));
}

// Group g of x [k], behind its end zeros: x itself, or a copy at padded.
HWY_INLINE const float* GroupOf(const float* x, size_t k, size_t g,
                                float* padded) {
  const float* from = x + g * kGroup;
  if (k - g * kGroup >= kGroup) return from;
  std::fill(std::copy(from, x + k, padded), padded + kGroup, 0.0f);
  return padded;
}

// x [kGroup], finite, times `inverse`, rounded.
HWY_INLINE void RoundGroup(const float* x, float inverse, int8_t* quants) {
  const hn::CappedTag<float, 8> d;
  const hn::Repartition<int16_t, decltype(d)> di16;
  const hn::Repartition<int8_t, decltype(d)> di8;
  const size_t n = hn::Lanes(d);
  const auto factor = hn::Set(d, inverse);
  const auto at = [&](const float* from) HWY_ATTR {
    return hn::NearestInt(hn::Mul(hn::LoadU(d, from), factor));
  };
  for (size_t i = 0; i < kGroup; i += 4 * n, x += 4 * n)
    hn::Store(hn::OrderedDemote2To(
                  di8, hn::OrderedDemote2To(di16, at(x), at(x + n)),
                  hn::OrderedDemote2To(di16, at(x + 2 * n), at(x + 3 * n))),
              di8, quants + i);
}

// x: [k] to a row for kernels with minima. A group's scale is the least
// multiple of the row's that holds its values: too large by 1 / multiple at
// most.
HWY_INLINE void PackRowOfMultiples(const float* x, size_t k, uint8_t* out) {
  const size_t groups = CeilDiv(k, kGroup);
  HWY_ALIGN float padded[kGroup];
  float largest = 0.0f;
  bool finite = true;
  for (size_t g = 0; g < groups; ++g) {
    RowGroupHeader header{};
    header.sum = kn::LargestOf(GroupOf(x, k, g, padded));
    finite = finite && kn::IsFinite(header.sum);
    largest = std::max(largest, header.sum);
    std::memcpy(out + g * RowGroupBytes(1, true), &header, sizeof(header));
  }
  // As of a block (QuantizeBlock): too small for an inverse counts as zero, and
  // NaN or infinity leaves nothing that looks like a number.
  const bool zero = !finite || largest < 0x1p-80f;
  constexpr float kMost = int8_gemm::kMaxMultiple;
  const float multiples = zero ? 0.0f : kMost / largest;
  // Lest rounding called for the next multiple.
  const float less = multiples * (1.0f - 0x1p-20f);
  const float inverse = 127.0f * multiples;
  for (size_t g = 0; g < groups; ++g, out += RowGroupBytes(1, true)) {
    RowGroupHeader header;
    std::memcpy(&header, out, sizeof(header));
    const float exact = zero ? 0.0f : header.sum * less;
    auto multiple = static_cast<int32_t>(exact);
    if (static_cast<float>(multiple) < exact) ++multiple;
    multiple = std::min(multiple, int8_gemm::kMaxMultiple);
    HWY_ALIGN int8_t quants[kGroup] = {};
    header.scale = static_cast<float>(multiple);
    if (multiple != 0)
      RoundGroup(GroupOf(x, k, g, padded), inverse / header.scale, quants);
    header.multiple = multiple << 16 | multiple;
    header.centres = CentresOf(quants);
    // The two halves' sums, as int16.
    const int32_t centre =
        static_cast<int16_t>(header.centres) + (header.centres >> 16);
    header.sum =
        header.scale * static_cast<float>(-centre / int8_gemm::kCentre);
    std::memcpy(out, &header, sizeof(header));
    std::memcpy(out + sizeof(header), quants, kGroup);
  }
  const float scale = !finite ? hwy::BitCastScalar<float>(0x7FC00000u)
                      : zero  ? 0.0f
                              : largest / (127.0f * kMost);
  std::memcpy(out, &scale, sizeof(scale));
}

}  // namespace pack

// x: [k] to row `lane` of those that lie together at out, [groups] of
// RowGroupBytes, then the row's scale for kernels with minima.
void PackRow(const float* x, size_t k, const int8_gemm::Kernel& kernel,
             size_t lane, uint8_t* out) {
  namespace hn = hwy::HWY_NAMESPACE;
  using int8_gemm::kGroup;
  if (kernel.minima) {
    assert(kernel.interleave == 1 && !kernel.unsigned_rows);
    return pack::PackRowOfMultiples(x, k, out);
  }
  const hn::FixedTag<uint8_t, 16> du8;
  const auto bias =
      hn::Set(du8, static_cast<uint8_t>(kernel.unsigned_rows ? 128 : 0));
  const size_t header = kernel.interleave * sizeof(float);
  for (size_t g = 0; g < CeilDiv(k, kGroup); ++g) {
    HWY_ALIGN float padded[kGroup];
    kernels::BlockActivation block;
    kernels::HWY_NAMESPACE::QuantizeBlock(pack::GroupOf(x, k, g, padded),
                                          &block);
    auto* quants = reinterpret_cast<uint8_t*>(block.quants);
    for (size_t i = 0; i < kGroup; i += 16)
      hn::StoreU(hn::Xor(hn::LoadU(du8, quants + i), bias), du8, quants + i);
    std::memcpy(out + lane * sizeof(float), &block.scale, sizeof(float));
    // Of one row by itself all runs are neighbours.
    if (kernel.interleave == 1)
      std::memcpy(out + header, quants, kGroup);
    else
      pack::Scatter(quants, kernel.run, kernel.interleave * kernel.run,
                    out + header + lane * kernel.run);
    out += int8_gemm::RowGroupBytes(kernel.interleave);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
