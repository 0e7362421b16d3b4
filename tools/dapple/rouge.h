// ROUGE-L: how much of a reference text comes again in another, in order.
//
// C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004,
// §3.1, sentence-level LCS: both texts, whole, are one sequence of words each;
// L is the length of their longest common subsequence; recall L / |reference|,
// precision L / |text|, F with β = 1. Words are the maximal runs of ASCII
// letters and digits, lower-cased; everything else parts words; no stemming,
// no stop words. (This is also what the rouge-score package does by default.)
#ifndef DAPPLE_TOOLS_ROUGE_H_
#define DAPPLE_TOOLS_ROUGE_H_

#include <string>
#include <string_view>
#include <vector>

namespace dapple::tool {

struct Rouge {
  double precision = 0;  // [0, 1], all three
  double recall = 0;
  double f1 = 0;
};

std::vector<std::string> RougeWords(std::string_view text);

// All 0 when either text has no words. Time: words × words.
Rouge RougeL(std::string_view text, std::string_view reference);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_ROUGE_H_
