#include "dapple/tokenizer.h"
#include "text/utf8.h"

namespace dapple {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

StreamDetokenizer::StreamDetokenizer(const Tokenizer& tokenizer,
                                     bool strip_leading_space)
    : tokenizer_(tokenizer), strip_leading_space_(strip_leading_space) {}

std::string StreamDetokenizer::Push(TokenId id) {
  pending_ += tokenizer_.Piece(id);
  if (strip_leading_space_ && !pending_.empty()) {
    // Only the first text of the sequence can carry the space prefix.
    if (pending_[0] == ' ') pending_.erase(0, 1);
    strip_leading_space_ = false;
  }
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = NextUtf8(rest);
    if (step.kind == Utf8Step::kIncomplete) break;
    out += step.kind == Utf8Step::kComplete ? rest.substr(0, step.length)
                                            : kReplacement;
    rest.remove_prefix(step.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string StreamDetokenizer::Finish() {
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return std::string(unfinished ? kReplacement : std::string_view());
}

}  // namespace dapple
