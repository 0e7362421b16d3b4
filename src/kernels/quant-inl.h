// Unpacking of the 32-element weight blocks (util/tensor_type.h) to int8 and
// float, shared by the row conversions and the matrix-vector products.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_QUANT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_QUANT_INL_H_
#undef DAPPLE_KERNELS_QUANT_INL_H_
#else
#define DAPPLE_KERNELS_QUANT_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/load-inl.h"
#include "util/tensor_type.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr size_t kBlock = 32;      // elements a block
inline constexpr size_t kScaleBytes = 2;  // every block begins with an F16

// Up to 16 lanes, so that a block is always a whole number of vectors.
using BlockFloatTag = hn::CappedTag<float, 16>;

// Lanes(d) quants as float.
template <class D>
HWY_INLINE hn::Vec<D> QuantsToFloat(D d, const int8_t* quants) {
  const hn::Rebind<int8_t, D> di8;
  const hn::Rebind<int32_t, D> di32;
  return hn::ConvertTo(d, hn::PromoteTo(di32, hn::LoadU(di8, quants)));
}

// nibbles: [16] to out: [32], values -8..7.
HWY_INLINE void UnpackNibbles(const uint8_t* nibbles, int8_t* out) {
  const hn::CappedTag<uint8_t, 16> du8;
  const hn::RebindToSigned<decltype(du8)> di8;
  const size_t n = hn::Lanes(du8);
  const auto offset = hn::Set(di8, int8_t{8});
  for (size_t i = 0; i < 16; i += n) {
    const auto both = hn::LoadU(du8, nibbles + i);
    const auto low = hn::And(both, hn::Set(du8, uint8_t{15}));
    const auto high = hn::ShiftRight<4>(both);
    hn::StoreU(hn::Sub(hn::BitCast(di8, low), offset), di8, out + i);
    hn::StoreU(hn::Sub(hn::BitCast(di8, high), offset), di8, out + 16 + i);
  }
}

// Points at a block's 32 quants: those of the file for q8_0, else unpacked
// into `unpacked`.
template <bool kQ4>
HWY_INLINE const int8_t* BlockQuants(const uint8_t* block, int8_t* unpacked) {
  if constexpr (kQ4) {
    UnpackNibbles(block + kScaleBytes, unpacked);
    return unpacked;
  } else {
    return reinterpret_cast<const int8_t*>(block + kScaleBytes);
  }
}

template <bool kQ4>
inline constexpr size_t kBlockBytes = kQ4 ? sizeof(BlockQ4_0)
                                          : sizeof(BlockQ8_0);

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
