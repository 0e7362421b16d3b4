// PieceIndex: token ids by text, over texts that lie one after the other.
//
// Open addressing with four bytes a slot: an index of 256 k tokens takes 2 MiB
// where std::unordered_map would take 14. Borrows nothing: the texts are given
// with every call and must be those that were there at Add.
#ifndef DAPPLE_TEXT_PIECE_INDEX_H_
#define DAPPLE_TEXT_PIECE_INDEX_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "dapple/tokenizer.h"

namespace dapple {

class PieceIndex {
 public:
  // At most `count` pieces will be added.
  explicit PieceIndex(size_t count)
      : slots_(std::bit_ceil(std::max<size_t>(count + count / 2, 16)), -1) {}

  // text_of(id) gives an id's text.
  template <class TextOf>
  TokenId Find(std::string_view text, const TextOf& text_of) const {
    return slots_[Place(text, text_of)];
  }
  // Leaves a text that is there already to its first id.
  template <class TextOf>
  void Add(std::string_view text, TokenId id, const TextOf& text_of) {
    TokenId& slot = slots_[Place(text, text_of)];
    if (slot < 0) slot = id;
  }
  size_t MemoryBytes() const { return slots_.capacity() * sizeof(TokenId); }

 private:
  template <class TextOf>
  size_t Place(std::string_view text, const TextOf& text_of) const {
    const size_t mask = slots_.size() - 1;
    size_t i = std::hash<std::string_view>()(text) & mask;
    while (slots_[i] >= 0 && text_of(slots_[i]) != text) i = (i + 1) & mask;
    return i;
  }

  std::vector<TokenId> slots_;  // -1: free
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_PIECE_INDEX_H_
