#include "dapple/cpu_report.h"

#include <algorithm>
#include <cctype>

#include "gemm/gemm.h"
#include "gemm/int8_gemm.h"
#include "kernels/byte_dot.h"
#include "kernels/targets.h"
#include "util/cpu_features.h"
#include "util/cpu_info.h"

namespace dapple {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(
      lower.begin(), lower.end(), lower.begin(),
      [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::string Listed(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names)
    list += (list.empty() ? "" : ", ") + name;
  return list;
}

std::vector<std::string> TargetNames() {
  std::vector<std::string> names;
  for (const int64_t target : kernels::SupportedTargets())
    names.push_back(Lower(kernels::TargetName(target)));
  return names;
}

std::string ActiveTargetName() {
  return Lower(kernels::TargetName(kernels::ActiveTarget()));
}

// Without "highway", which is no instruction set of its own.
std::vector<std::string> ByteDotNames() {
  std::vector<std::string> names;
  for (const kernels::ByteDot dot : kernels::SupportedByteDots())
    if (dot != kernels::ByteDot::kHighway)
      names.emplace_back(kernels::ByteDotName(dot));
  return names;
}

// Why one of several runs.
std::string WhyOf(const std::vector<std::string>& names, bool forced) {
  if (forced) return "asked for";
  return names.size() == 1 ? "the only one here"
                           : "the best of " + Listed(names);
}

std::string WhyGemm(GemmBackend backend, bool quantized, bool forced) {
  switch (backend) {
    case GemmBackend::kInt8:
      return "quantized weights, and bytes are multiplied fastest here";
    case GemmBackend::kOneDnn:
      return "the processor has AVX-512 BF16";
    default:
      if (forced) return "the target asked for";
      return quantized ? "bytes are not multiplied faster here"
                       : "weights that are not quantized";
  }
}

KernelChoice PrefillChoice(const char* kernel, bool quantized, bool forced) {
  const GemmBackend backend = Gemm::Choose(quantized);
  std::string choice(Gemm::BackendName(backend));
  if (backend == GemmBackend::kInt8) {
    const std::string name = Int8KernelName();
    choice += " (" + (name == "highway" ? ActiveTargetName() : name) + ")";
  }
  return {kernel, choice, WhyGemm(backend, quantized, forced)};
}

const char* AttentionReason(kernels::AttentionProducts products) {
  switch (products) {
    case kernels::AttentionProducts::kBF16:
      return "prefill multiplies in bf16";
    case kernels::AttentionProducts::kInt16:
      return "prefill multiplies in 16-bit integers: no bf16 dot products here";
    case kernels::AttentionProducts::kF32:
      break;
  }
  return "prefill multiplies in f32: no bf16 dot products here";
}

}  // namespace

CpuReport DescribeCpu() {
  CpuReport report;
  report.model = CpuModelName();
#if defined(__x86_64__)
  report.architecture = "x86-64";
#elif defined(__aarch64__)
  report.architecture = "aarch64";
#else
  report.architecture = "other";
#endif
  report.cores = UsablePhysicalCores();
  report.features = FeatureNames(ThisCpu());
  report.targets = TargetNames();
  report.byte_instructions = ByteDotNames();

  const bool forced = kernels::TargetIsForced();
  const kernels::ByteDot dot = kernels::ActiveByteDot();
  const std::string target = ActiveTargetName();
  const std::string why_target = WhyOf(report.targets, forced);
  const KernelChoice common = {"products with q4_0, q8_0, q4_k, q6_k", target,
                               why_target};
  if (dot == kernels::ByteDot::kHighway)
    report.kernels.push_back(common);
  else
    report.kernels.push_back(
        {common.kernel, std::string(kernels::ByteDotName(dot)),
         WhyOf(report.byte_instructions,
               dot != kernels::SupportedByteDots().front())});
  report.kernels.push_back({"products with other types", target, why_target});
  report.kernels.push_back(
      PrefillChoice("prefill, quantized weights", true, forced));
  report.kernels.push_back(
      PrefillChoice("prefill, other weights", false, forced));
  report.kernels.push_back(
      {"attention and scoring", target,
       AttentionReason(kernels::PrefillAttentionProducts())});
  report.kernels.push_back(
      {"f16 conversion", kernels::HasF16Conversion() ? "hardware" : "emulated",
       kernels::HasF16Conversion() ? "of keys, values and scales"
                                   : "the target has no such instruction"});
  return report;
}

Status UseTarget(std::string_view name) {
  const std::string lower = Lower(name);
  for (const kernels::ByteDot dot : kernels::SupportedByteDots())
    if (dot != kernels::ByteDot::kHighway &&
        lower == kernels::ByteDotName(dot)) {
      kernels::ForceByteDot(dot);
      return Status::Ok();
    }
  if (const int64_t target = kernels::FindTarget(lower)) {
    kernels::ForceTarget(target);
    kernels::ForceByteDot(kernels::ByteDot::kHighway);
    return Status::Ok();
  }
  std::vector<std::string> all = ByteDotNames();
  for (const std::string& target : TargetNames()) all.push_back(target);
  return InvalidArgument("this processor has no target '" + std::string(name) +
                         "'; it has " + Listed(all));
}

}  // namespace dapple
