#include "dapple/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/softmax.h"

namespace dapple {

Status SamplerOptions::Validate() const {
  if (!(temperature >= 0) || !std::isfinite(temperature))
    return InvalidArgument("temperature must be 0 or more");
  if (top_k < 0) return InvalidArgument("top-k must be 0 or more");
  if (!(top_p > 0) || !(top_p <= 1))
    return InvalidArgument("top-p must be in (0, 1]");
  if (!(min_p >= 0) || !(min_p <= 1))
    return InvalidArgument("min-p must be in [0, 1]");
  if (!(repetition_penalty > 0) || !std::isfinite(repetition_penalty))
    return InvalidArgument("the repetition penalty must be above 0");
  if (repetition_window < 0 || repetition_window > 1 << 20)
    return InvalidArgument("the repetition window must be in [0, 1048576]");
  return Status::Ok();
}

Sampler::Sampler(const SamplerOptions& options, size_t vocab)
    : options_(options), random_(options.seed) {
  candidates_.reserve(vocab);
  if (options.repetition_penalty != 1.0f)
    recent_.assign(static_cast<size_t>(options.repetition_window), -1);
}

void Sampler::Observe(TokenId id) {
  if (recent_.empty()) return;
  recent_[observed_++ % recent_.size()] = id;
}

float Sampler::Penalised(float logit, TokenId id) const {
  if (recent_.empty() ||
      std::find(recent_.begin(), recent_.end(), id) == recent_.end())
    return logit;
  return logit > 0 ? logit / options_.repetition_penalty
                   : logit * options_.repetition_penalty;
}

TokenId Sampler::Sample(std::span<const float> logits,
                        std::span<const TokenId> allowed) {
  candidates_.clear();
  // Sorted only as far as the cuts need: top-k bounds it when given, else the
  // candidates within min-p or within e^-20 of the best.
  const auto floor_below = [&](float best) {
    return best + options_.temperature *
                      std::max(-20.0f, options_.min_p > 0
                                           ? std::log(options_.min_p)
                                           : -20.0f);
  };
  // Of all ids no list is made. Penalties only lower logits, so that the
  // largest of all stays the best where it has none.
  bool listed = false;
  if (allowed.empty() && options_.repetition_penalty >= 1.0f) {
    const size_t first = kernels::ArgMax(logits.data(), logits.size());
    const float largest = logits[first];
    const TokenId id = static_cast<TokenId>(first);
    if (std::isfinite(largest) && options_.temperature == 0 &&
        Penalised(largest, id) == largest)
      return id;
    if (std::isfinite(largest) && options_.temperature != 0 &&
        recent_.empty()) {
      const float floor = floor_below(largest);
      for (size_t i = 0; i < logits.size(); ++i)
        if (logits[i] >= floor)  // false for NaN
          candidates_.push_back({logits[i], static_cast<TokenId>(i)});
      listed = true;
    }
  }
  const auto add = [&](TokenId id) {
    const float logit = logits[static_cast<size_t>(id)];
    // A NaN would break the ordering below; it never wins.
    candidates_.push_back(
        {std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit,
         id});
  };
  if (!listed && allowed.empty())
    for (size_t id = 0; id < logits.size(); ++id) add(static_cast<TokenId>(id));
  for (TokenId id : allowed) add(id);
  // Only the window's ids can be penalised; `allowed` and the full list are
  // both sorted by id.
  for (TokenId id : recent_) {
    const auto found = std::lower_bound(
        candidates_.begin(), candidates_.end(), id,
        [](const Candidate& c, TokenId wanted) { return c.id < wanted; });
    if (found != candidates_.end() && found->id == id)
      found->logit = Penalised(logits[static_cast<size_t>(id)], id);
  }
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (options_.temperature == 0)
    return std::min_element(candidates_.begin(), candidates_.end(), better)->id;

  const float best =
      std::min_element(candidates_.begin(), candidates_.end(), better)->logit;
  const float floor = floor_below(best);
  auto end =
      std::remove_if(candidates_.begin(), candidates_.end(),
                     [floor](const Candidate& c) { return c.logit < floor; });
  if (options_.top_k > 0 && end - candidates_.begin() > options_.top_k) {
    std::nth_element(candidates_.begin(),
                     candidates_.begin() + options_.top_k - 1, end, better);
    end = candidates_.begin() + options_.top_k;
  }
  candidates_.erase(end, candidates_.end());
  std::sort(candidates_.begin(), candidates_.end(), better);

  double total = 0;
  const auto weight = [&](const Candidate& c) {
    return std::exp(static_cast<double>(c.logit - best) / options_.temperature);
  };
  for (const Candidate& c : candidates_) total += weight(c);
  double kept = 0;
  size_t count = 0;
  while (count < candidates_.size() &&
         (count == 0 || kept < options_.top_p * total))
    kept += weight(candidates_[count++]);
  // 53 random bits: the same numbers on every platform and library, which
  // std::uniform_real_distribution does not promise.
  double pick = static_cast<double>(random_() >> 11) * 0x1p-53 * kept;
  for (size_t i = 0; i + 1 < count; ++i) {
    pick -= weight(candidates_[i]);
    if (pick < 0) return candidates_[i].id;
  }
  return candidates_[count - 1].id;
}

}  // namespace dapple
