// Every kernel of the int8 GEMM that this processor has.
#ifndef DAPPLE_TESTS_GEMM_INT8_KERNELS_H_
#define DAPPLE_TESTS_GEMM_INT8_KERNELS_H_

#include <doctest/doctest.h>

#include "kernels/byte_dot.h"
#include "kernels/targets.h"

namespace dapple::gemm_test {

// Calls check() with each in turn: those of byte instructions, then Highway's
// on every target.
template <class Check>
void OnEveryInt8Kernel(const Check& check) {
  for (kernels::ByteDot dot : kernels::SupportedByteDots()) {
    kernels::ForceByteDot(dot);
    CAPTURE(kernels::ByteDotName(dot));
    check();
  }
  kernels::ForceByteDot(kernels::ByteDot::kHighway);
  for (int64_t target : kernels::SupportedTargets()) {
    kernels::ForceTarget(target);
    CAPTURE(kernels::TargetName(target));
    check();
  }
  kernels::ForceTarget(0);
  kernels::ResetByteDot();
}

}  // namespace dapple::gemm_test

#endif  // DAPPLE_TESTS_GEMM_INT8_KERNELS_H_
