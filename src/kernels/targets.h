// Which SIMD targets the kernels were compiled for and which one runs.
//
// Tests force each target in turn; a kernel that silently fell back to another
// target is caught because ActiveTarget() is compiled like every kernel.
#ifndef DAPPLE_KERNELS_TARGETS_H_
#define DAPPLE_KERNELS_TARGETS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace dapple::kernels {

// HWY_TARGET of the code that dispatch picks now.
int64_t ActiveTarget();
// "AVX3_ZEN4" and the like.
std::string TargetName(int64_t target);
// Compiled and supported by this CPU, best first.
std::vector<int64_t> SupportedTargets();
// Restricts dispatch to one target (for tests and DAPPLE_TARGET); 0 undoes it.
void ForceTarget(int64_t target);
// Whether ForceTarget did.
bool TargetIsForced();
// "avx3_zen4" (any case) to its id; 0 when unknown or not supported here.
int64_t FindTarget(const std::string& name);
// True where bf16 dot products run in hardware (AVX512-BF16, NEON bf16).
bool HasNativeBF16Dot();
// What prefill attention multiplies in, rows of float apart: bf16 where there
// is a dot product of it, 16-bit integers where these are faster than float
// (x86 up to AVX2), else float.
enum class AttentionProducts { kF32, kBF16, kInt16 };
AttentionProducts PrefillAttentionProducts();
// Whether decode attention multiplies kQ8 rows as 16-bit integers (AVX2).
bool DecodesBytesInInt16();
// True where f16 becomes float in hardware (F16C, every 64-bit ARM).
bool HasF16Conversion();

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_TARGETS_H_
