// Vocabulary: the tokenizer.ggml.* keys of a GGUF file, checked and copied.
//
// Invariants after Read: pieces, scores and types have equal, non-zero length;
// scores are finite; every id is -1 or inside the vocabulary. Owns its strings.
#ifndef DAPPLE_TEXT_VOCABULARY_H_
#define DAPPLE_TEXT_VOCABULARY_H_

#include <string>
#include <vector>

#include "dapple/status.h"
#include "dapple/tokenizer.h"

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
  std::string path;                 // for messages
  std::vector<std::string> pieces;  // [vocab], U+2581 standing for a space
  std::vector<float> scores;        // [vocab]
  std::vector<TokenType> types;     // [vocab]
  TokenId bos = -1;
  TokenId eos = -1;
  TokenId eot = -1;
  TokenId unknown = -1;
  bool add_bos = true;
  bool add_space_prefix = true;

  // kCorrupt when keys are missing or contradict each other.
  static Result<Vocabulary> Read(const GgufFile& file);
};

// Whether a user-defined piece of this text is a mark between turns rather
// than text that a document may contain: "<|name|>" and a few known names.
bool LooksLikeTurnMark(std::string_view piece);

// Whether a control piece of this text ends a turn, in known vocabularies.
bool EndsTurn(std::string_view piece);

}  // namespace dapple

#endif  // DAPPLE_TEXT_VOCABULARY_H_
