// SentencepieceTokenizer: a "llama" vocabulary run by the sentencepiece
// library.
//
// The library sees plain text only. Control tokens, and user-defined ones that
// mark turns, are handed to it under names that no text can spell, so a
// document never yields them; Encode splits them off itself on request. Other
// user-defined pieces (Gemma's "\n\n", say) are text and stay with the library.
// Owns the processor and a copy of the pieces; const methods may run
// concurrently.
#ifndef DAPPLE_TEXT_SENTENCEPIECE_TOKENIZER_H_
#define DAPPLE_TEXT_SENTENCEPIECE_TOKENIZER_H_

#include <sentencepiece_processor.h>

#include <bitset>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/tokenizer.h"
#include "text/added_tokens.h"
#include "text/vocabulary.h"

namespace dapple {

class SentencepieceTokenizer final : public Tokenizer {
 public:
  // kCorrupt, naming vocabulary.path, when the pieces contradict each other.
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
  enum class Kind : uint8_t { kText, kByte, kControl, kSilent };

  SentencepieceTokenizer() = default;
  Status Load(const Vocabulary& vocabulary);
  Status Hand(const std::string& model_proto);  // to the library
  void FindSpecials(const Vocabulary& vocabulary);
  void FindCutRules(const Vocabulary& vocabulary);
  std::string_view Text(TokenId id) const;  // "" outside the vocabulary
  bool CutsWords(std::string_view text, size_t at) const;
  size_t NextCut(std::string_view text, size_t from) const;
  size_t NextWord(std::string_view text) const;
  size_t NextPart(std::string_view text) const;
  // part_ids: scratch.
  Status EncodePart(std::string_view part, std::vector<int>* part_ids,
                    std::vector<TokenId>* ids) const;
  Status EncodePlain(std::string_view text, bool space_prefix,
                     std::vector<TokenId>* ids) const;

  sentencepiece::SentencePieceProcessor processor_;
  std::string path_;
  std::string texts_;              // all pieces' bytes, one after the other
  std::vector<uint32_t> offsets_;  // [vocab + 1], into texts_
  std::vector<Kind> kinds_;        // [vocab]
  AddedTokens specials_;
  // Sorted code points between which and a following space (after a newline)
  // some piece spans: no cut there.
  std::vector<char32_t> joins_space_;
  std::vector<char32_t> joins_newline_;
  // Last and first byte of characters that are neighbours in some piece.
  std::bitset<65536> joins_;
  bool may_cut_ = false;
  TokenId bos_ = -1;
  TokenId eos_ = -1;
  bool add_bos_ = false;
  bool add_eos_ = false;
  bool add_space_prefix_ = true;
  std::vector<TokenId> end_ids_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_SENTENCEPIECE_TOKENIZER_H_
