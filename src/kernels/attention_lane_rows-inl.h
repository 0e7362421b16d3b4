// How rows of keys and values of each type are multiplied by
// attention_decode_lanes-inl.h: what its queries and weights are kept as, and
// their products.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_ATTENTION_LANE_ROWS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_LANE_ROWS_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_LANE_ROWS_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_LANE_ROWS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/attention_layout.h"
#include "kernels/fold_lanes-inl.h"
#include "kernels/kv_rows-inl.h"
#include "kernels/load-inl.h"
#include "kernels/pair_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if DAPPLE_DECODE_LANES

using DLanes = hn::ScalableTag<float>;
using DLanesInt = hn::RebindToSigned<DLanes>;
using DShorts = hn::Repartition<int16_t, DLanes>;
using VLanes = hn::Vec<DLanes>;
using VLanesInt = hn::Vec<DLanesInt>;
using VShorts = hn::Vec<DShorts>;
static_assert(hn::MaxLanes(DLanes()) == kDecodeQueries);
inline constexpr size_t k8 = kDecodeQueries;

// Lane g of the result: Σ lanes of v[g]. v: [8]; D: of float or int32_t.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SumEight(D d, const V* v) {
  return FoldLanes(d, v, [](V a, V b) HWY_ATTR { return hn::Add(a, b); });
}

// How rows of T are multiplied. Float and F16: queries [dim / 8, kG, 8], a
// value's weights [8].
template <class T>
struct LaneRows {
  using Query = float;
  using Weight = float;
  static constexpr size_t kDims = 8;      // of a vector of queries
  static constexpr size_t kTogether = 1;  // keys whose values make one product

  static HWY_INLINE VLanes Zero() { return hn::Zero(DLanes()); }
  static HWY_INLINE VLanes LoadKey(const T* row, size_t i, size_t /*left*/) {
    return LoadFloat(DLanes(), row + i);
  }
  static HWY_INLINE VLanes Dot(const float* q, VLanes key, VLanes acc) {
    return hn::MulAdd(hn::Load(DLanes(), q), key, acc);
  }
  static HWY_INLINE VLanes Score(const VLanes* sums, const T* /*row*/,
                                 VLanes /*scales*/) {
    return SumEight(DLanes(), sums);
  }
  static HWY_INLINE VLanes LoadValues(const T* row, size_t i,
                                      const T* /*next*/) {
    return LoadFloat(DLanes(), row + i);
  }
  static HWY_INLINE VLanes LoadWeight(const float* weight) {
    return hn::Set(DLanes(), *weight);
  }
  static HWY_INLINE VLanes AddWeighted(VLanes weight, VLanes value,
                                       VLanes acc) {
    return hn::MulAdd(weight, value, acc);
  }
  static HWY_INLINE VLanes ToFloat(VLanes sums, const float* /*scale*/) {
    return sums;
  }
};

// Queries: 16-bit integers [ceil(dim / 16), kG, 16]; two values' weights: pairs
// of 16-bit integers [8].
template <>
struct LaneRows<Q8KvByte> {
  using Query = int16_t;
  using Weight = int32_t;
  static constexpr size_t kDims = 16;
  static constexpr size_t kTogether = 2;

  static HWY_INLINE VLanesInt Zero() { return hn::Zero(DLanesInt()); }
  // `left` elements are in the row: 8 or more. What is past them is 0.
  static HWY_INLINE VShorts LoadKey(const Q8KvByte* row, size_t i,
                                    size_t left) {
    return hn::PromoteTo(DShorts(), left >= kDims
                                        ? hn::LoadU(Bytes(), Quants(row, i))
                                        : LoadEight(row, i));
  }
  // Over all of a row less than 256 * 127 * 32767 < 2^30.
  static HWY_INLINE VLanesInt Dot(const int16_t* q, VShorts key,
                                  VLanesInt acc) {
    AddProduct(key, hn::Load(DShorts(), q), acc);
    return acc;
  }
  static HWY_INLINE VLanes Score(const VLanesInt* sums, const Q8KvByte* row,
                                 VLanes scales) {
    const DLanes d;
    const VLanes scale =
        BroadcastScale(d, reinterpret_cast<const uint8_t*>(row));
    return hn::Mul(hn::ConvertTo(d, SumEight(DLanesInt(), sums)),
                   hn::Mul(scales, scale));
  }
  // Elements [i, i + 8) of both rows, in pairs.
  static HWY_INLINE VShorts LoadValues(const Q8KvByte* row, size_t i,
                                       const Q8KvByte* next) {
    return hn::PromoteTo(
        DShorts(),
        hn::InterleaveLower(Bytes(), LoadEight(row, i), LoadEight(next, i)));
  }
  static HWY_INLINE VShorts LoadWeight(const int32_t* pair) {
    return hn::BitCast(DShorts(), hn::Set(DLanesInt(), *pair));
  }
  // Over a block less than kDecodeKeys * 127 * 32767 < 2^30.
  static HWY_INLINE VLanesInt AddWeighted(VShorts weight, VShorts values,
                                          VLanesInt acc) {
    AddProduct(weight, values, acc);
    return acc;
  }
  static HWY_INLINE VLanes ToFloat(VLanesInt sums, const float* scale) {
    return hn::Mul(hn::ConvertTo(DLanes(), sums), hn::Set(DLanes(), *scale));
  }

 private:
  using Bytes = hn::Rebind<int8_t, DShorts>;
  static HWY_INLINE const int8_t* Quants(const Q8KvByte* row, size_t i) {
    return Q8Quants(row) + i;
  }
  static HWY_INLINE hn::Vec<Bytes> LoadEight(const Q8KvByte* row, size_t i) {
    const hn::Half<Bytes> half;
    return hn::ZeroExtendVector(Bytes(), hn::LoadU(half, Quants(row, i)));
  }
};

// q: [queries, dim] times factor to [dim / 8, queries, 8].
HWY_INLINE void PackEight(const float* q, size_t queries, size_t dim,
                          float factor, float* HWY_RESTRICT out, float*) {
  const DLanes d;
  for (size_t g = 0; g < queries; ++g)
    for (size_t i = 0; i < dim; i += 8)
      hn::Store(hn::Mul(hn::LoadU(d, q + g * dim + i), hn::Set(d, factor)), d,
                out + i * queries + g * 8);
}

// The same to 16-bit integers [ceil(dim / 16), queries, 16], new columns 0.
// scales: [8], of each query.
HWY_INLINE void PackEight(const float* q, size_t queries, size_t dim,
                          float factor, int16_t* HWY_RESTRICT out,
                          float* scales) {
  constexpr size_t kDims = LaneRows<Q8KvByte>::kDims;
  const DLanes d;
  const hn::Rebind<int16_t, DLanes> d16;
  std::fill(out, out + queries * ((dim + kDims - 1) / kDims * kDims),
            int16_t{0});
  for (size_t g = 0; g < queries; ++g, q += dim) {
    const Range range = RangeOf(q, dim);
    const float largest =
        std::max(std::fabs(range.least), std::fabs(range.largest));
    scales[g] = range.finite ? largest * factor / 32767.0f : NAN;
    const VLanes inverse = hn::Set(d, 32767.0f / std::max(largest, 1e-30f));
    for (size_t i = 0; i < dim; i += 8) {
      const auto quants = hn::NearestInt(hn::Mul(hn::LoadU(d, q + i), inverse));
      hn::StoreU(hn::DemoteTo(d16, quants), d16,
                 out + (i / kDims * queries + g) * kDims + i % kDims);
    }
  }
}

// Probabilities [keys, 8], times their values' scales, to pairs of 16-bit
// integers in the same memory. weight_scales: [8], what they are to be
// multiplied with.
HWY_INLINE void PairWeights(float* HWY_RESTRICT p, const Q8KvByte* rows,
                            size_t keys, size_t step, float* weight_scales) {
  const DLanes d;
  const DLanesInt di;
  VLanes largest = hn::Zero(d), all = hn::Zero(d);
  for (size_t j = 0; j < keys; ++j) {
    const VLanes scale =
        BroadcastScale(d, reinterpret_cast<const uint8_t*>(rows + j * step));
    const VLanes weight = hn::Mul(hn::Load(d, p + j * k8), scale);
    hn::Store(weight, d, p + j * k8);
    largest = hn::Max(largest, weight);
    all = hn::Add(all, weight);
  }
  // The last term keeps what is no number from being lost.
  hn::Store(hn::MulAdd(largest, hn::Set(d, 1.0f / 32767.0f),
                       hn::Mul(all, hn::Zero(d))),
            d, weight_scales);
  const VLanes inverse =
      hn::Div(hn::Set(d, 32767.0f), hn::Max(largest, hn::Set(d, 1e-30f)));
  auto* pairs = reinterpret_cast<int32_t*>(p);
  for (size_t j = 0; j < keys; j += 2) {
    const float* from = p + j * k8;
    const VLanesInt low = hn::NearestInt(hn::Mul(hn::Load(d, from), inverse));
    VLanesInt high = hn::Zero(di);
    if (j + 1 < keys)
      high = hn::NearestInt(hn::Mul(hn::Load(d, from + k8), inverse));
    hn::Store(hn::Or(low, hn::ShiftLeft<16>(high)), di, pairs + j / 2 * k8);
  }
}

#endif  // DAPPLE_DECODE_LANES

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
