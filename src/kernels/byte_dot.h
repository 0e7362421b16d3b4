// Which instructions multiply bytes: a choice beside Highway's target, for
// extensions that Highway has no target for. Cortex-A76 (Raspberry Pi 5,
// RK3588) has sdot but not the bf16 that Highway's next target demands; Intel's
// laptop processors since Alder Lake have AVX-VNNI but no AVX-512.
//
// Code for each lives in a translation unit compiled for it, and is reached
// only where the processor has it (util/cpu_features.h).
#ifndef DAPPLE_KERNELS_BYTE_DOT_H_
#define DAPPLE_KERNELS_BYTE_DOT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dapple::kernels {

enum class ByteDot : uint8_t {
  kHighway,  // whatever Highway's target has
  kNeon,     // ARMv8.0: widening multiplications
  kDotProd,  // sdot
  kI8mm,     // sdot, and smmla in matrix products
  kAvxVnni,  // x86 without AVX-512: vpdpbusd in matrix products
};

// What runs now.
ByteDot ActiveByteDot();
// Compiled and supported by this CPU, best first; kHighway is always the last.
std::vector<ByteDot> SupportedByteDots();
// For tests and DAPPLE_TARGET; must be a supported one.
void ForceByteDot(ByteDot dot);
// Back to the best.
void ResetByteDot();
// "dotprod"
std::string_view ByteDotName(ByteDot dot);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_BYTE_DOT_H_
