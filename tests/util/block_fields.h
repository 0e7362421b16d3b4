// Where the floating-point fields of each quantized block lie: tests fill a
// block with any bytes, then choose what its scales are.
#ifndef DAPPLE_TESTS_UTIL_BLOCK_FIELDS_H_
#define DAPPLE_TESTS_UTIL_BLOCK_FIELDS_H_

#include <cstddef>
#include <vector>

#include "util/tensor_type.h"

namespace dapple {

// Byte offsets of a block's f16 fields; MXFP4 has none, its scale is byte 0.
inline std::vector<size_t> HalfOffsets(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
    case TensorType::kQ5_0:
    case TensorType::kQ8_0:
    case TensorType::kIQ4_NL:
    case TensorType::kIQ4_XS:
      return {0};
    case TensorType::kQ4_1:
    case TensorType::kQ5_1:
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
      return {0, 2};
    case TensorType::kQ2_K:
      return {80, 82};
    case TensorType::kQ3_K:
      return {108};
    case TensorType::kQ6_K:
      return {208};
    default:
      return {};
  }
}

}  // namespace dapple

#endif  // DAPPLE_TESTS_UTIL_BLOCK_FIELDS_H_
