// One vector from the lanes of as many vectors as it has lanes.
//
// Per-target header: include it only from a file that foreach_target includes.
#if defined(DAPPLE_KERNELS_FOLD_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_FOLD_LANES_INL_H_
#undef DAPPLE_KERNELS_FOLD_LANES_INL_H_
#else
#define DAPPLE_KERNELS_FOLD_LANES_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"

#if HWY_ARCH_X86
HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Lane i of the result: `op` over the lanes of v[i]. D: four or eight lanes of
// float or int32_t; v: [lanes].
template <class D, class Op, class V = hn::Vec<D>>
HWY_INLINE V FoldLanes(D d, const V* v, const Op& op) {
  using T = hn::TFromD<D>;
  const hn::Repartition<std::conditional_t<hwy::IsFloat<T>(), double, int64_t>,
                        D>
      d64;
  const auto pair = [&](V a, V b) HWY_ATTR {
    return op(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  };
  const auto four = [&](V a, V b) HWY_ATTR {
    const auto x = hn::BitCast(d64, a), y = hn::BitCast(d64, b);
    return op(hn::BitCast(d, hn::InterleaveLower(d64, x, y)),
              hn::BitCast(d, hn::InterleaveUpper(d64, x, y)));
  };
  const V low = four(pair(v[0], v[1]), pair(v[2], v[3]));
  if constexpr (hn::MaxLanes(D()) == 4) {
    return low;
  } else {
    static_assert(hn::MaxLanes(D()) == 8);
    const V high = four(pair(v[4], v[5]), pair(v[6], v[7]));
    return op(hn::ConcatLowerLower(d, high, low),
              hn::ConcatUpperUpper(d, high, low));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();
#endif  // HWY_ARCH_X86

#endif  // per-target include guard
