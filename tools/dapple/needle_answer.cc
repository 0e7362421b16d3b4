#include "needle_answer.h"

#include <algorithm>

#include "needle_score.h"

namespace dapple::tool {
namespace {

// A line break that has something else before it.
bool LineEnded(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos &&
         text.find('\n', first) != std::string::npos;
}

// Greedy decoding that repeats itself so often does not stop doing so; no
// answer has such a run, and policies that lost the text end in one.
bool Loops(const std::vector<TokenId>& ids) {
  constexpr size_t kRun = 24, kLongestPeriod = 4;
  if (ids.size() < kRun) return false;
  for (size_t period = 1; period <= kLongestPeriod; ++period)
    if (std::equal(ids.end() - kRun + period, ids.end(), ids.end() - kRun))
      return true;
  return false;
}

}  // namespace

Result<NeedleAnswer> AnswerGreedily(Session& session,
                                    const Tokenizer& tokenizer,
                                    const std::vector<std::string>& expected,
                                    size_t limit) {
  NeedleAnswer answer;
  answer.stop = "length";
  StreamDetokenizer detokenizer(tokenizer, /*strip_leading_space=*/false);
  const std::vector<TokenId>& ends = tokenizer.end_ids();
  std::vector<TokenId> ids;
  while (answer.tokens < limit) {
    // Logits beyond the tokenizer's vocabulary are padding rows.
    const auto logits = session.logits().first(
        std::min(session.logits().size(), tokenizer.vocab_size()));
    const TokenId id = static_cast<TokenId>(
        std::max_element(logits.begin(), logits.end()) - logits.begin());
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) {
      answer.stop = "end";
      break;
    }
    ++answer.tokens;
    ids.push_back(id);
    answer.text += detokenizer.Push(id);
    if (ShareFound(answer.text, expected) == 1) {
      answer.stop = "found";
      return answer;
    }
    if (LineEnded(answer.text)) {
      answer.stop = "newline";
      return answer;
    }
    if (Loops(ids)) {
      answer.stop = "loop";
      break;
    }
    if (answer.tokens == limit) break;
    DAPPLE_RETURN_IF_ERROR(session.Append(id));
  }
  answer.text += detokenizer.Finish();
  return answer;
}

}  // namespace dapple::tool
