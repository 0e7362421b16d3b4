// What the processor can do beyond its architecture's baseline, as far as
// Dapple has code for it. SIMD targets proper are Highway's to detect; these
// are for instructions that it does not reach (kernels/byte_dot.h).
#ifndef DAPPLE_UTIL_CPU_FEATURES_H_
#define DAPPLE_UTIL_CPU_FEATURES_H_

#include <string>

namespace dapple {

struct CpuFeatures {
  // 64-bit ARM, from the kernel's hardware capabilities.
  bool asimd = false;
  bool aes = false;
  bool fp16 = false;     // arithmetic; conversions are everywhere
  bool dotprod = false;  // sdot, udot
  bool i8mm = false;     // smmla, usdot
  bool bf16 = false;     // bfdot, bfmmla
  bool sve = false;
  bool sve2 = false;
  // x86-64, from cpuid, and only what the kernel saves on task switches.
  bool avx2 = false;  // with FMA and F16C
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, CD, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
};

const CpuFeatures& ThisCpu();

// "asimd dotprod fp16": those that are there, or "none".
std::string FeatureNames(const CpuFeatures& features);

}  // namespace dapple

#endif  // DAPPLE_UTIL_CPU_FEATURES_H_
