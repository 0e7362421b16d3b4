#include "text/added_tokens.h"

#include <algorithm>
#include <functional>

#include "text/utf8.h"

namespace dapple {
namespace {

bool IsSpace(char32_t c) {
  return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t SkipSpaceAfter(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(at));
    if (step.kind != Utf8Step::kComplete || !IsSpace(step.code_point)) break;
    at += step.length;
  }
  return at;
}

size_t SkipSpaceBefore(std::string_view text, size_t from, size_t at) {
  while (at > from) {
    size_t start = at - 1;
    while (start > from &&
           (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80)
      --start;
    const Utf8Step step = NextUtf8(text.substr(start, at - start));
    if (step.kind != Utf8Step::kComplete || step.length != at - start ||
        !IsSpace(step.code_point))
      break;
    at = start;
  }
  return at;
}

// Whether [begin, end) touches one of the ranges.
bool Touches(std::span<const TextRange> ranges, size_t begin, size_t end) {
  const auto after =
      std::ranges::upper_bound(ranges, begin, std::less<>(), &TextRange::end);
  return after != ranges.end() && after->begin < end;
}

}  // namespace

void AddedTokens::Add(std::string_view name, TokenId id, const Flags& flags) {
  if (name.empty() || entries_.contains(name)) return;
  names_.emplace_back(name);
  entries_.emplace(names_.back(), Entry{id, flags});
  auto& lengths = lengths_[static_cast<unsigned char>(name[0])];
  const uint32_t length = static_cast<uint32_t>(name.size());
  const auto place =
      std::ranges::lower_bound(lengths, length, std::greater<>());
  if (place == lengths.end() || *place != length) lengths.insert(place, length);
  if (!flags.special) has_plain_ = true;
  // A string in a deque, a hash table's node and its bucket.
  memory_bytes_ += sizeof(std::string) + name.size() + 16 + 56 + 8;
}

TokenId AddedTokens::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? -1 : found->second.id;
}

std::optional<AddedTokens::Match> AddedTokens::Next(
    std::string_view text, size_t from, bool parse_special,
    std::span<const TextRange> plain) const {
  if (!parse_special && !has_plain_) return std::nullopt;
  for (size_t at = from; at < text.size(); ++at) {
    for (const uint32_t length :
         lengths_[static_cast<unsigned char>(text[at])]) {
      if (length > text.size() - at) continue;
      const auto found = entries_.find(text.substr(at, length));
      if (found == entries_.end()) continue;
      const Entry& entry = found->second;
      if (entry.flags.special &&
          (!parse_special || Touches(plain, at, at + length)))
        continue;
      Match match{at, at + length, entry.id};
      if (entry.flags.takes_space_before)
        match.begin = SkipSpaceBefore(text, from, at);
      if (entry.flags.takes_space_after)
        match.end = SkipSpaceAfter(text, match.end);
      return match;
    }
  }
  return std::nullopt;
}

}  // namespace dapple
