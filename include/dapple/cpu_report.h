// What this processor can do, which code Dapple runs on it, and why.
#ifndef DAPPLE_CPU_REPORT_H_
#define DAPPLE_CPU_REPORT_H_

#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"

namespace dapple {

struct KernelChoice {
  std::string kernel;  // "matrix-vector products"
  std::string choice;  // "dotprod"
  std::string reason;  // "the best of dotprod, neon, highway"
};

struct CpuReport {
  std::string model;         // as the operating system names it
  std::string architecture;  // "x86-64", "aarch64" or "other"
  int cores = 0;             // physical ones that this process may use
  std::string features;      // beyond the architecture's baseline
  // Compiled and supported here, best first.
  std::vector<std::string> targets;            // SIMD, of all kernels
  std::vector<std::string> byte_instructions;  // of integer products
  std::vector<KernelChoice> kernels;
};

CpuReport DescribeCpu();

// Runs everything on one of `targets` or `byte_instructions` (any case) from
// now on. Call it before an engine is opened. kInvalidArgument, naming what
// there is, for any other name.
Status UseTarget(std::string_view name);

}  // namespace dapple

#endif  // DAPPLE_CPU_REPORT_H_
