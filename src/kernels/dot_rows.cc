#include "kernels/dot_rows.h"

#include "kernels/byte_dot.h"

namespace dapple::kernels {

DotRowsFunction FindDotRows(TensorType type) {
  const DotRowsTable* table = nullptr;
#if defined(__aarch64__)
  switch (ActiveByteDot()) {
    default:
      break;
    case ByteDot::kNeon:
      table = &kNeonDotRows;
      break;
    case ByteDot::kDotProd:
    case ByteDot::kI8mm:  // one column: smmla would do half its work in vain
      table = &kDotProdDotRows;
      break;
  }
#endif
  if (table == nullptr) return nullptr;
  switch (type) {
    case TensorType::kQ4_0:
      return table->q4_0;
    case TensorType::kQ8_0:
      return table->q8_0;
    case TensorType::kQ4_K:
      return table->q4_k;
    case TensorType::kQ6_K:
      return table->q6_k;
    default:
      return nullptr;
  }
}

}  // namespace dapple::kernels
