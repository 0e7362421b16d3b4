#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "test_tokenizer.h"

namespace dapple::testing {
namespace {

constexpr TokenId kByte0 = 3;  // of ByteVocabulary

std::string Stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
                   bool strip, std::vector<std::string>* parts = nullptr) {
  StreamDetokenizer stream(tokenizer, strip);
  std::string text;
  for (const TokenId id : ids) {
    const std::string part = stream.Push(id);
    CHECK(IsValidUtf8(part, nullptr));
    if (parts != nullptr) parts->push_back(part);
    text += part;
  }
  const std::string last = stream.Finish();
  CHECK(IsValidUtf8(last, nullptr));
  return text + last;
}

std::vector<TokenId> Bytes(const std::string& text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(kByte0 + static_cast<uint8_t>(c));
  return ids;
}

TEST_CASE("UTF-8 is judged as the standard's table does") {
  const auto bad_at = [](const std::string& text) {
    size_t bad = 999;
    return IsValidUtf8(text, &bad) ? std::string::npos : bad;
  };
  for (const char* text :
       {"", "abc", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
        "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    CHECK(bad_at(text) == std::string::npos);
  CHECK(bad_at("a\x80") == 1);
  CHECK(bad_at("\xC0\x80") == 0);  // overlong
  CHECK(bad_at("\xC1\xBF") == 0);
  CHECK(bad_at("xy\xE0\x9F\xBF") == 2);
  CHECK(bad_at("\xF0\x8F\xBF\xBF") == 0);
  CHECK(bad_at("\xED\xA0\x80") == 0);      // a surrogate
  CHECK(bad_at("\xF4\x90\x80\x80") == 0);  // above U+10FFFF
  CHECK(bad_at("\xF5\x80\x80\x80") == 0);
  CHECK(bad_at("\xE2\x82") == 0);  // cut short
  CHECK(bad_at("\xE2\x82\xACx\xF0\x9F\xA6") == 4);
  CHECK_FALSE(IsValidUtf8("\xFF", nullptr));
}

TEST_CASE("every code point is valid and no other three bytes are") {
  // Against an encoder instead of a table.
  for (uint32_t first = 0xE0; first <= 0xEF; ++first) {
    for (uint32_t rest = 0; rest < 0x10000; ++rest) {
      const std::string text = {static_cast<char>(first),
                                static_cast<char>(rest >> 8),
                                static_cast<char>(rest)};
      const bool tails = (rest & 0xC0C0) == 0x8080;
      const uint32_t code =
          ((first & 15) << 12) | ((rest >> 2) & 0xFC0) | (rest & 63);
      const bool expected =
          tails && code >= 0x800 && (code < 0xD800 || code > 0xDFFF);
      if (IsValidUtf8(text, nullptr) != expected) FAIL(first << " " << rest);
    }
  }
}

TEST_CASE("streaming never shows half a character") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  std::vector<std::string> parts;
  CHECK(Stream(*tokenizer, Bytes("a\u20AC\U0001F999"), false, &parts) ==
        "a\u20AC\U0001F999");
  CHECK(parts == std::vector<std::string>{"a", "", "", "\u20AC", "", "", "",
                                          "\U0001F999"});
}

TEST_CASE("bytes that never become a character are replaced") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  const std::string r = "\uFFFD";
  CHECK(Stream(*tokenizer, Bytes("\xFF"), false) == r);
  CHECK(Stream(*tokenizer, Bytes("\xE2\x82"), false) == r);  // at the end
  CHECK(Stream(*tokenizer, Bytes("\xE2\x82z"), false) == r + "z");
  CHECK(Stream(*tokenizer, Bytes("\xC0\x80z"), false) == r + r + "z");
  CHECK(Stream(*tokenizer, Bytes("\xF0\x9F\xE2\x82\xAC"), false) ==
        r + "\u20AC");
  std::vector<std::string> parts;
  Stream(*tokenizer, Bytes("\xE2x"), false, &parts);
  CHECK(parts == std::vector<std::string>{"", r + "x"});
}

TEST_CASE("random bytes stream as they decode at once") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) {
    std::string bytes;
    for (size_t n = random() % 12; n > 0; --n)
      bytes.push_back(
          static_cast<char>("\xF0\x9F\xA6\x99\xE2\x82\xAC za\xC3"
                            "\xFF"[random() % 12]));
    const std::string streamed = Stream(*tokenizer, Bytes(bytes), false);
    if (IsValidUtf8(bytes, nullptr)) {
      CHECK(streamed == bytes);
    } else {
      CHECK(streamed.find("\uFFFD") != std::string::npos);
    }
  }
}

TEST_CASE("one leading space goes, if told so") {
  const auto tokenizer = MustOpen(ByteVocabulary());
  CHECK(Stream(*tokenizer, Bytes("  x"), true) == " x");
  CHECK(Stream(*tokenizer, Bytes("  x"), false) == "  x");
  CHECK(Stream(*tokenizer, Bytes("x y"), true) == "x y");
  std::vector<TokenId> ids = Bytes(" x");
  ids.insert(ids.begin(), 1);  // bos shows nothing
  CHECK(Stream(*tokenizer, ids, true) == "x");
}

}  // namespace
}  // namespace dapple::testing
