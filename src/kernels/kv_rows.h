// Conversions between float and rows of keys or values (util/kv_row.h).
#ifndef DAPPLE_KERNELS_KV_ROWS_H_
#define DAPPLE_KERNELS_KV_ROWS_H_

#include <cstddef>

#include "util/kv_row.h"

namespace dapple::kernels {

// `count` rows of head_dim floats, row r at x + r * x_stride, to consecutive
// rows of `type`. F16 saturates. kQ8: |error| <= scale / 2, the row's largest
// magnitude being 127 scales; kQ4: |error| <= scale / 2, a block's range being
// 15 scales, plus the rounding of `least` to F16. A row (kQ8) or block (kQ4)
// that holds an infinity or NaN becomes NaN.
void StoreKvRows(KvType type, const float* x, size_t x_stride, size_t count,
                 size_t head_dim, void* rows);

// The inverse: `count` consecutive rows to x + r * x_stride.
void LoadKvRows(KvType type, const void* rows, size_t count, size_t head_dim,
                float* x, size_t x_stride);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_KV_ROWS_H_
