// Selection: from raw scores to the keys that are kept. Common to all policies.
#ifndef DAPPLE_POLICY_SELECTION_H_
#define DAPPLE_POLICY_SELECTION_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "policy/policy.h"

namespace dapple {

// out[i] = max of in[i - width/2 … i + width/2], cut at the ends. [n], not
// aliased; width odd. A probe lights up the start of an answer's span: pooling
// takes its neighbours along (DAPQ.md).
void MaxPool(std::span<const float> in, size_t width, std::span<float> out);
// The same for keys that are not neighbours in the prompt: key i stands at
// places[i] (ascending), keys past its end at next, next + 1, …; only keys
// within width/2 places lend their scores.
void MaxPool(std::span<const float> in, std::span<const uint32_t> places,
             size_t next, size_t width, std::span<float> out);

// The indices of `keep` keys of scores [n], ascending, written to kept
// [keep]; returns how many: min(keep, n). Pinned keys first (the last ones
// before the first ones where even they exceed `keep`), then the largest
// scores; ties go to the smaller index. NaN counts as the lowest score. Linear
// time on average. work: [n], overwritten.
size_t SelectTop(std::span<const float> scores, size_t keep, const Pins& pins,
                 std::span<float> work, std::span<uint32_t> kept);

// Σ scores[kept] / Σ scores; 1 when nothing has a score.
double Coverage(std::span<const float> scores, std::span<const uint32_t> kept);

}  // namespace dapple

#endif  // DAPPLE_POLICY_SELECTION_H_
