#include "kernels/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rope.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/rope-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void RopeRows(float* x, size_t rows, size_t row_stride, size_t heads,
              size_t head_dim, size_t rotary, bool adjacent, const float* cos,
              const float* sin) {
  const size_t pairs = rotary / 2;
  for (size_t r = 0; r < rows; ++r)
    for (size_t h = 0; h < heads; ++h)
      RotateHead(x + r * row_stride + h * head_dim, cos + r * pairs,
                 sin + r * pairs, pairs, adjacent);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(RopeRows);

void Rope(float* x, size_t rows, size_t row_stride, size_t heads,
          size_t head_dim, size_t rotary, RopePairs pairs, const float* cos,
          const float* sin) {
  HWY_DYNAMIC_DISPATCH(RopeRows)
  (x, rows, row_stride, heads, head_dim, rotary, pairs == RopePairs::kAdjacent,
   cos, sin);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
