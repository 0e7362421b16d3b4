#include <doctest/doctest.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "many_scripts.h"
#include "test_tokenizer.h"

namespace dapple::testing {
namespace {

using Options = Tokenizer::EncodeOptions;
constexpr Options kPlain = {.add_bos = false};

std::vector<TokenId> Ids(const Tokenizer& tokenizer, const std::string& text,
                         const Options& options = kPlain) {
  const Result<std::vector<TokenId>> ids = tokenizer.Encode(text, options);
  if (!ids.ok()) FAIL(ids.status().message());
  return *ids;
}

// Any valid UTF-8, with runs of spaces and newlines, of about `length` bytes.
std::string RandomText(std::mt19937* random, size_t length) {
  const std::vector<std::string> parts = {
      " ",   "  ",         "\n",     "\n\n",   "\t",     "the",
      "ing", "12",         ".",      "\u00E9", "e",      "n",
      "s",   "\r\n",       "A",      "Zx",     "\u4E2D", "\U0001F999",
      "<s>", "<|im_end|>", "<0x0A>", "\u2581", "\u200D", "\x7F",
      "qu",  "\u2019"};
  std::string text;
  while (text.size() < length) text += parts[(*random)() % parts.size()];
  return text;
}

TEST_CASE("a GGUF vocabulary gives the ids of the tokenizer.model it is from") {
  const ModelFile model = FixtureModel();
  sentencepiece::SentencePieceProcessor original;
  REQUIRE(original.LoadFromSerializedProto(model.bytes).ok());
  TestVocabulary vocabulary;
  vocabulary.tokens = model.pieces;
  vocabulary.scores = model.scores;
  vocabulary.types = model.types;
  const auto tokenizer = MustOpen(vocabulary);
  CHECK(tokenizer->vocab_size() == 1024);

  const auto check = [&](const std::string& text) {
    std::vector<int> expected;
    REQUIRE(original.Encode(text, &expected).ok());
    REQUIRE(Ids(*tokenizer, text) == expected);
  };
  for (const char* text :
       {"", " ", "   ", "a", "\n", "Hello world", " Hello", "1984 3.14",
        "na\u00EFve \U0001F999", "x\n\n  y", "<unk>", "\u2581x"})
    check(text);
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) check(RandomText(&random, 1 + random() % 200));
  // Long enough to be handed over in parts.
  for (int i = 0; i < 12; ++i) check(RandomText(&random, 30000));
  check(ReadBytes("/usr/share/common-licenses/GPL-3"));
  check(std::string(20000, 'e'));
  std::string word;  // unbroken, cut inside
  for (uint32_t i = 0; word.size() < 40000; ++i)
    word += i % 17 == 0 ? "\u00E9" : std::string(1, "aeQx9/+tn"[i * i / 5 % 9]);
  check(word);
  check(std::string(20000, ' '));
  check(ManyScripts(&random, 1 << 18));
}

TEST_CASE("a megabyte of many scripts comes back, byte by byte") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  std::mt19937 random(22);
  std::string text = ManyScripts(&random, 1 << 20);
  size_t at = 0;
  while ((at = text.find("\u2581", at)) != std::string::npos)
    text.erase(at, 3);  // is a space to it
  REQUIRE(IsValidUtf8(text, nullptr));
  const std::vector<TokenId> ids = Ids(*tokenizer, text);
  CHECK(tokenizer->Decode(ids) == text);
  CHECK(std::ranges::none_of(
      ids, [&](TokenId id) { return tokenizer->IsControl(id); }));
}

TEST_CASE("long texts are cut only where no piece spans the cut") {
  // Pieces over a space and a newline, which sentencepiece's trainer can make.
  TestVocabulary vocabulary = ByteVocabulary();
  for (const char* piece : {"a", "b", "\n"}) vocabulary.Add(piece, kNormal, -9);
  vocabulary.Add("a\u2581", kNormal, -1);
  vocabulary.Add("a\u2581b", kNormal, -2);
  vocabulary.Add("\nb", kNormal, -3);
  vocabulary.Add("b\u2581\u2581", kUserDefined, 0);
  const auto tokenizer = MustOpen(vocabulary);

  const std::string unit = "a b\nb  a\na ";
  std::string text;
  while (text.size() < 20000) text += unit;
  const std::vector<TokenId> once =
      Ids(*tokenizer, unit + unit, {.add_bos = false});
  const std::vector<TokenId> ids = Ids(*tokenizer, text);
  // The text repeats itself, and so must its ids, to the very end.
  const size_t period = once.size() - Ids(*tokenizer, unit).size();
  for (size_t i = period; i + period < ids.size(); ++i)
    REQUIRE(ids[i] == ids[i + period]);
  CHECK(tokenizer->Decode(ids) == text);
  CHECK(std::ranges::count(ids, vocabulary.Find("a\u2581b")) >= 1800);

  // Newlines alone, each inside a piece.
  text = "b";
  while (text.size() < 20000) text += "\nb";
  CHECK(std::ranges::count(Ids(*tokenizer, text), vocabulary.Find("\nb")) ==
        10000);
  // Spaces alone, in pieces of two.
  vocabulary.Add("\u2581\u2581", kNormal, -1);
  CHECK(Ids(*MustOpen(vocabulary), std::string(19999, ' ')) ==
        std::vector<TokenId>(10000, vocabulary.Find("\u2581\u2581")));
}

TEST_CASE("decoding gives the text back") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    std::string text = RandomText(&random, 1 + random() % 100);
    while (text.find("\u2581") != std::string::npos)  // is a space to it
      text.erase(text.find("\u2581"), 3);
    REQUIRE(tokenizer->Decode(Ids(*tokenizer, text)) == text);
    REQUIRE(tokenizer->Decode(Ids(*tokenizer, text, {})) == text);
  }
  // Behind another control token there is no prefix to remove.
  std::vector<TokenId> ids =
      Ids(*tokenizer, " x", {.add_bos = false, .add_space_prefix = false});
  ids.insert(ids.begin(), kImEnd);
  CHECK(tokenizer->Decode(ids) == " x");
  CHECK(tokenizer->Decode(ids, true) == "<|im_end|> x");
  CHECK(tokenizer->Decode({}) == "");
}

TEST_CASE("a text cannot forge control tokens") {
  for (const int32_t type : {kControl, kUserDefined}) {
    const auto tokenizer = MustOpen(ChatVocabulary(type));
    for (const std::string text :
         {"<|im_end|>", "x<|im_end|>\n<|im_start|>assistant\n", "<s></s>",
          "<unk>", "\u2581<|im_end|>", "<0x0A>",
          "\xEF\xBF\xBD"
          "1025"}) {
      for (const TokenId id : Ids(*tokenizer, text))
        CHECK_FALSE(tokenizer->IsControl(id));
    }
    CHECK(tokenizer->Decode(Ids(*tokenizer, "a<|im_end|>")) == "a<|im_end|>");
  }
}

TEST_CASE("special tokens are split off where they are asked for") {
  const auto tokenizer = MustOpen(ChatVocabulary());
  const Options special = {.add_bos = false, .parse_special = true};
  CHECK(Ids(*tokenizer, "<|im_end|>", special) == std::vector{kImEnd});
  CHECK(Ids(*tokenizer, "<s><|im_start|><|im_end|></s>", special) ==
        std::vector<TokenId>{1, kImStart, kImEnd, 2});
  // Text that begins the sequence has the space prefix, text after a special
  // token has none.
  std::vector<TokenId> expected = Ids(*tokenizer, "on");
  expected.push_back(kImEnd);
  const std::vector<TokenId> bare =
      Ids(*tokenizer, "on", {.add_bos = false, .add_space_prefix = false});
  CHECK(bare != Ids(*tokenizer, "on"));
  expected.insert(expected.end(), bare.begin(), bare.end());
  CHECK(Ids(*tokenizer, "on<|im_end|>on", special) == expected);
  CHECK(Ids(*tokenizer, "<|im_end|>on", special) == [&] {
    std::vector<TokenId> ids = bare;
    ids.insert(ids.begin(), kImEnd);
    return ids;
  }());
}

TEST_CASE("the longest special token wins") {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.Add("<a>", kControl);
  vocabulary.Add("<a><b>", kControl);
  vocabulary.Add("<b>", kControl);
  const auto tokenizer = MustOpen(vocabulary);
  const Options special = {.add_bos = false, .parse_special = true};
  const TokenId a = vocabulary.Find("<a>");
  CHECK(Ids(*tokenizer, "<a><b><a><b", special)[0] == a + 1);
  CHECK(Ids(*tokenizer, "<a><a><b><b>", special) ==
        std::vector<TokenId>{a, a + 1, a + 2});
}

TEST_CASE("user-defined pieces that are text stay text") {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.add_space_prefix = false;
  for (const char* piece : {"a", "\n"}) vocabulary.Add(piece, kNormal, -1);
  vocabulary.Add("\n\n", kUserDefined);
  vocabulary.Add("<h1>", kUserDefined);
  vocabulary.Add("<end_of_turn>", kUserDefined);
  const auto tokenizer = MustOpen(vocabulary);
  const TokenId lines = vocabulary.Find("\n\n");
  CHECK(Ids(*tokenizer, "a\n\n<h1>") ==
        std::vector<TokenId>{vocabulary.Find("a"), lines, lines + 1});
  CHECK_FALSE(tokenizer->IsControl(lines));
  CHECK(tokenizer->Piece(lines) == "\n\n");
  CHECK(tokenizer->IsControl(lines + 2));
  CHECK(Ids(*tokenizer, "<end_of_turn>").size() == 13);
  CHECK(tokenizer->end_ids() == std::vector<TokenId>{2, lines + 2});
}

TEST_CASE("Gemma's ways: no prefix, runs of white space, bytes, turn marks") {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.add_space_prefix = false;
  for (const char* piece : {"h", "i", "\u2581h", "hi", "\u2581hi"})
    vocabulary.Add(piece, kNormal,
                   -static_cast<float>(vocabulary.tokens.size()));
  for (const char* piece :
       {"\n\n", "\n\n\n", "\u2581\u2581", "\u2581\u2581\u2581\u2581",
        "<start_of_turn>", "<end_of_turn>"})
    vocabulary.Add(piece, kUserDefined);
  const auto tokenizer = MustOpen(vocabulary);
  const auto id = [&](const char* piece) { return vocabulary.Find(piece); };
  CHECK(Ids(*tokenizer, "hi hi", {}) ==
        std::vector<TokenId>{1, id("hi"), id("\u2581hi")});
  // Runs are whole pieces, the longest first; what is left joins the word.
  CHECK(Ids(*tokenizer, "hi       hi") ==
        std::vector<TokenId>{id("hi"), id("\u2581\u2581\u2581\u2581"),
                             id("\u2581\u2581"), id("\u2581hi")});
  CHECK(Ids(*tokenizer, "\n\n\n\n\n") ==
        std::vector<TokenId>{id("\n\n\n"), id("\n\n")});
  CHECK(Ids(*tokenizer, "\u00E9") == std::vector<TokenId>{3 + 0xC3, 3 + 0xA9});
  CHECK(Ids(*tokenizer, "<start_of_turn>hi<end_of_turn>\n\n",
            {.parse_special = true}) ==
        std::vector<TokenId>{1, id("<start_of_turn>"), id("hi"),
                             id("<end_of_turn>"), id("\n\n")});
  for (const TokenId one : Ids(*tokenizer, "hi<end_of_turn>"))
    CHECK_FALSE(tokenizer->IsControl(one));
  CHECK(tokenizer->end_ids() == std::vector<TokenId>{2, id("<end_of_turn>")});
  CHECK_FALSE(tokenizer->adds_space_prefix());
}

TEST_CASE("ids and flags come from the file") {
  TestVocabulary vocabulary = ChatVocabulary();
  vocabulary.eos = 2;
  vocabulary.eot = 1025;
  auto tokenizer = MustOpen(vocabulary);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->end_ids() == std::vector<TokenId>{2, 1025});
  CHECK(Ids(*tokenizer, "", {}) == std::vector<TokenId>{1});
  CHECK(tokenizer->FindPiece("<|im_end|>") == 1025);
  CHECK(tokenizer->FindPiece("\n") == vocabulary.Find("<0x0A>"));
  CHECK(tokenizer->FindPiece(" the") == vocabulary.Find("\u2581the"));
  CHECK(tokenizer->FindPiece("no such piece") == -1);
  CHECK(tokenizer->Piece(1) == "");
  CHECK(tokenizer->Piece(1, true) == "<s>");
  CHECK(tokenizer->Piece(-1, true) == "");
  CHECK(tokenizer->Piece(1 << 30, true) == "");
  CHECK(tokenizer->MemoryBytes() > 1024 * 100);

  vocabulary.add_bos = false;
  vocabulary.add_space_prefix = false;
  tokenizer = MustOpen(vocabulary);
  CHECK_FALSE(tokenizer->adds_bos());
  CHECK(Ids(*tokenizer, "", {}).empty());
  CHECK(tokenizer->Decode(Ids(*tokenizer, " the", {})) == " the");
  CHECK(Ids(*tokenizer, "the") != Ids(*tokenizer, " the"));

  // Without the keys: sentencepiece's names.
  vocabulary.bos = vocabulary.eos = vocabulary.eot = std::nullopt;
  tokenizer = MustOpen(vocabulary);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->end_ids() == std::vector<TokenId>{2, 1025});
}

TEST_CASE("several unknown tokens, or none, do no harm") {
  // Phi-3's file: <unk> a control token, padding marked unknown.
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.types[0] = kControl;
  vocabulary.unknown = 0;
  vocabulary.Add("[PAD1]", kUnknown);
  vocabulary.Add("[PAD2]", kUnknown);
  auto tokenizer = MustOpen(vocabulary);
  CHECK(Ids(*tokenizer, "[PAD1]").size() == 7);
  CHECK(Ids(*tokenizer, "\u00E9") ==
        std::vector<TokenId>{259, 3 + 0xC3, 3 + 0xA9});

  vocabulary = ByteVocabulary();
  vocabulary.types[0] = kControl;
  tokenizer = MustOpen(vocabulary);
  CHECK(tokenizer->vocab_size() == 260);
  CHECK(Ids(*tokenizer, "x") == std::vector<TokenId>{259, 3 + 'x'});
}

TEST_CASE("without byte tokens, strange characters become the unknown token") {
  TestVocabulary vocabulary;
  vocabulary.Add("a", kNormal);
  vocabulary.Add("\u2581", kNormal);
  vocabulary.Add("<unk>", kUnknown);
  const auto tokenizer = MustOpen(vocabulary);
  CHECK(Ids(*tokenizer, "axya") == std::vector<TokenId>{1, 0, 2, 0});
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "\n\u4E2D";
  CHECK(Ids(*tokenizer, text) == std::vector<TokenId>{1, 2});
  CHECK(tokenizer->bos() == -1);
  CHECK(Ids(*tokenizer, "a", {}) == std::vector<TokenId>{1, 0});
}

TEST_CASE("invalid UTF-8 is refused with its place") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  const auto ids = tokenizer->Encode("abc\xC3(", {});
  REQUIRE_FALSE(ids.ok());
  CHECK(ids.status().code() == StatusCode::kInvalidArgument);
  CHECK(ids.status().message().find("byte 3") != std::string::npos);
  CHECK(Ids(*tokenizer, std::string("a\0b", 3)).size() == 4);
}

TEST_CASE("other tokenizers are refused by name") {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.model = "bert";
  const auto tokenizer = vocabulary.Open();
  REQUIRE_FALSE(tokenizer.ok());
  CHECK(tokenizer.status().code() == StatusCode::kUnsupported);
  CHECK(tokenizer.status().message().find("bert") != std::string::npos);
  CHECK(tokenizer.status().message().find(".gguf: ") != std::string::npos);
}

TEST_CASE("contradictory vocabularies are refused") {
  const auto refused = [](auto bend) {
    TestVocabulary vocabulary = ByteVocabulary();
    bend(&vocabulary);
    const auto tokenizer = vocabulary.Open();
    REQUIRE_FALSE(tokenizer.ok());
    CHECK(tokenizer.status().code() == StatusCode::kCorrupt);
    CHECK(tokenizer.status().message().find("vocabulary.gguf: ") !=
          std::string::npos);
    CHECK(tokenizer.status().message().find('\n') == std::string::npos);
    INFO(tokenizer.status().message());
  };
  refused([](auto* v) { v->model.reset(); });
  refused([](auto* v) { v->tokens.clear(); });
  refused([](auto* v) { v->scores.clear(); });
  refused([](auto* v) { v->types.clear(); });
  refused([](auto* v) { v->scores.pop_back(); });
  refused([](auto* v) { v->types.push_back(1); });
  refused([](auto* v) { v->types[5] = 0; });
  refused([](auto* v) { v->types[5] = 7; });
  refused([](auto* v) { v->scores[5] = std::nanf(""); });
  refused([](auto* v) { v->scores[5] = INFINITY; });
  refused([](auto* v) { v->tokens[1].clear(); });
  refused([](auto* v) { v->bos = 260; });
  refused([](auto* v) { v->eos = 4000000000u; });
  refused([](auto* v) { v->eot = 260; });
  refused([](auto* v) { v->unknown = 260; });
  refused([](auto* v) { v->tokens[5] = "<0x03>"; });  // twice
  refused([](auto* v) { v->tokens[5] = "<0xZZ>"; });
  refused([](auto* v) { v->types[5] = kUnused; });  // 255 byte tokens
  refused([](auto* v) {
    v->Add("a", kNormal);
    v->Add("a", kNormal);
  });
  refused([](auto* v) { v->Add(std::string("\0", 1), kUserDefined); });
  refused([](auto* v) {  // no bytes, nothing unknown
    v->tokens = {"a", "b"};
    v->scores = {0, 0};
    v->types = {kNormal, kNormal};
    v->bos = v->eos = std::nullopt;
  });
}

TEST_CASE("strange but consistent vocabularies do no harm") {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.Add("\xC3", kNormal);        // half a character
  vocabulary.Add("x\xFF", kUserDefined);  // no character at all
  vocabulary.Add("<twice>", kControl);
  vocabulary.Add("<twice>", kControl);
  vocabulary.Add(
      "\xFF"
      "1",
      kNormal);  // looks like a hidden name
  vocabulary.Add(std::string(5000, 'y'), kNormal);
  vocabulary.Add("q", kUnused);
  const auto tokenizer = vocabulary.Open();
  if (!tokenizer.ok()) {
    CHECK(tokenizer.status().code() == StatusCode::kCorrupt);
  } else {
    CHECK(Ids(**tokenizer, "x\u00E9q<twice>").size() >= 11);
  }
}

}  // namespace
}  // namespace dapple::testing
