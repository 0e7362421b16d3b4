// Vector softmax and reductions over a row of logits.
#ifndef DAPPLE_KERNELS_SOFTMAX_H_
#define DAPPLE_KERNELS_SOFTMAX_H_

#include <cstddef>

namespace dapple::kernels {

// x := softmax(x * scale), in place. [count]; -inf entries become 0. Exp error
// is bounded in tests (<= 4 ulp of float over the range used).
void Softmax(float* x, size_t count, float scale);

// x := cap * tanh(x / cap), in place: [count]. cap > 0. The relative error is
// bounded in tests (<= 8 ulp of float).
void Softcap(float* x, size_t count, float cap);

// The first index of the largest value; NaN never wins. count >= 1.
size_t ArgMax(const float* x, size_t count);

// log(Σ exp(x)), accumulated in double.
double LogSumExp(const float* x, size_t count);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_SOFTMAX_H_
