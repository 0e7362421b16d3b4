// Packed weights: panels of `width` output columns, k running downwards.
//
//   bf16  [panels][k_padded / 2][width][2]: neighbouring k's sit together, as
//         the bf16 dot instructions of x86 and Arm want them. With width 64
//         this is oneDNN's BA16a64b2a for k_padded % 32 == 0.
//   f32   [panels][k][width]
// Columns beyond n and inputs beyond k are zero, so kernels need no tail code.
// Nothing here owns memory; a panel is packed wholly by one thread.
#ifndef DAPPLE_GEMM_PANEL_H_
#define DAPPLE_GEMM_PANEL_H_

#include <cstddef>

#include "gemm/gemm.h"
#include "util/half.h"

namespace dapple {

// The widest panel that the packers accept; widths are multiples of 4.
inline constexpr size_t kMaxPanelWidth = 64;

// out: [k_padded / 2][width][2], k_padded even and >= w.k. Weights are rounded
// to bf16 once, to nearest even.
void PackPanelBF16(const WeightMatrix& w, size_t panel, size_t width,
                   size_t k_padded, BF16* out);

// out: [k][width]. Exact for every weight type.
void PackPanelF32(const WeightMatrix& w, size_t panel, size_t width,
                  float* out);

}  // namespace dapple

#endif  // DAPPLE_GEMM_PANEL_H_
