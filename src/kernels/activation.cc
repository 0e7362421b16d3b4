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

// out = fn(gate, up), whole vectors and then the rest.
template <class Fn>
void Gate(const float* gate, const float* up, size_t count, float* out,
          const Fn& fn) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  size_t i = 0;
  for (; i + n <= count; i += n)
    hn::StoreU(fn(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, out + i);
  if (i < count) {
    const size_t left = count - i;
    const auto g = hn::LoadN(d, gate + i, left);
    const auto u = hn::LoadN(d, up + i, left);
    hn::StoreN(fn(d, g, u), d, out + i, left);
  }
}

void SwiGluAll(const float* gate, const float* up, size_t count, float* out) {
  Gate(gate, up, count, out,
       [](auto d, auto g, auto u) HWY_ATTR { return SwiGluVec(d, g, u); });
}

void GeGluAll(const float* gate, const float* up, size_t count, float* out) {
  Gate(gate, up, count, out,
       [](auto d, auto g, auto u) HWY_ATTR { return GeGluVec(d, g, u); });
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(SwiGluAll);
HWY_EXPORT(GeGluAll);

void SwiGlu(const float* gate, const float* up, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(SwiGluAll)(gate, up, count, out);
}

void GeGlu(const float* gate, const float* up, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(GeGluAll)(gate, up, count, out);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
