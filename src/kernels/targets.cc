#include "kernels/targets.h"

#include "kernels/attention_layout.h"

#include <algorithm>
#include <cctype>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/targets.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

int64_t ThisTarget() { return HWY_TARGET; }
bool ThisHasBF16Dot() { return HWY_NATIVE_DOT_BF16 != 0; }

AttentionProducts ThisAttentionProducts() {
  if (HWY_NATIVE_DOT_BF16) return AttentionProducts::kBF16;
  return DAPPLE_ATTENTION_INT16 ? AttentionProducts::kInt16
                                : AttentionProducts::kF32;
}

bool ThisDecodesBytesInInt16() { return DAPPLE_DECODE_LANES; }
bool ThisHasF16() { return !HWY_ARCH_X86 || HWY_TARGET <= HWY_AVX2; }

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(ThisTarget);
HWY_EXPORT(ThisHasBF16Dot);
HWY_EXPORT(ThisAttentionProducts);
HWY_EXPORT(ThisDecodesBytesInInt16);
HWY_EXPORT(ThisHasF16);

namespace {
bool is_forced = false;
}

int64_t ActiveTarget() { return HWY_DYNAMIC_DISPATCH(ThisTarget)(); }

bool HasNativeBF16Dot() { return HWY_DYNAMIC_DISPATCH(ThisHasBF16Dot)(); }

AttentionProducts PrefillAttentionProducts() {
  return HWY_DYNAMIC_DISPATCH(ThisAttentionProducts)();
}

bool DecodesBytesInInt16() {
  return HWY_DYNAMIC_DISPATCH(ThisDecodesBytesInInt16)();
}

bool HasF16Conversion() { return HWY_DYNAMIC_DISPATCH(ThisHasF16)(); }

bool TargetIsForced() { return is_forced; }

std::string TargetName(int64_t target) { return hwy::TargetName(target); }

std::vector<int64_t> SupportedTargets() {
  // Asked once, before anything is forced: Highway would list the forced
  // target only.
  static const std::vector<int64_t> targets =
      hwy::SupportedAndGeneratedTargets();
  return targets;
}

void ForceTarget(int64_t target) {
  SupportedTargets();
  is_forced = target != 0;
  hwy::SetSupportedTargetsForTest(target);
  // Without this the choice that an earlier call made would stay.
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

int64_t FindTarget(const std::string& name) {
  std::string upper = name;
  std::transform(
      upper.begin(), upper.end(), upper.begin(),
      [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (int64_t target : SupportedTargets())
    if (TargetName(target) == upper) return target;
  return 0;
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
