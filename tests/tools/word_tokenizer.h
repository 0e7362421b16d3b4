// WordTokenizer: a tokenizer for tests, one token a byte run. Words, single
// spaces and every other byte are tokens; ids are given in order of first use.
#ifndef DAPPLE_TESTS_TOOLS_WORD_TOKENIZER_H_
#define DAPPLE_TESTS_TOOLS_WORD_TOKENIZER_H_

#include <cctype>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/tokenizer.h"

namespace dapple {

class WordTokenizer : public Tokenizer {
 public:
  WordTokenizer() : pieces_{"</s>"}, ends_{0} {}

  Result<std::vector<TokenId>> Encode(std::string_view text,
                                      const EncodeOptions&) const override {
    std::vector<TokenId> ids;
    for (size_t begin = 0; begin < text.size();) {
      size_t end = begin + 1;
      if (IsLetter(text[begin]))
        while (end < text.size() && IsLetter(text[end])) ++end;
      ids.push_back(IdOf(std::string(text.substr(begin, end - begin))));
      begin = end;
    }
    return ids;
  }
  std::string Piece(TokenId id, bool) const override {
    return id == 0 ? "" : pieces_[static_cast<size_t>(id)];
  }
  std::string Decode(const std::vector<TokenId>& ids, bool) const override {
    std::string text;
    for (TokenId id : ids) text += Piece(id, false);
    return text;
  }
  size_t vocab_size() const override { return pieces_.size(); }
  TokenId bos() const override { return -1; }
  TokenId eos() const override { return 0; }
  bool adds_bos() const override { return false; }
  const std::vector<TokenId>& end_ids() const override { return ends_; }
  bool IsControl(TokenId id) const override { return id == 0; }
  TokenId FindPiece(std::string_view) const override { return -1; }
  size_t MemoryBytes() const override { return 0; }

 private:
  static bool IsLetter(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0;
  }
  TokenId IdOf(const std::string& piece) const {
    const auto [at, is_new] =
        ids_.emplace(piece, static_cast<TokenId>(pieces_.size()));
    if (is_new) pieces_.push_back(piece);
    return at->second;
  }

  mutable std::vector<std::string> pieces_;
  mutable std::map<std::string, TokenId> ids_;
  std::vector<TokenId> ends_;
};

}  // namespace dapple

#endif  // DAPPLE_TESTS_TOOLS_WORD_TOKENIZER_H_
