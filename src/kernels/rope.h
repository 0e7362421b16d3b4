// Rotary position embedding (Su et al. 2021, eq. 34), in place.
#ifndef DAPPLE_KERNELS_ROPE_H_
#define DAPPLE_KERNELS_ROPE_H_

#include <cstddef>

namespace dapple::kernels {

enum class RopePairs {
  kAdjacent,  // rotates (x[2i], x[2i+1]): GGUF's llama q/k row order
  kHalves,    // rotates (x[i], x[i + rotary/2]): Hugging Face / NeoX order
};

// x: [rows, heads, head_dim], row r at x + r * row_stride. The first `rotary`
// dims (even, <= head_dim) of each head are rotated, the rest are kept.
// cos, sin: [rows, rotary / 2].
void Rope(float* x, size_t rows, size_t row_stride, size_t heads,
          size_t head_dim, size_t rotary, RopePairs pairs, const float* cos,
          const float* sin);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_ROPE_H_
