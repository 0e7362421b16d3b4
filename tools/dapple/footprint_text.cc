#include "footprint_text.h"

#include "needle_prose.h"

namespace dapple::tool {
namespace {

bool IsContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// The next or last place in the text that no character reaches across.
size_t Step(std::string_view text, size_t at, bool forward) {
  do {
    at += forward ? 1 : size_t{0} - 1;
  } while (at > 0 && at < text.size() && IsContinuation(text[at]));
  return at;
}

}  // namespace

Result<std::string> TextOfTokens(const Tokenizer& tokenizer,
                                 std::string_view text, size_t tokens) {
  DAPPLE_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                          tokenizer.Encode(text, {}));
  if (ids.size() < tokens)
    return InvalidArgument("the text has only " + std::to_string(ids.size()) +
                           " tokens, " + std::to_string(tokens) +
                           " are needed");
  // Where the whole text's tokens end is where its beginning's end, but for
  // the last ones.
  size_t cut = 0;
  for (size_t i = 0; i < tokens; ++i) cut += tokenizer.Piece(ids[i]).size();
  if (tokenizer.adds_space_prefix() && cut > 0) --cut;
  cut = std::min(cut, text.size());
  while (cut < text.size() && IsContinuation(text[cut])) ++cut;
  constexpr int kAttempts = 256;
  for (int attempt = 0; attempt < kAttempts && cut > 0; ++attempt) {
    DAPPLE_ASSIGN_OR_RETURN(const std::vector<TokenId> part,
                            tokenizer.Encode(text.substr(0, cut), {}));
    if (part.size() == tokens) return std::string(text.substr(0, cut));
    const bool forward = part.size() < tokens;
    if (forward && cut == text.size()) break;
    cut = Step(text, cut, forward);
  }
  return Unsupported("no cut of the text gives exactly " +
                     std::to_string(tokens) + " tokens");
}

Result<std::string> ProseOfTokens(const Tokenizer& tokenizer, size_t tokens,
                                  uint64_t seed) {
  NeedleProse prose(seed);
  std::string text;
  size_t bytes = tokens * 4;
  while (true) {
    while (text.size() < bytes) {
      text += prose.NextSentence();
      text += prose.paragraph_ended() ? "\n\n" : " ";
    }
    DAPPLE_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                            tokenizer.Encode(text, {}));
    if (ids.size() > tokens) return text;
    bytes += bytes / 2 + 64;
  }
}

}  // namespace dapple::tool
