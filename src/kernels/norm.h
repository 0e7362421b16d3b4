// RMSNorm (Zhang & Sennrich 2019): out = x / sqrt(mean(x²) + eps) * weight.
#ifndef DAPPLE_KERNELS_NORM_H_
#define DAPPLE_KERNELS_NORM_H_

#include <cstddef>

namespace dapple::kernels {

// x, out: [rows, cols], may alias; weight: [cols].
void RmsNorm(const float* x, const float* weight, float eps, size_t rows,
             size_t cols, float* out);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_NORM_H_
