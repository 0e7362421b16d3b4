#include "dapple/quote_constraint.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <unordered_set>

namespace dapple {
namespace {

// The ids of `text` inside a turn; empty when they do not spell it exactly (a
// text with U+2581, say, comes back with spaces).
Result<std::vector<TokenId>> EncodeExactly(const Tokenizer& tokenizer,
                                           std::string_view text) {
  DAPPLE_ASSIGN_OR_RETURN(
      std::vector<TokenId> ids,
      tokenizer.Encode(text, {.add_bos = false, .add_space_prefix = false}));
  std::string spelled;
  for (const TokenId id : ids) spelled += tokenizer.Piece(id);
  if (spelled != text) ids.clear();
  return ids;
}

Status CheckLimits(const QuoteLimits& limits) {
  if (limits.min_tokens < 2 || limits.max_tokens < limits.min_tokens) {
    return InvalidArgument("a quoted sentence cannot have between " +
                           std::to_string(limits.min_tokens) + " and " +
                           std::to_string(limits.max_tokens) +
                           " tokens (2 at least)");
  }
  if (limits.min_sentences < 1 || limits.max_sentences < limits.min_sentences) {
    return InvalidArgument("between " + std::to_string(limits.min_sentences) +
                           " and " + std::to_string(limits.max_sentences) +
                           " sentences cannot be quoted (1 at least)");
  }
  return Status::Ok();
}

}  // namespace

void QuoteConstraint::Form::Add(const std::vector<TokenId>& sequence) {
  if (offsets.empty()) offsets.push_back(0);
  tokens.insert(tokens.end(), sequence.begin(), sequence.end());
  offsets.push_back(static_cast<uint32_t>(tokens.size()));
}

void QuoteConstraint::Form::Sort() {
  order.resize(offsets.size() - 1);
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, [this](uint32_t a, uint32_t b) {
    return std::ranges::lexicographical_compare(Sequence(a), Sequence(b));
  });
}

Result<QuoteConstraint> QuoteConstraint::Create(const Tokenizer& tokenizer,
                                                std::vector<Sentence> sentences,
                                                const QuoteLimits& limits) {
  DAPPLE_RETURN_IF_ERROR(CheckLimits(limits));
  QuoteConstraint constraint;
  constraint.limits_ = limits;
  constraint.end_ids_ = tokenizer.end_ids();
  // No vector grows below: a copy of it would be a third more. A token has at
  // least one byte, and a space may come before. What is not touched costs
  // nothing, but where the system gives huge pages: max_text_tokens is closer.
  size_t most_tokens = 0;
  for (const Sentence& sentence : sentences)
    most_tokens += sentence.text.size() + 2;
  most_tokens = std::min(most_tokens, limits.max_text_tokens);
  for (Form& form : constraint.forms_) {
    form.tokens.reserve(most_tokens);
    form.offsets.reserve(sentences.size() + 1);
  }
  size_t text_tokens = 0;
  std::vector<size_t> kept;
  kept.reserve(sentences.size());
  std::unordered_set<std::string_view> seen;
  seen.reserve(sentences.size());
  for (size_t i = 0; i < sentences.size(); ++i) {
    const std::string& text = sentences[i].text;
    if (text.empty() || text[0] == ' ' || !seen.insert(text).second) continue;
    DAPPLE_ASSIGN_OR_RETURN(const std::vector<TokenId> later,
                            EncodeExactly(tokenizer, " " + text));
    text_tokens += later.size();
    if (text_tokens > limits.max_text_tokens)
      return DoesNotFit("the sentences of the text have more than the " +
                        std::to_string(limits.max_text_tokens) +
                        " tokens that were planned");
    if (later.size() < limits.min_tokens || later.size() > limits.max_tokens)
      continue;
    DAPPLE_ASSIGN_OR_RETURN(const std::vector<TokenId> first,
                            EncodeExactly(tokenizer, text));
    if (first.size() < 2) continue;  // a border needs a token of its own
    constraint.forms_[0].Add(limits.after_text ? later : first);
    constraint.forms_[1].Add(later);
    kept.push_back(i);
  }
  if (kept.empty()) {
    return InvalidArgument("the document has no sentence that can be quoted (" +
                           std::to_string(sentences.size()) +
                           " found, none of " +
                           std::to_string(limits.min_tokens) + " to " +
                           std::to_string(limits.max_tokens) + " tokens)");
  }
  std::unordered_set<std::string_view>().swap(seen);  // its views end here
  for (size_t i = 0; i < kept.size(); ++i)
    if (i != kept[i]) sentences[i] = std::move(sentences[kept[i]]);
  sentences.resize(kept.size());
  constraint.sentences_ = std::move(sentences);
  for (Form& form : constraint.forms_) form.Sort();
  constraint.used_.assign(kept.size(), 0);
  // A state that is a whole sentence allows what goes on and what begins.
  constraint.max_allowed_ = 2 * kept.size() + constraint.end_ids_.size();
  constraint.Reset();
  return constraint;
}

void QuoteConstraint::Reset() {
  std::ranges::fill(used_, uint8_t{0});
  quoted_ = 0;
  ended_ = false;
  finished_ = nullptr;
  state_ = Border(0);
}

QuoteConstraint::State QuoteConstraint::Border(size_t quoted) const {
  State state;
  state.form = quoted == 0 ? 0 : 1;
  state.end = sentences_.size();
  return state;
}

size_t QuoteConstraint::CompleteAt(const State& state) const {
  // The shortest sequence sorts first, and no two are equal.
  if (state.depth == 0 || state.begin == state.end) return kNone;
  const Form& form = forms_[state.form];
  const size_t sentence = form.order[state.begin];
  const bool complete = form.Sequence(sentence).size() == state.depth;
  return complete && used_[sentence] == 0 ? sentence : kNone;
}

bool QuoteConstraint::CanGoOn(const State& state, size_t but) const {
  const Form& form = forms_[state.form];
  for (size_t i = state.begin; i < state.end; ++i) {
    const size_t sentence = form.order[i];
    if (used_[sentence] == 0 && sentence != but &&
        form.Sequence(sentence).size() > state.depth)
      return true;
  }
  return false;
}

QuoteConstraint::State QuoteConstraint::Step(const State& state,
                                             TokenId id) const {
  const Form& form = forms_[state.form];
  // -1, before all ids, where a sentence has ended.
  const auto next = [&](uint32_t sentence) {
    const std::span<const TokenId> sequence = form.Sequence(sentence);
    return sequence.size() > state.depth ? sequence[state.depth] : -1;
  };
  // Positions, not a subrange: clang 14 cannot compile libstdc++ 12's.
  const std::span<const uint32_t> range(form.order.data() + state.begin,
                                        state.end - state.begin);
  const auto begin = std::ranges::lower_bound(range, id, {}, next);
  const auto end = std::ranges::upper_bound(range, id, {}, next);
  State to = state;
  to.begin = state.begin + static_cast<size_t>(begin - range.begin());
  to.end = state.begin + static_cast<size_t>(end - range.begin());
  ++to.depth;
  return to;
}

void QuoteConstraint::AddNext(const State& state, size_t but,
                              std::vector<TokenId>* allowed) const {
  const Form& form = forms_[state.form];
  TokenId last = -1;
  for (size_t i = state.begin; i < state.end; ++i) {
    const size_t sentence = form.order[i];
    if (used_[sentence] != 0 || sentence == but) continue;
    const std::span<const TokenId> sequence = form.Sequence(sentence);
    if (sequence.size() <= state.depth || sequence[state.depth] == last)
      continue;
    last = sequence[state.depth];
    allowed->push_back(last);
  }
}

bool QuoteConstraint::MayEnd(size_t complete) const {
  const size_t quoted = quoted_ + (complete == kNone ? 0 : 1);
  if (quoted >= limits_.min_sentences) return true;
  // Too few, but nothing is left to say.
  return !CanGoOn(state_, complete) && !CanGoOn(Border(quoted), complete);
}

void QuoteConstraint::Allowed(std::vector<TokenId>* allowed) const {
  allowed->clear();
  if (ended_) return;
  const bool border = state_.depth == 0;
  const size_t complete = CompleteAt(state_);
  if (!border) AddNext(state_, complete, allowed);
  if (border || complete != kNone) {
    const size_t quoted = quoted_ + (complete == kNone ? 0 : 1);
    if (quoted < limits_.max_sentences)
      AddNext(Border(quoted), complete, allowed);
    if (MayEnd(complete))
      allowed->insert(allowed->end(), end_ids_.begin(), end_ids_.end());
  }
  std::ranges::sort(*allowed);
  allowed->erase(std::unique(allowed->begin(), allowed->end()), allowed->end());
}

bool QuoteConstraint::IsEnd(TokenId id) const {
  return std::ranges::find(end_ids_, id) != end_ids_.end();
}

void QuoteConstraint::Finish(size_t sentence) {
  used_[sentence] = 1;
  ++quoted_;
  finished_ = &sentences_[sentence];
  state_ = Border(quoted_);
}

bool QuoteConstraint::Accept(TokenId id) {
  if (ended_) return false;
  const size_t complete = CompleteAt(state_);
  const bool border = state_.depth == 0;
  if (!border || quoted_ < limits_.max_sentences) {
    const State next = Step(state_, id);
    const size_t whole = CompleteAt(next);
    const bool goes_on = CanGoOn(next, whole);
    if (whole != kNone || goes_on) {
      finished_ = nullptr;
      state_ = next;
      if (!goes_on) Finish(whole);
      return true;
    }
  }
  if (!border && complete == kNone) return false;
  if (IsEnd(id)) {
    if (!MayEnd(complete)) return false;
    finished_ = nullptr;
    if (complete != kNone) Finish(complete);
    ended_ = true;
    return true;
  }
  if (border || quoted_ + 1 >= limits_.max_sentences) return false;
  // The sentence was over; this token begins the next one, which has more.
  const State next = Step(Border(quoted_ + 1), id);
  if (!CanGoOn(next, complete)) return false;
  Finish(complete);
  state_ = next;
  return true;
}

void QuoteConstraint::Close() {
  if (ended_) return;
  finished_ = nullptr;
  const size_t complete = CompleteAt(state_);
  if (complete != kNone) Finish(complete);
  ended_ = true;
}

bool QuoteConstraint::AtBorder() const {
  return state_.depth == 0 || CompleteAt(state_) != kNone;
}

size_t QuoteConstraint::MemoryBytes() const {
  size_t bytes = sizeof(*this) + used_.capacity() +
                 sentences_.capacity() * sizeof(Sentence);
  for (const Sentence& sentence : sentences_) bytes += sentence.text.capacity();
  for (const Form& form : forms_) {
    bytes += form.tokens.size() * sizeof(TokenId) +
             (form.offsets.size() + form.order.size()) * sizeof(uint32_t);
  }
  return bytes;
}

}  // namespace dapple
