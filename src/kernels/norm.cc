#include "kernels/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/norm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void RmsNormRows(const float* x, const float* weight, float eps, size_t rows,
                 size_t cols, float* out) {
  const hn::ScalableTag<float> d;
  for (size_t r = 0; r < rows; ++r)
    RmsNormRow(d, x + r * cols, weight, eps, cols, out + r * cols);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(RmsNormRows);

void RmsNorm(const float* x, const float* weight, float eps, size_t rows,
             size_t cols, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNormRows)(x, weight, eps, rows, cols, out);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
