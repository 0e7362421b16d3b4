#include "eval.h"

namespace dapple::tool {

void AddEval(CLI::App& root, Run& run) {
  CLI::App* eval = root.add_subcommand("eval", "Measure a model's output");
  eval->require_subcommand(1);
  AddEvalPerplexity(*eval, run);
  AddEvalLogits(*eval, run);
  AddEvalOverlap(*eval, run);
  AddEvalNeedle(*eval, run);
  AddEvalSummarize(*eval, run);
}

}  // namespace dapple::tool
