#include "kernels/peak.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/peak.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.
#include "kernels/peak-inl.h"

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(RunPeakOn);
HWY_EXPORT(ReadWordsOn);

double RunPeak(PeakKind kind, size_t rounds) {
  return HWY_DYNAMIC_DISPATCH(RunPeakOn)(kind, rounds);
}

uint64_t ReadWords(const uint64_t* words, size_t count) {
  return HWY_DYNAMIC_DISPATCH(ReadWordsOn)(words, count);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
