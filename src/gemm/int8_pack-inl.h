// Packing for the int8 GEMM: weights from the file's blocks into panels.
// int8_gemm.h describes the layout.

// Per-target include guard.
#if defined(DAPPLE_GEMM_INT8_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_INT8_PACK_INL_H_
#undef DAPPLE_GEMM_INT8_PACK_INL_H_
#else
#define DAPPLE_GEMM_INT8_PACK_INL_H_
#endif

#include <algorithm>
#include <cassert>
#include <cstring>
#include <type_traits>

#include "gemm/int8_gemm.h"
#include "gemm/int8_pack_rows-inl.h"
#include "gemm/transpose-inl.h"
#include "hwy/highway.h"
#include "kernels/convert.h"
#include "kernels/gemv-inl.h"
#include "kernels/quant-inl.h"
#include "util/checked.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace pack {

namespace kn = kernels::HWY_NAMESPACE;

// With what int8_pack_rows-inl.h has here.
using int8_gemm::Kernel;
using int8_gemm::kPanelWidth;
using int8_gemm::PanelGroup;
using int8_gemm::Quants;
using kernels::BlockActivation;

// Columns packed together: as many rows of the file are read side by side.
inline constexpr size_t kColumns = 8;

// What a format's quants become for a kernel that takes minima.
template <class F>
inline constexpr Quants kKindOf =
    F::kSigned || F::kGroup != kGroup   ? Quants::kSigned
    : std::is_same_v<F, kn::FormatQ4_0> ? Quants::kCentredFourBits
    : std::is_same_v<F, kn::FormatQ4_1> || std::is_same_v<F, kn::FormatQ4_K>
        ? Quants::kFourBits
        : Quants::kFiveBits;

// Σ quants [kGroup].
HWY_INLINE int32_t SumOf(const int8_t* quants) {
  const hn::FixedTag<uint8_t, 16> du8;
  const hn::Repartition<uint64_t, decltype(du8)> du64;
  const auto bias = hn::Set(du8, uint8_t{128});
  const auto* bytes = reinterpret_cast<const uint8_t*>(quants);
  const auto sums =
      hn::Add(hn::SumsOf8(hn::Xor(hn::LoadU(du8, bytes), bias)),
              hn::SumsOf8(hn::Xor(hn::LoadU(du8, bytes + 16), bias)));
  return static_cast<int32_t>(hn::ReduceSum(du64, sums)) -
         static_cast<int32_t>(128 * kGroup);
}

// Quants [kColumns, kGroup] to columns [column, column + kColumns) of a group.
HWY_INLINE void PlaceQuants(const int8_t* quants, size_t column,
                            const Kernel& kernel, PanelGroup* to) {
  if (kernel.unsigned_rows)
    for (size_t c = 0; c < kColumns; ++c)
      to->offsets[column + c] = -128 * SumOf(quants + c * kGroup);
  if (kernel.run == 4) {
    TransposeWords(reinterpret_cast<const uint32_t*>(quants), kGroup / 4,
                   kColumns, kGroup / 4,
                   reinterpret_cast<uint32_t*>(to->quants) + column,
                   kPanelWidth);
    return;
  }
  for (size_t c = 0; c < kColumns; ++c)
    Scatter(quants + c * kGroup, kernel.run, kernel.run * kPanelWidth,
            to->quants + (column + c) * kernel.run);
}

// A part of a block as kernels without minima want it: quants [kGroup] and
// their scale.
template <class F>
HWY_INLINE float SignedQuants(const uint8_t* block, size_t part,
                              const float* scales, const float* mins,
                              int8_t* quants) {
  if constexpr (F::kGroup == kGroup && !F::kHasMin) {
    kn::UnpackPart<F>(block, part, quants);
    return scales[part];
  } else {
    const kn::BlockFloatTag d;
    HWY_ALIGN int8_t unpacked[kGroup];
    HWY_ALIGN float values[kGroup];
    kn::UnpackPart<F>(block, part, unpacked);
    for (size_t i = 0; i < kGroup; i += hn::Lanes(d))
      hn::Store(kn::Weights<F>(d, unpacked, part, i, scales, mins), d,
                values + i);
    BlockActivation rounded;
    kn::QuantizeBlock(values, &rounded);
    std::memcpy(quants, rounded.quants, kGroup);
    return rounded.scale;
  }
}

// The same for kernels with minima; returns the scale, and the minimum at min.
template <class F>
HWY_INLINE float UnsignedQuants(const uint8_t* block, size_t part,
                                const float* scales, const float* mins,
                                int8_t* quants, float* min) {
  for (size_t v = 0; v < kn::kVectors; ++v)
    hn::Store(hn::BitCast(kn::DI8(), F::Quants(block, part, v)), kn::DI8(),
              quants + v * kn::kVectorBytes);
  if constexpr (kKindOf<F> == Quants::kCentredFourBits)
    static_assert(F::kOffset == int8_gemm::kCentre);
  else
    *min = F::kHasMin ? mins[part] : scales[part] * F::kOffset;
  return scales[part];
}

// Columns [column, column + count) of a panel; count <= kColumns.
template <class F, bool kUnsigned>
HWY_INLINE void PackColumns(const WeightMatrix& w, size_t first, size_t column,
                            size_t count, const Kernel& kernel,
                            PanelGroup* out) {
  constexpr size_t kParts = F::kElements / kGroup;
  HWY_ALIGN float scales[kColumns][F::kGroups];
  HWY_ALIGN float mins[kColumns][F::kGroups];
  HWY_ALIGN int8_t quants[kColumns * kGroup] = {};
  const auto* bytes = reinterpret_cast<const uint8_t*>(w.data);
  for (size_t b = 0; b < w.k / F::kElements; ++b) {
    const uint8_t* blocks[kColumns];
    for (size_t c = 0; c < count; ++c) {
      blocks[c] = bytes + (first + column + c) * w.row_bytes + b * F::kBytes;
      F::Scales(blocks[c], scales[c], mins[c]);
    }
    for (size_t part = 0; part < kParts; ++part, ++out) {
      for (size_t c = 0; c < count; ++c) {
        int8_t* to = quants + c * kGroup;
        if constexpr (kUnsigned)
          out->scales[column + c] = UnsignedQuants<F>(
              blocks[c], part, scales[c], mins[c], to, &out->mins[column + c]);
        else
          out->scales[column + c] =
              SignedQuants<F>(blocks[c], part, scales[c], mins[c], to);
      }
      PlaceQuants(quants, column, kernel, out);
    }
  }
}

template <class F, bool kUnsigned>
HWY_INLINE void PackFormat(const WeightMatrix& w, size_t first,
                           const Kernel& kernel, PanelGroup* out) {
  const size_t columns = std::min(kPanelWidth, w.n - first);
  for (size_t column = 0; column < columns; column += kColumns)
    PackColumns<F, kUnsigned>(
        w, first, column, std::min(kColumns, columns - column), kernel, out);
}

// Weights that are not quantized, rounded to 8 bits a group.
HWY_INLINE void PackPlain(const WeightMatrix& w, size_t first,
                          const Kernel& kernel, PanelGroup* out) {
  const size_t columns = std::min(kPanelWidth, w.n - first);
  for (size_t column = 0; column < columns; column += kColumns) {
    const size_t count = std::min(kColumns, columns - column);
    HWY_ALIGN int8_t quants[kColumns * kGroup] = {};
    for (size_t g = 0; g < CeilDiv(w.k, kGroup); ++g) {
      for (size_t c = 0; c < count; ++c) {
        HWY_ALIGN float values[kGroup] = {};
        BlockActivation rounded;
        kernels::Dequantize(w.type,
                            w.data + (first + column + c) * w.row_bytes +
                                RowBytes(w.type, g * kGroup),
                            std::min(kGroup, w.k - g * kGroup), values);
        kn::QuantizeBlock(values, &rounded);
        std::memcpy(quants + c * kGroup, rounded.quants, kGroup);
        out[g].scales[column + c] = rounded.scale;
      }
      PlaceQuants(quants, column, kernel, out + g);
    }
  }
}

}  // namespace pack

// Packs columns [first, first + kPanelWidth) of w, those of them that exist, to
// out [groups]; the rest is zero. Returns what the quants are.
int8_gemm::Quants PackPanel(const WeightMatrix& w, size_t first,
                            const int8_gemm::Kernel& kernel,
                            int8_gemm::PanelGroup* out) {
  using int8_gemm::Quants;
  if (w.n - first < int8_gemm::kPanelWidth)
    std::memset(out, 0, CeilDiv(w.k, int8_gemm::kGroup) * sizeof(*out));
  Quants kind = Quants::kSigned;
  if (InfoOf(w.type).block_elements == 1) {
    pack::PackPlain(w, first, kernel, out);
    return kind;
  }
  kernels::HWY_NAMESPACE::WithFormat(w.type, [&]<class F>() HWY_ATTR {
    if (kernel.minima && pack::kKindOf<F> != Quants::kSigned) {
      kind = pack::kKindOf<F>;
      pack::PackFormat<F, true>(w, first, kernel, out);
    } else {
      pack::PackFormat<F, false>(w, first, kernel, out);
    }
  });
  return kind;
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
