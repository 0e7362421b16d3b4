// Matrix–vector products of decoding, several matrices of one input at once.
#ifndef DAPPLE_MODEL_MAT_VEC_H_
#define DAPPLE_MODEL_MAT_VEC_H_

#include <cstddef>
#include <span>

#include "gemm/gemm.h"
#include "kernels/gemv.h"
#include "util/parallel.h"

namespace dapple {

struct MatVecOutput {
  const WeightMatrix* w;  // [n, k]; all outputs of one call share k
  float* y;               // [n]
};

// y = W x for each output. x: [k]. `quantized` has room for k / 32 blocks and
// is used for the weight types that have an integer kernel, unless
// `exact` asks for float activations. One parallel region for all outputs.
void MatVec(std::span<const MatVecOutput> outputs, const float* x, bool exact,
            std::span<kernels::BlockActivation> quantized,
            const Parallel& parallel);

}  // namespace dapple

#endif  // DAPPLE_MODEL_MAT_VEC_H_
