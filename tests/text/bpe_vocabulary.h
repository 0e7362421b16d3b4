// Small byte-level BPE vocabularies, trained here from a text: 256 bytes, then
// one token a merge, in the layout of the GGUF files people have.
#ifndef DAPPLE_TESTS_TEXT_BPE_VOCABULARY_H_
#define DAPPLE_TESTS_TEXT_BPE_VOCABULARY_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "test_tokenizer.h"

namespace dapple::testing {

// GPT-2's alphabet by its definition, not by src/: printable Latin-1 stands
// for itself, the others are counted from U+0100.
inline std::string Spelled(unsigned char byte) {
  int code = byte;
  const auto printable = [](int b) {
    return (b > 32 && b < 127) || (b > 160 && b < 173) || b > 173;
  };
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += !printable(b);
  }
  if (code < 128) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6),
          static_cast<char>(0x80 | (code & 63))};
}
inline std::string Spelled(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) out += Spelled(static_cast<unsigned char>(c));
  return out;
}

struct BpeVocabulary : TestVocabulary {
  std::vector<std::string> raw;  // [vocab], tokens' own bytes
  std::map<std::pair<TokenId, TokenId>, TokenId> joins;  // ids grow with rank

  BpeVocabulary() {
    model = "gpt2";
    pre = "gpt-2";
    for (int i = 0; i < 256; ++i)
      AddToken(std::string(1, static_cast<char>(i)));
    AddMerge(0, 0);  // 256: a file has merges
  }
  TokenId AddToken(const std::string& bytes) {
    raw.push_back(bytes);
    Add(Spelled(bytes), kNormal);
    scores.clear();
    return static_cast<TokenId>(raw.size()) - 1;
  }
  TokenId AddSpecial(const std::string& name, int32_t type) {
    raw.push_back(name);
    Add(name, type);
    scores.clear();
    return static_cast<TokenId>(raw.size()) - 1;
  }
  void AddMerge(TokenId left, TokenId right) {
    merges.push_back(tokens[static_cast<size_t>(left)] + " " +
                     tokens[static_cast<size_t>(right)]);
    joins[{left, right}] = AddToken(raw[static_cast<size_t>(left)] +
                                    raw[static_cast<size_t>(right)]);
  }
  // Joins the most frequent pair of neighbours, `count` times.
  void Train(const std::string& text, int count) {
    std::vector<TokenId> ids = BytesOf(text);
    while (count-- > 0) {
      std::map<std::pair<TokenId, TokenId>, int> seen;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        // Words: a token may begin with a space and have none elsewhere.
        if (raw[static_cast<size_t>(ids[i + 1])][0] != ' ')
          ++seen[{ids[i], ids[i + 1]}];
      }
      std::pair<TokenId, TokenId> best;
      int most = 1;
      for (const auto& [pair, times] : seen)
        if (times > most) best = pair, most = times;
      if (most == 1) return;
      AddMerge(best.first, best.second);
      ids = Joined(ids, best);
    }
  }
  // One word's tokens by the definition: the first rule that applies
  // anywhere, everywhere, then again.
  std::vector<TokenId> Reference(const std::string& word) const {
    std::vector<TokenId> ids = BytesOf(word);
    for (;;) {
      TokenId first = -1;
      std::pair<TokenId, TokenId> pair;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = joins.find({ids[i], ids[i + 1]});
        if (found != joins.end() && (first < 0 || found->second < first))
          first = found->second, pair = found->first;
      }
      if (first < 0) return ids;
      ids = Joined(ids, pair);
    }
  }

 private:
  static std::vector<TokenId> BytesOf(const std::string& text) {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::vector<TokenId> Joined(const std::vector<TokenId>& ids,
                              std::pair<TokenId, TokenId> pair) const {
    std::vector<TokenId> out;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i + 1 < ids.size() && std::pair(ids[i], ids[i + 1]) == pair) {
        out.push_back(joins.at(pair));
        ++i;
      } else {
        out.push_back(ids[i]);
      }
    }
    return out;
  }
};

}  // namespace dapple::testing

#endif  // DAPPLE_TESTS_TEXT_BPE_VOCABULARY_H_
