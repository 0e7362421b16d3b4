#include "dapple/eviction.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "policy/policy.h"

namespace dapple {

Result<KeepBudget> KeepBudget::Parse(std::string_view text) {
  KeepBudget budget;
  if (text == "auto") return budget;
  const bool percent = text.ends_with('%');
  const std::string_view digits =
      percent ? text.substr(0, text.size() - 1) : text;
  const char* end = digits.data() + digits.size();
  if (percent) {
    double share = 0;
    const auto parsed = std::from_chars(digits.data(), end, share);
    if (parsed.ec == std::errc() && parsed.ptr == end && share > 0 &&
        share <= 100) {
      budget.kind = Kind::kShare;
      budget.share = share / 100;
      return budget;
    }
  } else {
    const auto parsed = std::from_chars(digits.data(), end, budget.tokens);
    if (parsed.ec == std::errc() && parsed.ptr == end && budget.tokens > 0) {
      budget.kind = Kind::kTokens;
      return budget;
    }
  }
  return InvalidArgument("'" + std::string(text) +
                         "' is no budget: a number of tokens (256), a share "
                         "of the prompt (3%) or auto");
}

size_t KeepBudget::Resolve(size_t prompt) const {
  switch (kind) {
    case Kind::kAuto:
      return prompt;
    case Kind::kTokens:
      return std::min(tokens, prompt);
    case Kind::kShare:
      break;
  }
  const auto kept =
      static_cast<size_t>(std::llround(share * static_cast<double>(prompt)));
  return std::clamp<size_t>(kept, 1, prompt);
}

std::string KeepBudget::ToString() const {
  if (kind == Kind::kAuto) return "auto";
  if (kind == Kind::kTokens) return std::to_string(tokens);
  char text[32];
  std::snprintf(text, sizeof(text), "%g%%", share * 100);
  return text;
}

Status EvictionOptions::Validate() const {
  if (MakePolicy(*this) == nullptr) {
    std::string names;
    for (const std::string& name : EvictionPolicies())
      names += (names.empty() ? "" : ", ") + name;
    return InvalidArgument("unknown policy '" + policy + "' (" + names + ")");
  }
  if (pool == 0 || pool % 2 == 0 || pool > 1023)
    return InvalidArgument("the pooling width must be odd, from 1 to 1023");
  if (recent == 0 || recent > 4096)
    return InvalidArgument("the recent window must be from 1 to 4096 tokens");
  if (sinks > 4096)
    return InvalidArgument("at most 4096 sink tokens can be pinned");
  return Status::Ok();
}

double KeptReport::KeptShare() const {
  return full_bytes == 0 ? 1.0
                         : static_cast<double>(kept_bytes) /
                               static_cast<double>(full_bytes);
}

double KeptReport::MinCoverage() const {
  double least = layers.empty() ? -1 : layers[0].coverage;
  for (const KeptLayer& layer : layers) least = std::min(least, layer.coverage);
  return least;
}

double KeptReport::MedianCoverage() const {
  if (layers.empty()) return -1;
  std::vector<double> sorted;
  for (const KeptLayer& layer : layers) sorted.push_back(layer.coverage);
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle]
                                : (sorted[middle - 1] + sorted[middle]) / 2;
}

}  // namespace dapple
