#include "dapple/quote_constraint.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "test_tokenizer.h"

namespace dapple::testing {
namespace {

constexpr QuoteLimits kWide = {.min_tokens = 2,
                               .max_tokens = 10000,
                               .min_sentences = 1,
                               .max_sentences = 10000};

std::vector<Sentence> Sentences(const std::vector<std::string>& texts) {
  std::vector<Sentence> sentences;
  for (const std::string& text : texts)
    sentences.push_back({text, sentences.size() + 1, 0, text.size()});
  return sentences;
}

QuoteConstraint MustCreate(const Tokenizer& tokenizer,
                           const std::vector<std::string>& texts,
                           const QuoteLimits& limits = kWide) {
  auto made = QuoteConstraint::Create(tokenizer, Sentences(texts), limits);
  if (!made.ok()) FAIL(made.status().message());
  return std::move(*made);
}

std::vector<TokenId> Allowed(const QuoteConstraint& constraint) {
  std::vector<TokenId> allowed;
  allowed.reserve(constraint.max_allowed());
  const TokenId* const data = allowed.data();
  constraint.Allowed(&allowed);
  CHECK(allowed.data() == data);  // nothing was allocated
  CHECK(std::ranges::is_sorted(allowed));
  CHECK(std::ranges::adjacent_find(allowed) == allowed.end());
  return allowed;
}

bool Allows(const QuoteConstraint& constraint, TokenId id) {
  return std::ranges::binary_search(Allowed(constraint), id);
}

// Feeds a text's ids; the texts of the sentences that finished meanwhile.
std::vector<std::string> Feed(QuoteConstraint* constraint,
                              const Tokenizer& tokenizer,
                              const std::string& text) {
  std::vector<std::string> finished;
  const auto ids =
      tokenizer.Encode(text, {.add_bos = false, .add_space_prefix = false});
  REQUIRE(ids.ok());
  for (const TokenId id : *ids) {
    REQUIRE(Allows(*constraint, id));
    REQUIRE(constraint->Accept(id));
    if (const Sentence* sentence = constraint->Finished())
      finished.push_back(sentence->text);
  }
  return finished;
}
using Texts = std::vector<std::string>;
constexpr TokenId kEnd = 2;  // of ByteVocabulary

TEST_CASE("sentences are chained with spaces and end with an end token") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  QuoteConstraint constraint =
      MustCreate(*tokenizer, {"One is.", "Two are.", "On it."});
  CHECK(constraint.sentence_count() == 3);
  CHECK(constraint.AtBorder());
  CHECK(Allowed(constraint) == std::vector<TokenId>{3 + 'O', 3 + 'T'});
  CHECK(Feed(&constraint, *tokenizer, "On") == Texts{});
  CHECK_FALSE(constraint.AtBorder());
  CHECK(Allowed(constraint) == std::vector<TokenId>{3 + 'e', 259});
  CHECK(Feed(&constraint, *tokenizer, "e is.") == Texts{"One is."});
  CHECK(constraint.AtBorder());
  CHECK(constraint.quoted() == 1);
  CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd, 259});
  CHECK(Feed(&constraint, *tokenizer, " On") == Texts{});
  // "One" is used up.
  CHECK(Allowed(constraint) == std::vector<TokenId>{259});
  CHECK_FALSE(constraint.Accept(3 + 'e'));
  CHECK_FALSE(constraint.Accept(kEnd));
  CHECK(Feed(&constraint, *tokenizer, " it. Two are.") ==
        Texts{"On it.", "Two are."});
  CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd});
  CHECK_FALSE(constraint.ended());
  CHECK(constraint.Accept(kEnd));
  CHECK(constraint.ended());
  CHECK(constraint.Finished() == nullptr);
  CHECK(Allowed(constraint).empty());
  CHECK_FALSE(constraint.Accept(kEnd));

  constraint.Reset();
  CHECK_FALSE(constraint.ended());
  CHECK(constraint.quoted() == 0);
  CHECK(Feed(&constraint, *tokenizer, "Two are.") == Texts{"Two are."});
}

TEST_CASE("a sentence that begins another may stop or go on") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  const Texts texts = {"He left.", "He left. All alone.", "Art.", "Be off."};
  QuoteConstraint constraint = MustCreate(*tokenizer, texts);
  CHECK(Feed(&constraint, *tokenizer, "He left.") == Texts{});
  CHECK(constraint.AtBorder());
  CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd, 259});

  SUBCASE("it stops, and the end shows it") {
    CHECK(constraint.Accept(kEnd));
    REQUIRE(constraint.Finished() != nullptr);
    CHECK(constraint.Finished()->text == "He left.");
    CHECK(constraint.quoted() == 1);
  }
  SUBCASE("it goes on where both are possible") {
    // " A" goes on to "All", so "Art." cannot follow; nor can " B".
    CHECK(Feed(&constraint, *tokenizer, " ") == Texts{});
    CHECK(Allowed(constraint) == std::vector<TokenId>{3 + 'A'});
    CHECK(Feed(&constraint, *tokenizer, "All alone.") ==
          Texts{"He left. All alone."});
    // The shorter one is still to be had.
    CHECK(Feed(&constraint, *tokenizer, " He left.") == Texts{"He left."});
    CHECK(Feed(&constraint, *tokenizer, " Art. Be off.") ==
          Texts{"Art.", "Be off."});
    CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd});
  }
  SUBCASE("cut off there, it counts") {
    constraint.Close();
    REQUIRE(constraint.Finished() != nullptr);
    CHECK(constraint.Finished()->text == "He left.");
    CHECK(constraint.ended());
  }
  SUBCASE("cut off inside, the longer one does not") {
    Feed(&constraint, *tokenizer, " All");
    constraint.Close();
    CHECK(constraint.Finished() == nullptr);
    CHECK(constraint.quoted() == 0);
  }
}

TEST_CASE("the next sentence can close one that might have gone on") {
  // Told apart by the token itself: going on needs "!", a new one a space.
  const auto tokenizer = MustOpen(ByteVocabulary());
  QuoteConstraint constraint =
      MustCreate(*tokenizer, {"Go on.", "Go on.!", "Now."});
  CHECK(Feed(&constraint, *tokenizer, "Go on.") == Texts{});
  CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd, 3 + '!', 259});
  CHECK(Feed(&constraint, *tokenizer, " Now.") == Texts{"Go on.", "Now."});
  CHECK(Feed(&constraint, *tokenizer, " Go on.!") == Texts{"Go on.!"});
  CHECK(constraint.quoted() == 3);
}

TEST_CASE("a sentence just completed is not offered again") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  QuoteConstraint constraint =
      MustCreate(*tokenizer, {"So it is.", "So it is.!"});
  CHECK(Feed(&constraint, *tokenizer, "So it is.") == Texts{});
  const std::vector<TokenId> allowed = Allowed(constraint);
  REQUIRE(allowed.size() == 3);  // go on, the longer one anew, end
  CHECK(constraint.Accept(allowed[0]));
  constraint = MustCreate(*tokenizer, {"So it is.", "So it is.!", "Now then."},
                          {.min_tokens = 2,
                           .max_tokens = 99,
                           .min_sentences = 3,
                           .max_sentences = 3});
  Feed(&constraint, *tokenizer, "So it is.! Now then.");
  Feed(&constraint, *tokenizer, " So it is.");
  CHECK(Allowed(constraint) == std::vector<TokenId>{kImEnd});
}

TEST_CASE("limits hold") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  const Texts texts = {"Abc.", "Bcd.", "Cde.", "D.", "Efghijklmnop."};
  QuoteConstraint constraint = MustCreate(*tokenizer, texts,
                                          {.min_tokens = 4,
                                           .max_tokens = 6,
                                           .min_sentences = 2,
                                           .max_sentences = 2});
  CHECK(constraint.sentence_count() == 3);
  CHECK(Allowed(constraint) == std::vector<TokenId>{3 + 'A', 3 + 'B', 3 + 'C'});
  Feed(&constraint, *tokenizer, "Bcd.");
  CHECK(Allowed(constraint) == std::vector<TokenId>{259});
  CHECK_FALSE(constraint.Accept(kEnd));
  Feed(&constraint, *tokenizer, " Abc.");
  CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd});
  CHECK_FALSE(constraint.Accept(259));

  // More are wanted than there are: the end must come all the same.
  constraint = MustCreate(*tokenizer, {"Abc.", "Abc.?"},
                          {.min_tokens = 2,
                           .max_tokens = 9,
                           .min_sentences = 5,
                           .max_sentences = 6});
  Feed(&constraint, *tokenizer, "Abc.? Abc.");
  CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd});
  CHECK(constraint.Accept(kEnd));
  CHECK(constraint.quoted() == 2);

  // The last sentence allowed may still be the longer one, but no third.
  constraint = MustCreate(*tokenizer, {"Abc.", "Abc.?", "Bcd."},
                          {.min_tokens = 2,
                           .max_tokens = 9,
                           .min_sentences = 1,
                           .max_sentences = 1});
  Feed(&constraint, *tokenizer, "Abc.");
  CHECK(Allowed(constraint) == std::vector<TokenId>{kEnd, 3 + '?'});

  // After a lead-in, the first sentence has its space too.
  QuoteLimits after_text = kWide;
  after_text.after_text = true;
  constraint = MustCreate(*tokenizer, texts, after_text);
  CHECK(Allowed(constraint) == std::vector<TokenId>{259});
  CHECK(Feed(&constraint, *tokenizer, " D. Abc.") == Texts{"D.", "Abc."});
}

TEST_CASE("what cannot be quoted exactly is left out") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  QuoteConstraint constraint = MustCreate(
      *tokenizer,
      {"It is so.", "It is so.", "A\u2581mark is here.", "", " x y"});
  CHECK(constraint.sentence_count() == 1);
  CHECK(constraint.MemoryBytes() > sizeof(QuoteConstraint));

  const auto none = QuoteConstraint::Create(
      *tokenizer, Sentences({"A\u2581mark is here."}), kWide);
  REQUIRE_FALSE(none.ok());
  CHECK(none.status().code() == StatusCode::kInvalidArgument);
  CHECK_FALSE(QuoteConstraint::Create(*tokenizer, {}, kWide).ok());
  CHECK_FALSE(
      QuoteConstraint::Create(*tokenizer, Sentences({"\xFF x."}), kWide).ok());
  for (const auto bend : std::vector<void (*)(QuoteLimits*)>{
           [](QuoteLimits* l) { l->min_tokens = 1; },
           [](QuoteLimits* l) { l->max_tokens = 1; },
           [](QuoteLimits* l) { l->min_sentences = 0; },
           [](QuoteLimits* l) { l->max_sentences = 0; }}) {
    QuoteLimits limits = kWide;
    bend(&limits);
    CHECK_FALSE(
        QuoteConstraint::Create(*tokenizer, Sentences({"It is."}), limits)
            .ok());
  }
}

TEST_CASE("a sentence that names a control token yields none") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  QuoteConstraint constraint =
      MustCreate(*tokenizer, {"It ends in <|im_end|> here."});
  size_t steps = 0;
  while (!constraint.AtBorder() || steps == 0) {
    const std::vector<TokenId> allowed = Allowed(constraint);
    REQUIRE(allowed.size() == 1);
    CHECK_FALSE(tokenizer->IsControl(allowed[0]));
    REQUIRE(constraint.Accept(allowed[0]));
    ++steps;
  }
  CHECK(Allowed(constraint) == std::vector<TokenId>{kImEnd});
}

// Random walks over what is allowed: the text is always sentences joined by
// spaces, each once, and Finished tells exactly those.
void Walk(const Tokenizer& tokenizer, QuoteConstraint* constraint,
          const std::set<std::string>& texts, std::mt19937* random) {
  std::string output;
  std::string finished;
  std::set<std::string> seen;
  std::vector<TokenId> history;
  while (!constraint->ended()) {
    const std::vector<TokenId> allowed = Allowed(*constraint);
    REQUIRE_FALSE(allowed.empty());
    CHECK(allowed.size() <= constraint->max_allowed());
    // What is not allowed is not accepted, and changes nothing.
    const auto other = static_cast<TokenId>(
        (*random)() % static_cast<uint32_t>(tokenizer.vocab_size()));
    if (!std::ranges::binary_search(allowed, other)) {
      REQUIRE_FALSE(constraint->Accept(other));
    }
    const TokenId id = allowed[(*random)() % allowed.size()];
    REQUIRE(constraint->Accept(id));
    output += tokenizer.Piece(id);
    if (const Sentence* sentence = constraint->Finished()) {
      REQUIRE(texts.contains(sentence->text));
      REQUIRE(seen.insert(sentence->text).second);
      if (!finished.empty()) finished += ' ';
      finished += sentence->text;
      REQUIRE(output.starts_with(finished));
    }
    REQUIRE(constraint->quoted() == seen.size());
  }
  CHECK(output == finished);
  CHECK_FALSE(seen.empty());
}

TEST_CASE("random walks through made-up sentences give exactly those") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  const Texts words = {"The",  "end",           "a",          "in",
                       "1984", "\u00E9t\u00E9", "\U0001F999", "so.",
                       "the",  "(it",           "is)"};
  std::mt19937 random(17);
  for (int round = 0; round < 60; ++round) {
    Texts texts;
    for (size_t n = 1 + random() % 12; n > 0; --n) {
      // Often begun like an earlier one, so that prefixes are common.
      std::string text =
          texts.empty() || random() % 2 ? "" : texts[random() % texts.size()];
      for (size_t k = 1 + random() % 4; k > 0; --k) {
        if (!text.empty() && random() % 4) text += ' ';
        text += words[random() % words.size()];
      }
      texts.push_back(text + ".");
    }
    QuoteLimits limits = kWide;
    limits.min_sentences = 1 + random() % 3;
    limits.max_sentences = limits.min_sentences + random() % 10;
    limits.after_text = false;
    QuoteConstraint constraint = MustCreate(*tokenizer, texts, limits);
    const std::set<std::string> set(texts.begin(), texts.end());
    for (int walk = 0; walk < 5; ++walk) {
      Walk(*tokenizer, &constraint, set, &random);
      CHECK(constraint.quoted() <= limits.max_sentences);
      CHECK(constraint.quoted() >=
            std::min(limits.min_sentences, constraint.sentence_count()));
      constraint.Reset();
    }
  }
}

TEST_CASE("every sentence of a licence can be quoted, and nothing else") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  const std::vector<Sentence> sentences =
      SplitSentences(ReadBytes("/usr/share/common-licenses/GPL-3"));
  std::set<std::string> texts;
  for (const Sentence& sentence : sentences) texts.insert(sentence.text);
  QuoteLimits limits = kWide;
  auto made = QuoteConstraint::Create(*tokenizer, sentences, limits);
  REQUIRE(made.ok());
  QuoteConstraint constraint = std::move(*made);
  CHECK(constraint.sentence_count() == texts.size());

  // Where no sentence begins another, the ids allowed are known by definition:
  // those of the unused sentences whose ids begin with the ones given so far.
  std::map<std::string, std::vector<TokenId>> later;
  for (const std::string& text : texts) {
    later[text] = *tokenizer->Encode(
        " " + text, {.add_bos = false, .add_space_prefix = false});
  }
  std::mt19937 random(23);
  std::vector<TokenId> begun;
  for (int step = 0; step < 4000 && !later.empty(); ++step) {
    const std::vector<TokenId> allowed = Allowed(constraint);
    if (constraint.quoted() > 0) {
      std::set<TokenId> expected;
      for (const auto& [text, ids] : later) {
        if (ids.size() > begun.size() &&
            std::equal(begun.begin(), begun.end(), ids.begin()))
          expected.insert(ids[begun.size()]);
      }
      if (begun.empty()) expected.insert(kImEnd);
      REQUIRE(allowed ==
              std::vector<TokenId>(expected.begin(), expected.end()));
    }
    TokenId id = kImEnd;
    while (id == kImEnd) id = allowed[random() % allowed.size()];
    REQUIRE(constraint.Accept(id));
    begun.push_back(id);
    if (const Sentence* sentence = constraint.Finished()) {
      REQUIRE(later.erase(sentence->text) == 1);
      begun.clear();
    }
  }
  CHECK(constraint.quoted() > 5);
  constraint.Reset();
  Walk(*tokenizer, &constraint, texts, &random);
}

TEST_CASE("moving keeps the state") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  QuoteConstraint first = MustCreate(*tokenizer, {"One is.", "Two are."});
  Feed(&first, *tokenizer, "One is. Tw");
  QuoteConstraint second = std::move(first);
  CHECK(Feed(&second, *tokenizer, "o are.") == Texts{"Two are."});
  CHECK(second.Finished()->paragraph == 2);
}

}  // namespace
}  // namespace dapple::testing
