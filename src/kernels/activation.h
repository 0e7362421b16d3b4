// Gated activation of the feed-forward block (Shazeer 2020).
#ifndef DAPPLE_KERNELS_ACTIVATION_H_
#define DAPPLE_KERNELS_ACTIVATION_H_

#include <cstddef>

namespace dapple::kernels {

// out[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)). [count];
// out may alias gate or up.
void SwiGlu(const float* gate, const float* up, size_t count, float* out);

// The same with GELU's tanh form (Hendrycks & Gimpel 2016, arXiv 1606.08415):
// gelu(x) = x/2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))).
void GeGlu(const float* gate, const float* up, size_t count, float* out);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_ACTIVATION_H_
