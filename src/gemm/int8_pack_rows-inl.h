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
#include "gemm/int8_pack_multiples-inl.h"
#include "hwy/highway.h"
#include "kernels/gemv-inl.h"
#include "util/checked.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace pack {

namespace hn = hwy::HWY_NAMESPACE;

using int8_gemm::kGroup;

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

// Group g of x [k], behind its end zeros: x itself, or a copy at padded.
HWY_INLINE const float* GroupOf(const float* x, size_t k, size_t g,
                                float* padded) {
  const float* from = x + g * kGroup;
  if (k - g * kGroup >= kGroup) return from;
  std::fill(std::copy(from, x + k, padded), padded + kGroup, 0.0f);
  return padded;
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
#if DAPPLE_MADDUBS
    return pack::PackRowOfMultiples(x, k, out);
#else
    HWY_ABORT("rows for kernels with minima are packed on their target");
#endif
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
