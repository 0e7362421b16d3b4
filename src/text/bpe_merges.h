// BpeMerges: the merge rules of a byte-level BPE vocabulary, and how they turn
// the bytes of a word into tokens.
//
// The pair of neighbours with the lowest rank is joined first, the leftmost of
// equal ones, until no pair has a rule (Sennrich et al. 2016, as GPT-2's
// encoder and Hugging Face's tokenizers do it). Short words by searching, long
// ones with a heap: O(n log n). Immutable once built.
#ifndef DAPPLE_TEXT_BPE_MERGES_H_
#define DAPPLE_TEXT_BPE_MERGES_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "dapple/tokenizer.h"

namespace dapple {

class BpeMerges {
 public:
  explicit BpeMerges(size_t count_hint);

  void SetByte(unsigned char byte, TokenId id) { bytes_[byte] = id; }
  TokenId Byte(unsigned char byte) const { return bytes_[byte]; }
  // Ranks grow from call to call; a pair that is there already keeps its own.
  void Add(TokenId left, TokenId right, TokenId joined);

  // Appends the tokens of `word`. Every byte in it must have a token.
  void Encode(std::string_view word, std::vector<TokenId>* ids) const;

  size_t MemoryBytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    uint64_t pair = kEmpty;  // left in the upper half
    uint32_t rank = 0;
    TokenId joined = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // ids are not negative

  static uint64_t Pair(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 |
           static_cast<uint32_t>(right);
  }
  size_t FirstSlot(uint64_t pair) const {
    return static_cast<size_t>((pair * 0x9E3779B97F4A7C15u) >> shift_);
  }
  const Slot* Find(TokenId left, TokenId right) const;
  void Grow();
  void EncodeShort(std::string_view word, std::vector<TokenId>* ids) const;
  void EncodeLong(std::string_view word, std::vector<TokenId>* ids) const;

  std::array<TokenId, 256> bytes_;
  // Open addressing, a power of two, at most 5/8 full.
  std::vector<Slot> slots_;
  int shift_ = 0;
  uint32_t count_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_BPE_MERGES_H_
