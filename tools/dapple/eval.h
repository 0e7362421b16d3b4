// The parts of `dapple eval`: one file each.
#ifndef DAPPLE_TOOLS_EVAL_H_
#define DAPPLE_TOOLS_EVAL_H_

#include <cmath>
#include <cstddef>
#include <vector>

#include "command.h"

namespace dapple::tool {

void AddEvalPerplexity(CLI::App& eval, Run& run);
void AddEvalLogits(CLI::App& eval, Run& run);
void AddEvalOverlap(CLI::App& eval, Run& run);
void AddEvalNeedle(CLI::App& eval, Run& run);
void AddEvalSummarize(CLI::App& eval, Run& run);

// log Σ exp(logits), in double. logits: [count], count >= 1.
inline double LogSumExp(const float* logits, size_t count) {
  double largest = logits[0];
  for (size_t i = 1; i < count; ++i)
    if (logits[i] > largest) largest = logits[i];
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(logits[i] - largest);
  return largest + std::log(sum);
}

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_EVAL_H_
