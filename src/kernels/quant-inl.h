// The quantized tensor types (util/tensor_type.h) as the vector kernels see
// them: blocks cut into parts of 32 quants, with groups of 16 or 32 that share
// a scale. Shared by the row conversions and the matrix-vector products.
//
// A format F has
//   kElements, kBytes   of a block
//   kGroup              quants that share a scale (and minimum): 16 or 32
//   kHasMin             value = scale * quant - min rather than scale * quant
//   kSigned             quants are int8, else uint8 with kOffset too much
//   Quants(block, part, v)  vector v of a part's 32 quants (kVectors of them)
//   Scales(block, scales, mins)  all groups' (mins untouched without kHasMin)
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
#include <cstring>

#include "hwy/highway.h"
#include "kernels/load-inl.h"
#include "util/tensor_type.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr size_t kBlock = 32;  // quants a part, and of an activation

// Up to 16 lanes, so that a group is always a whole number of vectors.
using BlockFloatTag = hn::CappedTag<float, 16>;

using DU8 = hn::CappedTag<uint8_t, kBlock>;
using DI8 = hn::RebindToSigned<DU8>;
using VU8 = hn::Vec<DU8>;
using VI8 = hn::Vec<DI8>;
inline constexpr size_t kVectorBytes = hn::MaxLanes(DU8());
inline constexpr size_t kVectors = kBlock / kVectorBytes;  // 1 or 2

// ---- Quants ---------------------------------------------------------------

// v >> bits within bytes of which at most the `mask` bits matter.
HWY_INLINE VU8 ShiftBytes(VU8 v, int bits, uint8_t mask) {
  // What a wider shift brings in from the neighbouring byte is masked off.
  const hn::Repartition<uint16_t, DU8> du16;
  const auto shifted = hn::ShiftRightSame(hn::BitCast(du16, v), bits);
  return hn::And(hn::BitCast(DU8(), shifted), hn::Set(DU8(), mask));
}

// The 32 nibbles of 16 bytes: low ones, then high ones.
HWY_INLINE VU8 Nibbles(const uint8_t* nibbles, size_t v) {
  const VU8 mask = hn::Set(DU8(), uint8_t{15});
#if HWY_MAX_BYTES >= 32  // kVectors == 1
  (void)v;
  // The same 16 bytes in both halves, the upper half shifted by a nibble.
  const hn::Repartition<uint32_t, DU8> du32;
  HWY_ALIGN static constexpr uint32_t kShift[8] = {0, 0, 0, 0, 4, 4, 4, 4};
  const auto both = hn::BitCast(du32, hn::LoadDup128(DU8(), nibbles));
  const auto apart = hn::Shr(both, hn::Load(du32, kShift));
  return hn::And(hn::BitCast(DU8(), apart), mask);
#else
  const VU8 both = hn::LoadU(DU8(), nibbles);
  return v == 0 ? hn::And(both, mask) : ShiftBytes(both, 4, 15);
#endif
}

// 16 in every byte whose bit is set in the 32-bit word at `high`.
HWY_INLINE VU8 FifthBits(const uint8_t* high, size_t v) {
  HWY_ALIGN static constexpr uint8_t kByte[32] = {
      0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
      2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
  HWY_ALIGN static constexpr uint8_t kBit[32] = {
      1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
      1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const hn::Repartition<uint32_t, DU8> du32;
  uint32_t word;
  std::memcpy(&word, high, sizeof(word));
  const VU8 everywhere = hn::BitCast(DU8(), hn::Set(du32, word));
  const VU8 bytes = hn::TableLookupBytes(
      everywhere, hn::Load(DU8(), kByte + v * kVectorBytes));
  const auto set = hn::TestBit(bytes, hn::Load(DU8(), kBit));
  return hn::IfThenElseZero(set, hn::Set(DU8(), uint8_t{16}));
}

// `value` in every byte of high whose bit `bit` is set.
HWY_INLINE VU8 BitAs(VU8 high, size_t bit, uint8_t value) {
  const VU8 mask = hn::Set(DU8(), static_cast<uint8_t>(1u << bit));
  return hn::IfThenElseZero(hn::TestBit(high, mask), hn::Set(DU8(), value));
}

// table: [16], looked up by nibble.
HWY_INLINE VU8 LookUp(const int8_t* table, VU8 nibbles) {
  const auto values = hn::LoadDup128(DI8(), table);
  return hn::BitCast(DU8(),
                     hn::TableLookupBytes(values, hn::BitCast(DI8(), nibbles)));
}

// ---- Scales ---------------------------------------------------------------

HWY_INLINE float HalfAt(const uint8_t* p) {
  const hn::CappedTag<float, 4> d;
  uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return hn::GetLane(F16BitsToFloat(d, hn::Set(HalfBits<decltype(d)>(), bits)));
}

// out[i] = (bytes[i] - offset) * factor for kCount (8 or 16) bytes.
template <size_t kCount, class T>
HWY_INLINE void ScaleBytes(const T* bytes, int offset, float factor,
                           float* out) {
  const hn::CappedTag<float, 8> d;
  const hn::Rebind<int32_t, decltype(d)> di32;
  const hn::Rebind<T, decltype(d)> dbytes;
  const size_t n = hn::Lanes(d);
  for (size_t i = 0; i < kCount; i += n) {
    const auto wide = hn::PromoteTo(di32, hn::LoadU(dbytes, bytes + i));
    const auto value = hn::Sub(wide, hn::Set(di32, offset));
    hn::StoreU(hn::Mul(hn::ConvertTo(d, value), hn::Set(d, factor)), d,
               out + i);
  }
}

// The 6-bit scales and minima of Q4_K and Q5_K: all groups at once, as bytes
// of 64-bit words.
HWY_INLINE void KScales(const uint8_t* packed /*[12]*/, float scale,
                        float minimum, float* scales, float* mins) {
  uint32_t words[3];
  std::memcpy(words, packed, sizeof(words));
  const uint64_t first = words[0] & 0x3F3F3F3Fu;
  const uint64_t last =
      (words[2] & 0x0F0F0F0Fu) | ((words[0] >> 2) & 0x30303030u);
  const uint64_t first_min = words[1] & 0x3F3F3F3Fu;
  const uint64_t last_min =
      ((words[2] >> 4) & 0x0F0F0F0Fu) | ((words[1] >> 2) & 0x30303030u);
  alignas(16) uint8_t bytes[16];
  const uint64_t both[2] = {first | last << 32, first_min | last_min << 32};
  std::memcpy(bytes, both, sizeof(both));
  ScaleBytes<8>(bytes, 0, scale, scales);
  ScaleBytes<8>(bytes + 8, 0, minimum, mins);
}

// ---- Formats --------------------------------------------------------------

template <class Block, size_t kElementCount, size_t kGroupSize, bool kMin,
          int kExcess>
struct FormatBase {
  static constexpr size_t kElements = kElementCount;
  static constexpr size_t kBytes = sizeof(Block);
  static constexpr size_t kGroup = kGroupSize;
  static constexpr size_t kGroups = kElements / kGroup;
  static constexpr bool kHasMin = kMin;
  static constexpr bool kSigned = false;
  static constexpr int kOffset = kExcess;
};

// Blocks of 32 begin with an f16 scale (all but MXFP4).
template <class Block, bool kMin, int kExcess>
struct SmallFormat : FormatBase<Block, 32, 32, kMin, kExcess> {
  static constexpr bool kHalfScale = true;
  static HWY_INLINE void Scales(const uint8_t* block, float* scales,
                                float* mins) {
    scales[0] = HalfAt(block);
    if constexpr (kMin) mins[0] = -HalfAt(block + 2);
  }
};

struct FormatQ4_0 : SmallFormat<BlockQ4_0, false, 8> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t, size_t v) {
    return Nibbles(block + offsetof(BlockQ4_0, nibbles), v);
  }
};

struct FormatQ4_1 : SmallFormat<BlockQ4_1, true, 0> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t, size_t v) {
    return Nibbles(block + offsetof(BlockQ4_1, nibbles), v);
  }
};

struct FormatQ5_0 : SmallFormat<BlockQ5_0, false, 16> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t, size_t v) {
    return hn::Or(Nibbles(block + offsetof(BlockQ5_0, nibbles), v),
                  FifthBits(block + offsetof(BlockQ5_0, high), v));
  }
};

struct FormatQ5_1 : SmallFormat<BlockQ5_1, true, 0> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t, size_t v) {
    return hn::Or(Nibbles(block + offsetof(BlockQ5_1, nibbles), v),
                  FifthBits(block + offsetof(BlockQ5_1, high), v));
  }
};

struct FormatQ8_0 : SmallFormat<BlockQ8_0, false, 0> {
  static constexpr bool kSigned = true;
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t, size_t v) {
    return hn::LoadU(DU8(),
                     block + offsetof(BlockQ8_0, quants) + v * kVectorBytes);
  }
};

struct FormatIQ4_NL : SmallFormat<BlockIQ4_NL, false, 0> {
  static constexpr bool kSigned = true;
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t, size_t v) {
    return LookUp(kIq4Values,
                  Nibbles(block + offsetof(BlockIQ4_NL, nibbles), v));
  }
};

// kMxfp4Values + 12: unsigned, so that the dot product needs no sign work.
HWY_ALIGN inline constexpr int8_t kMxfp4Raised[16] = {
    12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

struct FormatMXFP4 : SmallFormat<BlockMXFP4, false, 12> {
  static constexpr bool kHalfScale = false;
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t, size_t v) {
    return LookUp(kMxfp4Raised,
                  Nibbles(block + offsetof(BlockMXFP4, nibbles), v));
  }
  static HWY_INLINE void Scales(const uint8_t* block, float* scales, float*) {
    scales[0] = MxScale(block[0]);
  }
};

struct FormatQ2_K : FormatBase<BlockQ2_K, 256, 16, true, 0> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t part, size_t v) {
    const VU8 quants = hn::LoadU(DU8(), block + offsetof(BlockQ2_K, quants) +
                                            part / 4 * 32 + v * kVectorBytes);
    return ShiftBytes(quants, static_cast<int>(part % 4 * 2), 3);
  }
  static HWY_INLINE void Scales(const uint8_t* block, float* scales,
                                float* mins) {
    const hn::FixedTag<uint8_t, 16> d;
    const auto packed = hn::LoadU(d, block + offsetof(BlockQ2_K, group_scales));
    alignas(16) uint8_t bytes[32];
    hn::Store(hn::And(packed, hn::Set(d, uint8_t{15})), d, bytes);
    hn::Store(hn::ShiftRight<4>(packed), d, bytes + 16);
    ScaleBytes<16>(bytes, 0, HalfAt(block + offsetof(BlockQ2_K, scale)),
                   scales);
    ScaleBytes<16>(bytes + 16, 0, HalfAt(block + offsetof(BlockQ2_K, minimum)),
                   mins);
  }
};

struct FormatQ3_K : FormatBase<BlockQ3_K, 256, 16, false, 4> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t part, size_t v) {
    const VU8 low = hn::LoadU(DU8(), block + offsetof(BlockQ3_K, quants) +
                                         part / 4 * 32 + v * kVectorBytes);
    const VU8 high =
        hn::LoadU(DU8(), block + offsetof(BlockQ3_K, high) + v * kVectorBytes);
    return hn::Or(ShiftBytes(low, static_cast<int>(part % 4 * 2), 3),
                  BitAs(high, part, 4));
  }
  static HWY_INLINE void Scales(const uint8_t* block, float* scales, float*) {
    const uint8_t* packed = block + offsetof(BlockQ3_K, group_scales);
    uint64_t low;
    uint32_t high;
    std::memcpy(&low, packed, sizeof(low));
    std::memcpy(&high, packed + 8, sizeof(high));
    const auto two_bits = [high](int shift) {
      return uint64_t{(high >> shift) & 0x03030303u} << 4;
    };
    constexpr uint64_t kLow = 0x0F0F0F0F0F0F0F0Fu;
    const uint64_t all[2] = {
        (low & kLow) | two_bits(0) | two_bits(2) << 32,
        ((low >> 4) & kLow) | two_bits(4) | two_bits(6) << 32};
    alignas(16) uint8_t bytes[16];
    std::memcpy(bytes, all, sizeof(all));
    ScaleBytes<16>(bytes, 32, HalfAt(block + offsetof(BlockQ3_K, scale)),
                   scales);
  }
};

struct FormatQ4_K : FormatBase<BlockQ4_K, 256, 32, true, 0> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t part, size_t v) {
    const VU8 both = hn::LoadU(DU8(), block + offsetof(BlockQ4_K, nibbles) +
                                          part / 2 * 32 + v * kVectorBytes);
    return ShiftBytes(both, static_cast<int>(part % 2 * 4), 15);
  }
  static HWY_INLINE void Scales(const uint8_t* block, float* scales,
                                float* mins) {
    KScales(block + offsetof(BlockQ4_K, group_scales), HalfAt(block),
            HalfAt(block + 2), scales, mins);
  }
};

struct FormatQ5_K : FormatBase<BlockQ5_K, 256, 32, true, 0> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t part, size_t v) {
    const VU8 both = hn::LoadU(DU8(), block + offsetof(BlockQ5_K, nibbles) +
                                          part / 2 * 32 + v * kVectorBytes);
    const VU8 high =
        hn::LoadU(DU8(), block + offsetof(BlockQ5_K, high) + v * kVectorBytes);
    return hn::Or(ShiftBytes(both, static_cast<int>(part % 2 * 4), 15),
                  BitAs(high, part, 16));
  }
  static HWY_INLINE void Scales(const uint8_t* block, float* scales,
                                float* mins) {
    KScales(block + offsetof(BlockQ5_K, group_scales), HalfAt(block),
            HalfAt(block + 2), scales, mins);
  }
};

struct FormatQ6_K : FormatBase<BlockQ6_K, 256, 16, false, 32> {
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t part, size_t v) {
    const size_t half = part / 4;
    const size_t quarter = part % 4;
    const VU8 low =
        hn::LoadU(DU8(), block + offsetof(BlockQ6_K, low) + 64 * half +
                             32 * (quarter % 2) + v * kVectorBytes);
    const VU8 high = hn::LoadU(DU8(), block + offsetof(BlockQ6_K, high) +
                                          32 * half + v * kVectorBytes);
    const VU8 two = ShiftBytes(high, static_cast<int>(2 * quarter), 3);
    return hn::Or(ShiftBytes(low, static_cast<int>(quarter / 2 * 4), 15),
                  hn::ShiftLeft<4>(two));
  }
  static HWY_INLINE void Scales(const uint8_t* block, float* scales, float*) {
    ScaleBytes<16>(reinterpret_cast<const int8_t*>(
                       block + offsetof(BlockQ6_K, group_scales)),
                   0, HalfAt(block + offsetof(BlockQ6_K, scale)), scales);
  }
};

struct FormatIQ4_XS : FormatBase<BlockIQ4_XS, 256, 32, false, 0> {
  static constexpr bool kSigned = true;
  static HWY_INLINE VU8 Quants(const uint8_t* block, size_t part, size_t v) {
    return LookUp(
        kIq4Values,
        Nibbles(block + offsetof(BlockIQ4_XS, nibbles) + part * 16, v));
  }
  static HWY_INLINE void Scales(const uint8_t* block, float* scales, float*) {
    uint32_t low;
    uint16_t high;
    std::memcpy(&low, block + offsetof(BlockIQ4_XS, scales_low), sizeof(low));
    std::memcpy(&high, block + offsetof(BlockIQ4_XS, scales_high),
                sizeof(high));
    alignas(8) uint8_t bytes[8];
    for (size_t g = 0; g < 8; ++g)
      bytes[g] = static_cast<uint8_t>((low >> (4 * g) & 15) |
                                      (high >> (2 * g) & 3) << 4);
    ScaleBytes<8>(bytes, 32, HalfAt(block), scales);
  }
};

// Calls run.template operator()<Format>() with the format of `type`; does
// nothing for plain types.
template <class Run>
HWY_INLINE void WithFormat(TensorType type, const Run& run) {
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
      return;
    case TensorType::kQ4_0:
      return run.template operator()<FormatQ4_0>();
    case TensorType::kQ4_1:
      return run.template operator()<FormatQ4_1>();
    case TensorType::kQ5_0:
      return run.template operator()<FormatQ5_0>();
    case TensorType::kQ5_1:
      return run.template operator()<FormatQ5_1>();
    case TensorType::kQ8_0:
      return run.template operator()<FormatQ8_0>();
    case TensorType::kQ2_K:
      return run.template operator()<FormatQ2_K>();
    case TensorType::kQ3_K:
      return run.template operator()<FormatQ3_K>();
    case TensorType::kQ4_K:
      return run.template operator()<FormatQ4_K>();
    case TensorType::kQ5_K:
      return run.template operator()<FormatQ5_K>();
    case TensorType::kQ6_K:
      return run.template operator()<FormatQ6_K>();
    case TensorType::kIQ4_NL:
      return run.template operator()<FormatIQ4_NL>();
    case TensorType::kIQ4_XS:
      return run.template operator()<FormatIQ4_XS>();
    case TensorType::kMXFP4:
      return run.template operator()<FormatMXFP4>();
  }
}

// A part's quants without their offset. out: [32], aligned.
template <class F>
HWY_INLINE void UnpackPart(const uint8_t* block, size_t part, int8_t* out) {
  const auto offset = hn::Set(DI8(), static_cast<int8_t>(F::kOffset));
  for (size_t v = 0; v < kVectors; ++v) {
    VI8 quants = hn::BitCast(DI8(), F::Quants(block, part, v));
    if constexpr (F::kOffset != 0) quants = hn::Sub(quants, offset);
    hn::Store(quants, DI8(), out + v * kVectorBytes);
  }
}

// Lanes(d) weights of a part from its unpacked quants at `at`. Products are
// exact in float (see UnpackedBlock), so a weight is rounded once.
template <class F, class D>
HWY_INLINE hn::Vec<D> Weights(D d, const int8_t* unpacked, size_t part,
                              size_t at, const float* scales,
                              const float* mins) {
  const hn::Rebind<int8_t, D> di8;
  const hn::Rebind<int32_t, D> di32;
  const auto quants =
      hn::ConvertTo(d, hn::PromoteTo(di32, hn::LoadU(di8, unpacked + at)));
  const size_t group = (part * kBlock + at) / F::kGroup;
  const auto scaled = hn::Mul(quants, hn::Set(d, scales[group]));
  if constexpr (F::kHasMin)
    return hn::Sub(scaled, hn::Set(d, mins[group]));
  else
    return scaled;
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
