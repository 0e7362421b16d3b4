// PreTokenizer: how a text is cut into words before byte-level BPE merges
// inside each of them.
//
// One or more patterns, by the name that GGUF's tokenizer.ggml.pre gives them.
// Each pattern in turn cuts the pieces that the one before it left, into what
// it matches and what lies between. Patterns are run by PCRE2 (compiled to
// machine code where it can). Owns the compiled patterns; Split may run
// concurrently.
#ifndef DAPPLE_TEXT_PRE_TOKENIZER_H_
#define DAPPLE_TEXT_PRE_TOKENIZER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"

namespace dapple {

// What a name stands for.
struct PreTokenizerRule {
  const char* name = "";
  std::vector<std::string> patterns = {};  // PCRE2's syntax
  // A word that is a token as a whole is that token, merges or not.
  bool ignore_merges = false;
  // Where the file has no tokenizer.ggml.add_bos_token.
  bool add_bos = false;
};

// nullptr for an unknown name.
const PreTokenizerRule* FindPreTokenizerRule(std::string_view name);

class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view word)>;

  static Result<std::unique_ptr<PreTokenizer>> Create(
      const PreTokenizerRule& rule);
  ~PreTokenizer();

  // Hands `text`'s words to the sink, in order: together they are the text,
  // byte for byte. Bytes that are not UTF-8 become words of their own, one
  // for each run of them.
  Status Split(std::string_view text, const Sink& sink) const;

 private:
  struct Pattern;
  class Run;

  PreTokenizer() = default;

  std::vector<Pattern> patterns_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_PRE_TOKENIZER_H_
