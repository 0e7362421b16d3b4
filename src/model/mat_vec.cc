#include "model/mat_vec.h"

#include <algorithm>

#include "util/checked.h"

namespace dapple {
namespace {

// Rows of one work item: enough to amortise dispatch, few enough that two
// threads stay balanced on a 512-row matrix.
constexpr size_t kRowsPerItem = 64;

}  // namespace

void MatVec(std::span<const MatVecOutput> outputs, const float* x, bool exact,
            std::span<kernels::BlockActivation> quantized,
            const Parallel& parallel) {
  const size_t k = outputs[0].w->k;
  bool any_quantized = false;
  size_t items = 0;
  for (const MatVecOutput& output : outputs) {
    any_quantized |= !exact && kernels::HasQuantizedGemv(output.w->type);
    items += CeilDiv(output.w->n, kRowsPerItem);
  }
  if (any_quantized) kernels::QuantizeActivations(x, k, quantized.data());
  parallel.For(items, [&](size_t item, int) {
    const MatVecOutput* output = outputs.data();
    while (item >= CeilDiv(output->w->n, kRowsPerItem))
      item -= CeilDiv(output++->w->n, kRowsPerItem);
    const WeightMatrix& w = *output->w;
    const size_t first = item * kRowsPerItem;
    const size_t last = std::min(w.n, first + kRowsPerItem);
    if (!exact && kernels::HasQuantizedGemv(w.type))
      kernels::GemvQuantized(w.type, w.data, w.row_bytes, k, first, last,
                             quantized.data(), output->y);
    else
      kernels::Gemv(w.type, w.data, w.row_bytes, k, first, last, x, output->y);
  });
}

}  // namespace dapple
