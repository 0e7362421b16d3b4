// WordCache: the tokens of short words seen before in one text.
//
// Prose repeats itself, and a look-up costs less than merging. What it holds of
// a word is what its tokenizer made of that word alone, so it serves only where
// a word's tokens do not depend on its neighbours. Direct-mapped; owns 168 KiB
// while one text is encoded.
#ifndef DAPPLE_TEXT_WORD_CACHE_H_
#define DAPPLE_TEXT_WORD_CACHE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "dapple/tokenizer.h"

namespace dapple {

class WordCache {
 public:
  static constexpr size_t kWordBytes = 18;
  struct Entry {
    uint8_t length = 0;  // 0: free, or holding another word than asked for
    uint8_t id_count = 0;
    char word[kWordBytes];
    TokenId ids[5];
  };

  // Short texts do not pay for the table.
  explicit WordCache(size_t text_bytes)
      : entries_(text_bytes < 16384 ? 0 : kEntries) {}

  bool enabled() const { return !entries_.empty(); }

  // The place for `word`; its length is the word's if it is there. nullptr
  // for words that are not kept.
  Entry* Find(std::string_view word) {
    if (entries_.empty() || word.size() > kWordBytes || word.size() < 2)
      return nullptr;
    Entry& entry =
        entries_[std::hash<std::string_view>()(word) & (kEntries - 1)];
    if (std::string_view(entry.word, entry.length) != word) entry.length = 0;
    return &entry;
  }
  static void Fill(Entry* entry, std::string_view word,
                   std::span<const TokenId> ids) {
    if (ids.size() > std::size(entry->ids)) return;
    entry->length = static_cast<uint8_t>(word.size());
    entry->id_count = static_cast<uint8_t>(ids.size());
    std::ranges::copy(word, entry->word);
    std::ranges::copy(ids, entry->ids);
  }

 private:
  static constexpr size_t kEntries = 4096;
  std::vector<Entry> entries_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_WORD_CACHE_H_
