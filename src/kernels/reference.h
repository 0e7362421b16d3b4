// Scalar references of every kernel: plain loops, double accumulation, no
// SIMD. What the tests hold the kernels against, and the definition of what
// each computes. Shapes and aliasing are those of the kernels' own headers.
// Nothing here is fast or meant to be called outside tests.
#ifndef DAPPLE_KERNELS_REFERENCE_H_
#define DAPPLE_KERNELS_REFERENCE_H_

#include <cstddef>
#include <vector>

#include "kernels/attention.h"
#include "kernels/gemv.h"
#include "kernels/rope.h"
#include "util/half.h"
#include "util/tensor_type.h"

namespace dapple::kernels::reference {

void RmsNorm(const float* x, const float* weight, float eps, size_t rows,
             size_t cols, float* out);
void Rope(float* x, size_t rows, size_t row_stride, size_t heads,
          size_t head_dim, size_t rotary, RopePairs pairs, const float* cos,
          const float* sin);
void SwiGlu(const float* gate, const float* up, size_t count, float* out);
void GeGlu(const float* gate, const float* up, size_t count, float* out);

// ToF16 of util/half.h, saturating.
F16 ToF16Saturated(float value);
void Dequantize(TensorType type, const void* row, size_t count, float* out);

void QuantizeActivations(const float* x, size_t k, BlockActivation* out);
// Rows [first, last) of y, in double.
void Gemv(TensorType type, const void* w, size_t row_bytes, size_t k,
          size_t first, size_t last, const float* x, double* y);
void GemvQuantized(TensorType type, const void* w, size_t row_bytes, size_t k,
                   size_t first, size_t last, const BlockActivation* x,
                   double* y);

void Softcap(float* x, size_t count, float cap);
void Softmax(float* x, size_t count, float scale);
size_t ArgMax(const float* x, size_t count);
double LogSumExp(const float* x, size_t count);

// One row of keys or values.
void StoreKvRow(KvType type, const float* x, size_t head_dim, void* row);
void LoadKvRow(KvType type, const void* row, size_t head_dim, float* x);

// Both materialise the scores of one query at a time. T: F16 or float
// (tests load quantized rows as float first).
template <class T>
void PrefillAttention(const KvHeadView<T>& kv, const float* q, size_t q_stride,
                      size_t rows, size_t group, size_t first_visible,
                      const AttentionParams& params, float* out,
                      size_t out_stride);
template <class T>
void DecodeAttention(const KvHeadView<T>& kv, const float* q, size_t group,
                     size_t count, const AttentionParams& params, float* out);

// scores: [scored], in double, so that small probabilities can be compared.
template <class T>
void AddProbeScores(const T* keys, size_t head_dim, const float* q,
                    size_t q_stride, size_t rows, size_t group,
                    size_t first_visible, size_t scored,
                    const AttentionParams& params, float weight,
                    double* scores);

}  // namespace dapple::kernels::reference

#endif  // DAPPLE_KERNELS_REFERENCE_H_
