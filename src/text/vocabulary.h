// Vocabulary: the tokenizer.ggml.* keys of a GGUF file, checked.
//
// Invariants after Read: pieces, scores and types have equal, non-zero length
// (scores may be missing from a byte-level vocabulary); scores are finite;
// every id is -1 or inside the vocabulary. Texts are views into the file, which
// must stay open: a copy of 256 k pieces would cost 15 MB while loading.
#ifndef DAPPLE_TEXT_VOCABULARY_H_
#define DAPPLE_TEXT_VOCABULARY_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"
#include "dapple/tokenizer.h"
#include "text/added_tokens.h"

namespace dapple {

// Values of tokenizer.ggml.token_type, the same as sentencepiece's own.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct Vocabulary {
  std::string path;   // for messages
  std::string model;  // tokenizer.ggml.model: "llama", "gpt2"
  std::string pre;    // tokenizer.ggml.pre; "": not said
  std::string architecture;
  // [vocab]. U+2581 stands for a space ("llama"); byte alphabet ("gpt2").
  std::vector<std::string_view> pieces;
  std::vector<float> scores;             // [vocab]; may be empty for "gpt2"
  std::vector<TokenType> types;          // [vocab]
  std::vector<std::string_view> merges;  // "left right"; "gpt2" alone
  TokenId bos = -1;
  TokenId eos = -1;
  TokenId eot = -1;
  TokenId eom = -1;
  TokenId unknown = -1;
  // Unset where the file does not say.
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  // Tokens that take the white space before or after them (Dapple's own keys,
  // written by its conversion: GGUF has none).
  std::vector<TokenId> lstrip, rstrip;

  // kCorrupt when keys are missing or contradict each other.
  static Result<Vocabulary> Read(const GgufFile& file);
};

// Whether a user-defined piece of this text is a mark between turns rather
// than text that a document may contain: "<|name|>" and a few known names.
bool LooksLikeTurnMark(std::string_view piece);

// Whether a control piece of this text ends a turn, in known vocabularies.
bool EndsTurn(std::string_view piece);

// How that token, a special one, is found in a text.
AddedTokens::Flags SpecialFlags(const Vocabulary& vocabulary, TokenId id);

}  // namespace dapple

#endif  // DAPPLE_TEXT_VOCABULARY_H_
