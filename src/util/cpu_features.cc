#include "util/cpu_features.h"

#include <cstdint>
#include <utility>

#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

namespace dapple {
namespace {

#if defined(__aarch64__)

// Bits of Linux's AT_HWCAP and AT_HWCAP2 (arch/arm64/include/uapi/asm/hwcap.h);
// given here because older C libraries lack some of the names.
CpuFeatures Detect() {
  const unsigned long first = getauxval(AT_HWCAP);
  const unsigned long second = getauxval(AT_HWCAP2);
  CpuFeatures f;
  f.asimd = first >> 1 & 1;
  f.aes = first >> 3 & 1;
  f.fp16 = first >> 10 & 1;  // ASIMDHP
  f.dotprod = first >> 20 & 1;
  f.sve = first >> 22 & 1;
  f.sve2 = second >> 1 & 1;
  f.i8mm = second >> 13 & 1;
  f.bf16 = second >> 14 & 1;
  return f;
}

#elif defined(__x86_64__)

// XCR0: which registers the kernel saves.
uint64_t SavedState() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Intel's Architectures Software Developer's Manual, volume 2A, CPUID.
CpuFeatures Detect() {
  CpuFeatures f;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, f16c = c >> 29 & 1;
  if (!osxsave) return f;
  const uint64_t saved = SavedState();
  const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xE6) == 0xE6;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  const unsigned subleaves = a;
  f.avx2 = ymm && fma && f16c && (b >> 5 & 1);
  constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 |
                               1u << 31;  // F, DQ, CD, BW, VL
  f.avx512 = zmm && (b & kAvx512) == kAvx512;
  f.avx512_vnni = f.avx512 && (c >> 11 & 1);
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
    f.avx_vnni = f.avx2 && (a >> 4 & 1);
    f.avx512_bf16 = f.avx512 && (a >> 5 & 1);
  }
  return f;
}

#else

CpuFeatures Detect() { return {}; }

#endif

}  // namespace

const CpuFeatures& ThisCpu() {
  static const CpuFeatures features = Detect();
  return features;
}

std::string FeatureNames(const CpuFeatures& f) {
  const std::pair<bool, const char*> all[] = {
      {f.asimd, "asimd"},
      {f.aes, "aes"},
      {f.fp16, "fp16"},
      {f.dotprod, "dotprod"},
      {f.i8mm, "i8mm"},
      {f.bf16, "bf16"},
      {f.sve, "sve"},
      {f.sve2, "sve2"},
      {f.avx2, "avx2"},
      {f.avx_vnni, "avx_vnni"},
      {f.avx512, "avx512"},
      {f.avx512_vnni, "avx512_vnni"},
      {f.avx512_bf16, "avx512_bf16"},
  };
  std::string names;
  for (const auto& [there, name] : all) {
    if (!there) continue;
    if (!names.empty()) names += ' ';
    names += name;
  }
  return names.empty() ? "none" : names;
}

}  // namespace dapple
