// Rows of keys and values to float vectors and back (util/kv_row.h).
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_KV_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_KV_ROWS_INL_H_
#undef DAPPLE_KERNELS_KV_ROWS_INL_H_
#else
#define DAPPLE_KERNELS_KV_ROWS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/convert-inl.h"
#include "kernels/load-inl.h"
#include "util/kv_row.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Loads elements [i, i + Lanes) of one row as float; i is a multiple of Lanes.
// LoadN: `left` of them, 0 in the other lanes, nothing past them read.
template <class T>
struct KvRowReader {
  const T* row;
  template <class D>
  explicit KvRowReader(D, const T* r) : row(r) {}
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t i) const {
    return LoadFloat(d, row + i);
  }
  template <class D>
  HWY_INLINE hn::Vec<D> LoadN(D d, size_t i, size_t left) const {
    return LoadFloatN(d, row + i, left);
  }
};

template <class D>
HWY_INLINE hn::Vec<D> Int8ToFloat(D d, hn::Vec<hn::Rebind<int8_t, D>> quants) {
  const hn::RebindToSigned<D> di32;
  return hn::ConvertTo(d, hn::PromoteTo(di32, quants));
}

// Quants of a kQ8 row without their scale.
HWY_INLINE const int8_t* Q8Quants(const Q8KvByte* row) {
  return reinterpret_cast<const int8_t*>(row) + 2;
}
HWY_INLINE float Q8Scale(const Q8KvByte* row) {
  const hn::CappedTag<float, 1> d1;
  return hn::GetLane(BroadcastScale(d1, reinterpret_cast<const uint8_t*>(row)));
}

template <>
struct KvRowReader<Q8KvByte> {
  const int8_t* quants;
  hn::Vec<hn::ScalableTag<float>> scale;
  explicit KvRowReader(hn::ScalableTag<float> d, const Q8KvByte* row)
      : quants(Q8Quants(row)),
        scale(BroadcastScale(d, reinterpret_cast<const uint8_t*>(row))) {}
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t i) const {
    const hn::Rebind<int8_t, D> d8;
    return hn::Mul(scale, Int8ToFloat(d, hn::LoadU(d8, quants + i)));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> LoadN(D d, size_t i, size_t left) const {
    const hn::Rebind<int8_t, D> d8;
    return hn::Mul(scale, Int8ToFloat(d, hn::LoadN(d8, quants + i, left)));
  }
};

template <>
struct KvRowReader<Q4KvByte> {
  const uint8_t* blocks;
  explicit KvRowReader(hn::ScalableTag<float>, const Q4KvByte* row)
      : blocks(reinterpret_cast<const uint8_t*>(row)) {}
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t i) const {
    static_assert(hn::MaxLanes(D()) <= kQ4KvBlock / 2);
    const hn::Rebind<uint8_t, D> d8;
    const hn::RebindToSigned<D> di32;
    const uint8_t* block = blocks + i / kQ4KvBlock * kQ4KvBlockBytes;
    const size_t at = i % kQ4KvBlock;
    auto nibbles = hn::LoadU(d8, block + 4 + at % 16);
    nibbles = at < 16 ? hn::And(nibbles, hn::Set(d8, uint8_t{15}))
                      : hn::ShiftRight<4>(nibbles);
    const auto quants = hn::ConvertTo(d, hn::PromoteTo(di32, nibbles));
    return hn::Add(hn::Mul(quants, BroadcastScale(d, block)),
                   BroadcastScale(d, block + 2));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> LoadN(D d, size_t i, size_t left) const {
    // A block is always whole, so that nothing outside the row is read.
    return hn::IfThenElseZero(hn::FirstN(d, left), Load(d, i));
  }
};

// out: [stride], elements past dim zero. dim <= stride.
template <class T>
HWY_INLINE void LoadKvRow(const T* row, size_t dim, size_t stride,
                          float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  const KvRowReader<T> reader(d, row);
  size_t i = 0;
  for (; i + n <= dim; i += n) hn::StoreU(reader.Load(d, i), d, out + i);
  if (i < dim) {
    hn::StoreN(reader.LoadN(d, i, dim - i), d, out + i, stride - i);
    i += n;
  }
  for (; i < stride; ++i) out[i] = 0.0f;
}

inline constexpr uint16_t kF16Nan = 0x7E00;

HWY_INLINE void PutF16(float value, uint8_t* at) {
  const hn::CappedTag<float, 1> d1;
  const uint16_t bits = hn::GetLane(ToF16Bits(d1, hn::Set(d1, value)));
  std::memcpy(at, &bits, sizeof(bits));
}
HWY_INLINE float GetF16(const uint8_t* at) {
  const hn::CappedTag<float, 1> d1;
  return hn::GetLane(BroadcastScale(d1, at));
}

struct Range {
  float least;
  float largest;
  bool finite;
};

// Of x: [count], count >= 1.
HWY_INLINE Range RangeOf(const float* x, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  auto least = hn::Set(d, x[0]);
  auto largest = least;
  auto spoilt = hn::Zero(d);  // NaN where anything was not finite
  size_t i = 0;
  for (; i + n <= count; i += n) {
    const auto v = hn::LoadU(d, x + i);
    least = hn::Min(least, v);
    largest = hn::Max(largest, v);
    spoilt = hn::MulAdd(v, hn::Zero(d), spoilt);
  }
  Range range{hn::ReduceMin(d, least), hn::ReduceMax(d, largest), true};
  float rest = 0.0f;
  for (; i < count; ++i) {
    range.least = std::min(range.least, x[i]);
    range.largest = std::max(range.largest, x[i]);
    rest += x[i] * 0.0f;
  }
  range.finite = hn::ReduceSum(d, spoilt) + rest == 0.0f;
  return range;
}

// quants[i] = x[i] * factor + offset, rounded to nearest even and clamped to
// [low, high]. quants: [count].
HWY_INLINE void QuantizeTo(const float* x, size_t count, float offset,
                           float factor, float low, float high,
                           int8_t* quants) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<int8_t, decltype(d)> d8;
  const size_t n = hn::Lanes(d);
  for (size_t i = 0; i < count; i += n) {
    const size_t left = std::min(n, count - i);
    const auto v = hn::LoadN(d, x + i, left);
    auto q = hn::Mul(hn::Sub(v, hn::Set(d, offset)), hn::Set(d, factor));
    q = hn::Min(hn::Max(q, hn::Set(d, low)), hn::Set(d, high));
    hn::StoreN(hn::DemoteTo(d8, hn::NearestInt(q)), d8, quants + i, left);
  }
}

HWY_INLINE void StoreRow(const float* x, size_t dim, float* row) {
  std::memcpy(row, x, dim * sizeof(float));
}
HWY_INLINE void StoreRow(const float* x, size_t dim, F16* row) {
  ConvertRow(x, dim, row);
}

HWY_INLINE void StoreRow(const float* x, size_t dim, Q8KvByte* row) {
  auto* bytes = reinterpret_cast<uint8_t*>(row);
  auto* quants = reinterpret_cast<int8_t*>(bytes + 2);
  const Range range = RangeOf(x, dim);
  if (!range.finite) {
    std::memcpy(bytes, &kF16Nan, sizeof(kF16Nan));
    std::memset(quants, 0, dim);
    return;
  }
  // The scale as it will be read again: its rounding is no error.
  PutF16(std::max(std::fabs(range.least), std::fabs(range.largest)) / 127.0f,
         bytes);
  const float scale = GetF16(bytes);
  const float factor = scale == 0.0f ? 0.0f : 1.0f / scale;
  QuantizeTo(x, dim, 0.0f, factor, -127.0f, 127.0f, quants);
}

HWY_INLINE void StoreRow(const float* x, size_t dim, Q4KvByte* row) {
  auto* block = reinterpret_cast<uint8_t*>(row);
  for (size_t i = 0; i < dim; i += kQ4KvBlock, block += kQ4KvBlockBytes) {
    const size_t count = std::min(kQ4KvBlock, dim - i);
    const Range range = RangeOf(x + i, count);
    int8_t quants[kQ4KvBlock] = {};
    if (range.finite) {
      PutF16(range.largest / 15.0f - range.least / 15.0f, block);
      PutF16(range.least, block + 2);
      const float scale = GetF16(block);
      const float factor = scale == 0.0f ? 0.0f : 1.0f / scale;
      QuantizeTo(x + i, count, GetF16(block + 2), factor, 0.0f, 15.0f, quants);
    } else {
      std::memcpy(block, &kF16Nan, sizeof(kF16Nan));
      std::memset(block + 2, 0, 2);
    }
    for (size_t j = 0; j < 16; ++j)
      block[4 + j] = static_cast<uint8_t>(quants[j] | quants[j + 16] << 4);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
