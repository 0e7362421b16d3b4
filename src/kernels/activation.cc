#include "kernels/activation.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void SwiGluAll(const float* gate, const float* up, size_t count, float* out) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  size_t i = 0;
  for (; i + n <= count; i += n)
    hn::StoreU(SwiGluVec(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d,
               out + i);
  if (i < count) {
    const size_t left = count - i;
    const auto g = hn::LoadN(d, gate + i, left);
    const auto u = hn::LoadN(d, up + i, left);
    hn::StoreN(SwiGluVec(d, g, u), d, out + i, left);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(SwiGluAll);

void SwiGlu(const float* gate, const float* up, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(SwiGluAll)(gate, up, count, out);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
