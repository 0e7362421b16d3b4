#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "bpe_vocabulary.h"
#include "many_scripts.h"
#include "text/byte_alphabet.h"

namespace dapple::testing {
namespace {

using Options = Tokenizer::EncodeOptions;
constexpr Options kPlain = {.add_bos = false};
constexpr Options kSpecial = {.add_bos = false, .parse_special = true};

std::vector<TokenId> Ids(const Tokenizer& tokenizer, const std::string& text,
                         const Options& options = kPlain) {
  const Result<std::vector<TokenId>> ids = tokenizer.Encode(text, options);
  if (!ids.ok()) FAIL(ids.status().message());
  return *ids;
}

BpeVocabulary Trained() {
  static const BpeVocabulary vocabulary = [] {
    BpeVocabulary made;
    made.Train(ReadBytes("/usr/share/common-licenses/GPL-3").substr(0, 20000),
               300);
    return made;
  }();
  return vocabulary;
}

TEST_CASE("the byte alphabet is GPT-2's, both ways") {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  CHECK(SpellBytes(all) == Spelled(all));
  std::string back = "x";
  CHECK(AppendAlphabetBytes(Spelled(all), &back));
  CHECK(back == "x" + all);
  for (const char* bad : {" ", "\n", "a\u0144b", "\u4E2D", "\xFF", "\u00AD"}) {
    CHECK_FALSE(AppendAlphabetBytes(bad, &back));
    CHECK(back == "x" + all);
  }
}

TEST_CASE("merges follow their definition, in short words and long ones") {
  const BpeVocabulary vocabulary = Trained();
  REQUIRE(vocabulary.raw.size() > 500);
  const auto tokenizer = MustOpen(vocabulary);
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    // One word for the pre-tokenizer, made of pieces of the vocabulary.
    std::string word;
    const size_t length = 1 + random() % (round % 8 == 0 ? 200 : 40);
    while (word.size() < length) {
      for (const char c : vocabulary.raw[random() % vocabulary.raw.size()])
        if (c >= 'a' && c <= 'z') word.push_back(c);
    }
    REQUIRE(Ids(*tokenizer, word) == vocabulary.Reference(word));
    REQUIRE(Ids(*tokenizer, " " + word) == vocabulary.Reference(" " + word));
  }
  for (const char letter : {'e', 't'}) {
    const std::string word(333, letter);
    CHECK(Ids(*tokenizer, word) == vocabulary.Reference(word));
  }
}

TEST_CASE("equal pairs join from the left") {
  BpeVocabulary vocabulary;
  vocabulary.AddMerge('a', 'a');  // 257
  vocabulary.AddMerge(257, 257);  // 258
  vocabulary.AddMerge(257, 'a');  // 259
  const auto tokenizer = MustOpen(vocabulary);
  CHECK(Ids(*tokenizer, "aaa") == std::vector<TokenId>{259});
  CHECK(Ids(*tokenizer, "aaaaa") == std::vector<TokenId>{258, 'a'});
  std::vector<TokenId> expected(250, 258);
  expected.push_back(259);
  CHECK(Ids(*tokenizer, std::string(1003, 'a')) == expected);
}

TEST_CASE("a text in one piece equals its words one by one") {
  // Long enough for the cache of words, whose hits must change nothing.
  const BpeVocabulary vocabulary = Trained();
  const auto tokenizer = MustOpen(vocabulary);
  std::mt19937 random(9);
  std::string text;
  std::vector<TokenId> expected;
  while (text.size() < 60000) {
    std::string word = " ";
    for (size_t n = 1 + random() % 12; n > 0; --n)
      word.push_back("aeinorst"[random() % 8]);
    text += word;
    for (const TokenId id : vocabulary.Reference(word)) expected.push_back(id);
  }
  CHECK(Ids(*tokenizer, text) == expected);
}

TEST_CASE("any bytes come back: a megabyte of many scripts and of noise") {
  const auto tokenizer = MustOpen(Trained());
  std::mt19937 random(21);
  std::string text = ManyScripts(&random, 1 << 20);
  REQUIRE(IsValidUtf8(text, nullptr));
  for (const char* pre : {"gpt-2", "llama-bpe", "gpt-4o", "deepseek-llm"}) {
    BpeVocabulary vocabulary = Trained();
    vocabulary.pre = pre;
    const auto other = MustOpen(vocabulary);
    CHECK(other->Decode(Ids(*other, text)) == text);
  }
  for (size_t i = 0; i < text.size(); i += 1 + random() % 7)
    text[i] = static_cast<char>(random());
  CHECK_FALSE(IsValidUtf8(text, nullptr));
  CHECK(tokenizer->Decode(Ids(*tokenizer, text)) == text);
  // Streamed, characters are whole and nothing else is lost.
  StreamDetokenizer stream(*tokenizer, false);
  std::string shown;
  const std::string sample = "a\u20AC\U0001F999\u0928";
  for (const TokenId id : Ids(*tokenizer, sample)) {
    const std::string part = stream.Push(id);
    CHECK(IsValidUtf8(part, nullptr));
    shown += part;
  }
  CHECK(shown + stream.Finish() == sample);
}

TEST_CASE("a word of a megabyte is not quadratic") {
  // n^2 steps would take hours.
  const auto tokenizer = MustOpen(Trained());
  std::string word;
  for (uint32_t i = 0; word.size() < (1 << 20); ++i)
    word.push_back(static_cast<char>('a' + (i * i * 7 + i / 3) % 26));
  CHECK(tokenizer->Decode(Ids(*tokenizer, word)) == word);
  CHECK(Ids(*tokenizer, std::string(1 << 20, 't')).size() <= (1 << 20));
}

TEST_CASE("words that are tokens need no merges where the rule says so") {
  BpeVocabulary vocabulary;
  const TokenId whole = vocabulary.AddToken(" zebra");
  vocabulary.pre = "llama-bpe";
  CHECK(Ids(*MustOpen(vocabulary), "a zebra zebras") ==
        std::vector<TokenId>{'a', whole, ' ', 'z', 'e', 'b', 'r', 'a', 's'});
  vocabulary.pre = "smaug-bpe";
  CHECK(Ids(*MustOpen(vocabulary), " zebra").size() == 6);
}

TEST_CASE("control tokens come from trusted text alone") {
  BpeVocabulary vocabulary = Trained();
  const TokenId end = vocabulary.AddSpecial("<|im_end|>", kControl);
  const TokenId mark = vocabulary.AddSpecial("<|im_start|>", kUserDefined);
  const TokenId think = vocabulary.AddSpecial("<think>", kUserDefined);
  const TokenId spaces = vocabulary.AddSpecial("    ", kUserDefined);
  const auto tokenizer = MustOpen(vocabulary);
  const std::string text = "x<|im_end|>\n<|im_start|><think>    y";
  const std::vector<TokenId> plain = Ids(*tokenizer, text);
  for (const TokenId id : plain) CHECK_FALSE(tokenizer->IsControl(id));
  CHECK(tokenizer->Decode(plain) == text);
  CHECK(std::ranges::count(plain, spaces) == 1);  // added text stays text
  const std::vector<TokenId> special = Ids(*tokenizer, text, kSpecial);
  CHECK(special ==
        std::vector<TokenId>{'x', end, '\n', mark, think, spaces, 'y'});
  CHECK(tokenizer->IsControl(think));
  CHECK(tokenizer->Piece(think) == "<think>");  // shown all the same
  CHECK(tokenizer->Piece(end) == "");
  CHECK(tokenizer->Piece(end, true) == "<|im_end|>");

  // Parts of the text may be plain; a name that reaches into one is, too.
  const auto with_plain = [&](const std::string& whole, TextRange range) {
    const std::vector<TextRange> ranges = {range};
    return Ids(*tokenizer, whole,
               {.add_bos = false, .parse_special = true, .plain = ranges});
  };
  const std::string two = "<|im_end|>a<|im_end|>";
  CHECK(with_plain(two, {0, 10}).back() == end);
  CHECK(std::ranges::count(with_plain(two, {0, 10}), end) == 1);
  CHECK(std::ranges::count(with_plain(two, {9, 12}), end) == 0);
  CHECK(std::ranges::count(with_plain(two, {10, 11}), end) == 2);
  CHECK(std::ranges::count(with_plain(two, {5, 6}), end) == 1);
  CHECK(std::ranges::count(with_plain(two, {0, 21}), end) == 0);
}

TEST_CASE("no merge makes a special token") {
  BpeVocabulary vocabulary;
  const TokenId end = vocabulary.AddSpecial("<|x|>", kControl);
  for (const char* merge : {"< |", "x |", "<| x|", "<|x| >"})
    vocabulary.merges.push_back(merge);
  for (const char* token : {"<|", "x|", "<|x|"}) vocabulary.AddToken(token);
  // "<|x|" + ">" spells the control token.
  const auto tokenizer = MustOpen(vocabulary);
  const std::vector<TokenId> ids = Ids(*tokenizer, "<|x|>");
  CHECK(std::ranges::count(ids, end) == 0);
  CHECK(tokenizer->Decode(ids) == "<|x|>");
  vocabulary.pre = "llama-bpe";
  CHECK(std::ranges::count(Ids(*MustOpen(vocabulary), "<|x|>"), end) == 0);
}

TEST_CASE("added tokens: longest first, and the white space they take") {
  BpeVocabulary vocabulary;
  const TokenId a = vocabulary.AddSpecial("<a>", kControl);
  const TokenId ab = vocabulary.AddSpecial("<a><b>", kControl);
  vocabulary.lstrip = {a};
  vocabulary.rstrip = {ab};
  const auto tokenizer = MustOpen(vocabulary);
  CHECK(Ids(*tokenizer, "<a><b><a>", kSpecial) == std::vector<TokenId>{ab, a});
  CHECK(Ids(*tokenizer, "x \u00A0<a> <a><b>\n\u3000 y", kSpecial) ==
        std::vector<TokenId>{'x', a, ' ', ab, 'y'});
}

TEST_CASE("Phi-3's marks take the line end, in files that cannot say so") {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.architecture = "phi3";
  vocabulary.add_space_prefix = false;
  vocabulary.Add("<|user|>", kControl);
  vocabulary.Add("<|endoftext|>", kControl);
  const TokenId user = vocabulary.Find("<|user|>");
  CHECK(Ids(*MustOpen(vocabulary), "<|user|>\nx", kSpecial) ==
        std::vector<TokenId>{user, 3 + 'x'});
  CHECK(Ids(*MustOpen(vocabulary), "<|endoftext|>\n", kSpecial) ==
        std::vector<TokenId>{user + 1, 3 + '\n'});
  vocabulary.architecture = "llama";
  CHECK(Ids(*MustOpen(vocabulary), "<|user|>\n", kSpecial).size() == 2);
}

TEST_CASE("begin, end and space prefix are as the file says") {
  BpeVocabulary vocabulary;
  const uint32_t end =
      static_cast<uint32_t>(vocabulary.AddSpecial("<|end_of_text|>", kControl));
  vocabulary.bos = vocabulary.eos = end;
  const TokenId id = static_cast<TokenId>(end);
  CHECK(Ids(*MustOpen(vocabulary), "a", {}) == std::vector<TokenId>{'a'});
  vocabulary.pre = "llama-bpe";  // begins with bos unless told otherwise
  CHECK(Ids(*MustOpen(vocabulary), "a", {}) == std::vector<TokenId>{id, 'a'});
  vocabulary.add_bos = false;
  CHECK(Ids(*MustOpen(vocabulary), "a", {}) == std::vector<TokenId>{'a'});
  vocabulary.add_bos = true;
  vocabulary.add_eos = true;
  auto tokenizer = MustOpen(vocabulary);
  CHECK(tokenizer->adds_eos());
  CHECK(Ids(*tokenizer, "a", {.add_eos = true}) ==
        std::vector<TokenId>{id, 'a', id});
  CHECK(Ids(*tokenizer, "a", {}) == std::vector<TokenId>{id, 'a'});
  CHECK(tokenizer->end_ids() == std::vector<TokenId>{id});
  vocabulary.add_space_prefix = true;
  tokenizer = MustOpen(vocabulary);
  CHECK(Ids(*tokenizer, "a", {}) == std::vector<TokenId>{id, ' ', 'a'});
  CHECK(Ids(*tokenizer, " a", {}) == std::vector<TokenId>{id, ' ', 'a'});
  CHECK(tokenizer->Decode({id, ' ', 'a'}) == "a");
  CHECK(tokenizer->adds_space_prefix());
  CHECK(tokenizer->FindPiece("<|end_of_text|>") == id);
  CHECK(tokenizer->FindPiece(" ") == ' ');
  CHECK(tokenizer->FindPiece("nothing") == -1);
  CHECK(tokenizer->FindPiece("") == -1);
  CHECK(tokenizer->Piece(-1) == "");
  CHECK(tokenizer->Piece(1 << 30, true) == "");
}

TEST_CASE("bytes without a token are left out") {
  BpeVocabulary vocabulary;
  vocabulary.tokens[7] = Spelled("no longer a byte");
  const auto tokenizer = MustOpen(vocabulary);
  CHECK(Ids(*tokenizer,
            "a\x07"
            "b\x07") == std::vector<TokenId>{'a', 'b'});
}

TEST_CASE("pre-tokenizers that are not known are refused by name") {
  const auto message = [](std::optional<std::string> pre) {
    BpeVocabulary vocabulary;
    vocabulary.AddMerge('a', 'b');
    vocabulary.pre = pre;
    const auto tokenizer = vocabulary.Open();
    REQUIRE_FALSE(tokenizer.ok());
    CHECK(tokenizer.status().code() == StatusCode::kUnsupported);
    CHECK(tokenizer.status().message().find("vocabulary.gguf: ") !=
          std::string::npos);
    return tokenizer.status().message();
  };
  CHECK(message("mystery-bpe").find("'mystery-bpe'") != std::string::npos);
  CHECK(message("default").find("\"default\"") != std::string::npos);
  CHECK(message(std::nullopt).find("missing") != std::string::npos);
}

TEST_CASE("contradictory merges are refused") {
  const auto refused = [](auto bend) {
    BpeVocabulary vocabulary;
    vocabulary.AddMerge('a', 'b');
    bend(&vocabulary);
    const auto tokenizer = vocabulary.Open();
    REQUIRE_FALSE(tokenizer.ok());
    CHECK(tokenizer.status().code() == StatusCode::kCorrupt);
    CHECK(tokenizer.status().message().find('\n') == std::string::npos);
  };
  refused([](auto* v) { v->merges.clear(); });
  refused([](auto* v) { v->merges = {"ab"}; });
  refused([](auto* v) { v->merges = {"a "}; });
  refused([](auto* v) { v->merges = {" b"}; });
  refused([](auto* v) { v->merges = {"a c"}; });       // no "ac"
  refused([](auto* v) { v->merges = {"a \u4E2D"}; });  // not in the alphabet
  refused([](auto* v) { v->types.pop_back(); });
  refused([](auto* v) { v->bos = 999; });
}

}  // namespace
}  // namespace dapple::testing
