#include "text/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace dapple {
namespace {

// Below this the heap costs more than looking at every pair again.
constexpr size_t kShortWord = 32;
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

}  // namespace

BpeMerges::BpeMerges(size_t count_hint) {
  bytes_.fill(-1);
  const size_t slots =
      std::bit_ceil(std::max<size_t>(count_hint + count_hint * 3 / 5, 16));
  slots_.resize(slots);
  shift_ = 64 - std::countr_zero(slots);
}

const BpeMerges::Slot* BpeMerges::Find(TokenId left, TokenId right) const {
  const uint64_t pair = Pair(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t i = FirstSlot(pair);; i = (i + 1) & mask) {
    if (slots_[i].pair == pair) return &slots_[i];
    if (slots_[i].pair == kEmpty) return nullptr;
  }
}

void BpeMerges::Add(TokenId left, TokenId right, TokenId joined) {
  if (Find(left, right) != nullptr) return;
  if (count_ >= slots_.size() / 8 * 5) Grow();
  const uint64_t pair = Pair(left, right);
  const size_t mask = slots_.size() - 1;
  size_t i = FirstSlot(pair);
  while (slots_[i].pair != kEmpty) i = (i + 1) & mask;
  slots_[i] = {pair, count_++, joined};
}

void BpeMerges::Grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  --shift_;
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.pair == kEmpty) continue;
    size_t i = FirstSlot(slot.pair);
    while (slots_[i].pair != kEmpty) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

void BpeMerges::Encode(std::string_view word, std::vector<TokenId>* ids) const {
  if (word.size() == 1) {
    ids->push_back(bytes_[static_cast<unsigned char>(word[0])]);
  } else if (word.size() <= kShortWord) {
    EncodeShort(word, ids);
  } else {
    EncodeLong(word, ids);
  }
}

void BpeMerges::EncodeShort(std::string_view word,
                            std::vector<TokenId>* ids) const {
  TokenId parts[kShortWord];
  uint32_t ranks[kShortWord];  // of part i with part i + 1
  TokenId joined[kShortWord];  // what that pair gives
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i)
    parts[i] = bytes_[static_cast<unsigned char>(word[i])];
  const auto look_up = [&](size_t i) {
    const Slot* slot = Find(parts[i], parts[i + 1]);
    ranks[i] = slot == nullptr ? kNoRank : slot->rank;
    joined[i] = slot == nullptr ? -1 : slot->joined;
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoRank) break;
    parts[best] = joined[best];
    for (size_t i = best + 1; i + 1 < count; ++i) {
      parts[i] = parts[i + 1];
      ranks[i] = ranks[i + 1];
      joined[i] = joined[i + 1];
    }
    --count;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  ids->insert(ids->end(), parts, parts + count);
}

// Parts are a linked list in place of the bytes. A heap entry is stale when
// its pair has changed since: then the pair's rank is another, or its left
// part is gone.
void BpeMerges::EncodeLong(std::string_view word,
                           std::vector<TokenId>* ids) const {
  struct Part {
    TokenId id;  // -1: joined into the part before
    uint32_t before, after;
  };
  struct Candidate {
    uint32_t rank, left;
    bool operator<(const Candidate& other) const {  // the heap's top: smallest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::vector<Part> parts(word.size());
  std::vector<Candidate> heap;
  heap.reserve(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const uint32_t at = static_cast<uint32_t>(i);
    parts[i] = {bytes_[static_cast<unsigned char>(word[i])],
                i == 0 ? kNone : at - 1, i + 1 == word.size() ? kNone : at + 1};
  }
  const auto pair_at = [&](uint32_t left) -> const Slot* {
    if (left == kNone || parts[left].id < 0 || parts[left].after == kNone)
      return nullptr;
    return Find(parts[left].id, parts[parts[left].after].id);
  };
  for (size_t i = 0; i + 1 < word.size(); ++i)
    if (const Slot* slot = pair_at(static_cast<uint32_t>(i)))
      heap.push_back({slot->rank, static_cast<uint32_t>(i)});
  std::make_heap(heap.begin(), heap.end());
  const auto push = [&](uint32_t left) {
    const Slot* slot = pair_at(left);
    if (slot == nullptr) return;
    heap.push_back({slot->rank, left});
    std::push_heap(heap.begin(), heap.end());
  };
  while (!heap.empty()) {
    const Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    const Slot* slot = pair_at(top.left);
    if (slot == nullptr || slot->rank != top.rank) continue;
    Part& left = parts[top.left];
    Part& right = parts[left.after];
    left.id = slot->joined;
    right.id = -1;
    left.after = right.after;
    if (left.after != kNone) parts[left.after].before = top.left;
    push(left.before);
    push(top.left);
  }
  for (uint32_t at = 0; at != kNone; at = parts[at].after)
    ids->push_back(parts[at].id);
}

}  // namespace dapple
