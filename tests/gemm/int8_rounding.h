// What the int8 GEMM makes of its operands, in double precision: products of
// values rounded beforehand lose nothing but in their sums.
#ifndef DAPPLE_TESTS_GEMM_INT8_ROUNDING_H_
#define DAPPLE_TESTS_GEMM_INT8_ROUNDING_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "gemm/int8_gemm.h"
#include "kernels/gemv.h"
#include "kernels/reference.h"

namespace dapple::gemm_test {

// x and w [rows, k] rounded to 8 bits a group of 32, as kernels::reference
// does it: then the int8 backend may lose nothing but in its sums.
template <class T>
void RoundGroups(size_t rows, size_t k, std::vector<T>* x) {
  for (size_t r = 0; r < rows; ++r)
    for (size_t first = 0; first < k; first += 32) {
      const size_t count = std::min<size_t>(32, k - first);
      float group[32] = {};
      T* at = x->data() + r * k + first;
      for (size_t i = 0; i < count; ++i) group[i] = static_cast<float>(at[i]);
      kernels::BlockActivation block;
      kernels::reference::QuantizeActivations(group, 32, &block);
      for (size_t i = 0; i < count; ++i)
        at[i] = static_cast<T>(block.scale) * static_cast<T>(block.quants[i]);
    }
}

// x [rows, k] rounded as a kernel with minima rounds rows: a group's scale is a
// multiple of its row's. Each group's largest becomes 127 of its scale, or the
// scale of the rounded group would be another.
inline void RoundRows(size_t rows, size_t k, std::vector<float>* x) {
  constexpr double kMost = int8_gemm::kMaxMultiple;
  const auto less = [](float a, float b) { return std::abs(a) < std::abs(b); };
  for (size_t r = 0; r < rows; ++r) {
    float* row = x->data() + r * k;
    const double unit =
        std::abs(*std::max_element(row, row + k, less)) / (127 * kMost);
    for (size_t first = 0; first < k; first += 32) {
      float* last = row + std::min(first + 32, k);
      float* largest = std::max_element(row + first, last, less);
      const double scale =
          unit * std::ceil(std::abs(*largest) / (127 * unit) - 1e-6);
      const double top = *largest < 0 ? -127 : 127;
      for (float* at = row + first; at != last; ++at)
        *at = static_cast<float>(
            scale * (at == largest ? top : std::round(*at / scale)));
    }
  }
}

}  // namespace dapple::gemm_test

#endif  // DAPPLE_TESTS_GEMM_INT8_ROUNDING_H_
