// BpeTokenizer: a "gpt2" vocabulary: byte-level BPE with merge rules.
//
// Added tokens are split off first, the rest is cut into words by the
// pre-tokenizer that the file names, and each word's bytes are merged. Where
// every byte has a token, any bytes can be encoded and come back as they were;
// a byte without one (Falcon and StarCoder lack control characters) is left
// out, as the models' own tokenizers do.
// Merges that would make a special token are left out: no text yields one.
// Owns copies of all texts; const methods may run concurrently.
#ifndef DAPPLE_TEXT_BPE_TOKENIZER_H_
#define DAPPLE_TEXT_BPE_TOKENIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe_merges.h"
#include "text/piece_index.h"
#include "text/pre_tokenizer.h"
#include "text/vocabulary.h"

namespace dapple {

class BpeTokenizer final : public Tokenizer {
 public:
  // kUnsupported, naming the pre-tokenizer, for one that Dapple does not have;
  // kCorrupt when vocabulary and merges contradict each other.
  static Result<std::unique_ptr<Tokenizer>> Create(
      const Vocabulary& vocabulary);

  Result<std::vector<TokenId>> Encode(
      std::string_view text, const EncodeOptions& options) const override;
  std::string Piece(TokenId id, bool render_special) const override;
  std::string Decode(const std::vector<TokenId>& ids,
                     bool render_special) const override;
  size_t vocab_size() const override { return kinds_.size(); }
  TokenId bos() const override { return bos_; }
  TokenId eos() const override { return eos_; }
  bool adds_bos() const override { return add_bos_ && bos_ >= 0; }
  bool adds_eos() const override { return add_eos_ && eos_ >= 0; }
  bool adds_space_prefix() const override { return add_space_prefix_; }
  const std::vector<TokenId>& end_ids() const override { return end_ids_; }
  bool IsControl(TokenId id) const override;
  TokenId FindPiece(std::string_view text) const override;
  size_t MemoryBytes() const override;

 private:
  enum class Kind : uint8_t {
    kText,     // of the vocabulary proper
    kAdded,    // user-defined text, found before all else
    kMark,     // special, but shown: "<think>"
    kControl,  // special, not shown
    kUnused,
  };

  explicit BpeTokenizer(const Vocabulary& vocabulary);
  void AddPieces(const Vocabulary& vocabulary);
  void AddSpecials(const Vocabulary& vocabulary);
  Status AddMerges(const Vocabulary& vocabulary);
  Kind KindOf(const Vocabulary& vocabulary, size_t i) const;
  std::string_view Text(TokenId id) const;  // "" outside the vocabulary
  TokenId FindText(std::string_view bytes) const;
  bool IsSpecialText(std::string_view bytes) const;
  Status EncodeText(std::string_view text, bool space_prefix,
                    std::vector<TokenId>* ids) const;
  void EncodeWord(std::string_view word, std::vector<TokenId>* ids) const;
  // The first byte of a word that has no token, or its end.
  size_t MissingByte(std::string_view word) const;

  std::string path_;
  std::string texts_;              // all tokens' bytes, one after the other
  std::vector<uint32_t> offsets_;  // [vocab + 1], into texts_
  std::vector<Kind> kinds_;        // [vocab]
  PieceIndex index_;               // of kText and kAdded
  BpeMerges merges_;
  AddedTokens added_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  bool ignore_merges_ = false;
  bool has_all_bytes_ = true;
  TokenId bos_ = -1;
  TokenId eos_ = -1;
  bool add_bos_ = false;
  bool add_eos_ = false;
  bool add_space_prefix_ = false;
  std::vector<TokenId> end_ids_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_BPE_TOKENIZER_H_
