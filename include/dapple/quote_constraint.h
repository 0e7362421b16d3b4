// QuoteConstraint: decoding held to a document's own sentences.
//
// What may be generated is a chain of sentences of the document, each at most
// once, parted by one space, and then an end token. Every sentence is kept as
// the token ids the tokenizer gives it, in two forms: as the first words of an
// answer, and after a space. Each form's list is sorted, so the sentences that
// the tokens so far may still become are one range of it: the state is that
// range and its depth.
//
// Where one sentence begins another ("He left." and "He left. Alone."), both
// stopping and going on are allowed; a token that could mean either goes on.
//
// Use: mask the logits with Allowed, sample, Accept, and when Finished() gives
// a sentence, print it: its text is exact, whole sentences only.
//
// Owns sentences and sequences. After Create nothing is allocated, given
// `allowed` vectors with room for max_allowed() ids.
#ifndef DAPPLE_QUOTE_CONSTRAINT_H_
#define DAPPLE_QUOTE_CONSTRAINT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dapple/sentences.h"
#include "dapple/status.h"
#include "dapple/tokenizer.h"

namespace dapple {

struct QuoteLimits {
  size_t min_tokens = 6;    // of a sentence, with the space before it; >= 2
  size_t max_tokens = 160;  // of a sentence
  // Of all sentences that there are: more are kDoesNotFit.
  size_t max_text_tokens = SIZE_MAX;
  size_t min_sentences = 1;  // no end token before; >= 1
  size_t max_sentences = 5;  // then only end tokens
  // Whether other text of the same turn (a lead-in) comes before: the first
  // sentence then begins with a space as well.
  bool after_text = false;
};

class QuoteConstraint {
 public:
  // Sentences outside the limits, repeated ones and those whose tokens do not
  // give back their exact text are left out. kInvalidArgument when none is
  // left, or when the limits make no sense.
  static Result<QuoteConstraint> Create(const Tokenizer& tokenizer,
                                        std::vector<Sentence> sentences,
                                        const QuoteLimits& limits);

  // Fills *allowed with the ids that may come next, sorted, each once: never
  // none, unless an end token has come or the tokenizer has no end tokens.
  // End ids are among them at a border with min_sentences behind it, and
  // where nothing else is left.
  void Allowed(std::vector<TokenId>* allowed) const;
  size_t max_allowed() const { return max_allowed_; }

  // Advances. False, with nothing changed, when the id is not allowed.
  bool Accept(TokenId id);
  // Takes the answer as cut off here. A sentence whose last token has come
  // counts as finished even if a longer one begins with it.
  void Close();

  // The sentence completed by the last Accept or Close, or null. Where a
  // longer one begins with it, it is given with the next token, once that does
  // not go on.
  const Sentence* Finished() const { return finished_; }
  // Whether the tokens so far are whole sentences (or nothing).
  bool AtBorder() const;
  // Whether an end token was accepted (or Close called).
  bool ended() const { return ended_; }
  size_t quoted() const { return quoted_; }  // sentences finished
  // Sentences there are to choose from.
  size_t sentence_count() const { return sentences_.size(); }
  size_t MemoryBytes() const;
  // What splitting a text, cutting its sentences into tokens and keeping them
  // takes at its peak, for each token of the text: from measurements of texts
  // in several scripts (34 at most), and the eighth more that the C interface
  // lets through.
  static constexpr uint64_t kBytesPerTextToken = 40;

  // Forgets what was accepted.
  void Reset();

 private:
  // One form of every sentence.
  struct Form {
    std::vector<TokenId> tokens;    // all sequences, one after the other
    std::vector<uint32_t> offsets;  // [sentences + 1], into tokens
    std::vector<uint32_t> order;    // [sentences], by sequence

    std::span<const TokenId> Sequence(size_t sentence) const {
      return std::span(tokens).subspan(
          offsets[sentence], offsets[sentence + 1] - offsets[sentence]);
    }
    void Add(const std::vector<TokenId>& sequence);
    void Sort();
  };
  // Sentences that may still be meant: order[begin, end) of a form.
  struct State {
    size_t form = 0;
    size_t begin = 0;
    size_t end = 0;
    size_t depth = 0;  // tokens of the sentence begun; 0: at a border
  };
  static constexpr size_t kNone = ~size_t{0};

  QuoteConstraint() = default;
  State Border(size_t quoted) const;
  // The unused sentence that ends at this state, or kNone.
  size_t CompleteAt(const State& state) const;
  // Whether an unused sentence other than `but` goes on from here.
  bool CanGoOn(const State& state, size_t but) const;
  State Step(const State& state, TokenId id) const;
  void AddNext(const State& state, size_t but,
               std::vector<TokenId>* allowed) const;
  // Whether the answer may end here, where `complete` (or kNone) has just
  // come to its own end.
  bool MayEnd(size_t complete) const;
  bool IsEnd(TokenId id) const;
  void Finish(size_t sentence);

  std::vector<Sentence> sentences_;
  Form forms_[2];              // as the first words, after a space
  std::vector<uint8_t> used_;  // [sentences]
  std::vector<TokenId> end_ids_;
  QuoteLimits limits_;
  size_t max_allowed_ = 0;
  State state_;
  size_t quoted_ = 0;
  bool ended_ = false;
  const Sentence* finished_ = nullptr;
};

}  // namespace dapple

#endif  // DAPPLE_QUOTE_CONSTRAINT_H_
