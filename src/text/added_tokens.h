// AddedTokens: tokens that are found in a text by their whole name before the
// rest of it is tokenized: control tokens, marks between turns, and added
// pieces of plain text.
//
// Special ones count only where the caller's text is trusted, so that a
// document cannot forge a turn; the others count everywhere. The longest match
// at the first place wins. Owns the names; Next may run concurrently.
#ifndef DAPPLE_TEXT_ADDED_TOKENS_H_
#define DAPPLE_TEXT_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dapple/tokenizer.h"

namespace dapple {

class AddedTokens {
 public:
  struct Flags {
    bool special = true;
    bool takes_space_before = false;  // Hugging Face's lstrip
    bool takes_space_after = false;   // rstrip
  };
  // A name that is there already keeps its first id. Empty names are ignored.
  void Add(std::string_view name, TokenId id, const Flags& flags);
  TokenId Find(std::string_view name) const;  // -1: none
  size_t MemoryBytes() const { return memory_bytes_; }

  struct Match {
    size_t begin = 0, end = 0;  // with the white space it takes
    TokenId id = -1;
  };
  // The first token at or after `from`. `plain`: sorted, disjoint ranges of
  // `text` in which no special token may lie, not even in part.
  std::optional<Match> Next(std::string_view text, size_t from,
                            bool parse_special,
                            std::span<const TextRange> plain) const;

 private:
  struct Entry {
    TokenId id;
    Flags flags;
  };

  std::deque<std::string> names_;  // stable, for the views below
  std::unordered_map<std::string_view, Entry> entries_;
  // Lengths of the names that begin with a byte, the longest first.
  std::array<std::vector<uint32_t>, 256> lengths_;
  bool has_plain_ = false;
  size_t memory_bytes_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_ADDED_TOKENS_H_
