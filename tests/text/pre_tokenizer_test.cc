#include "text/pre_tokenizer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace dapple::testing {
namespace {

using Words = std::vector<std::string>;

Words Split(const char* name, const std::string& text) {
  const PreTokenizerRule* rule = FindPreTokenizerRule(name);
  REQUIRE(rule != nullptr);
  const auto made = PreTokenizer::Create(*rule);
  if (!made.ok()) FAIL(made.status().message());
  Words words;
  const Status status = (*made)->Split(
      text, [&](std::string_view word) { words.emplace_back(word); });
  REQUIRE(status.ok());
  return words;
}

// Expected words are worked out by hand from each tokenizer's own pattern.
TEST_CASE("GPT-2's words") {
  CHECK(Split("gpt-2", "I'll pay  42 dollars, OK?\n\n 'RE") ==
        Words{"I", "'ll", " pay", " ", " 42", " dollars", ",", " OK", "?",
              "\n\n", " '", "RE"});
  CHECK(Split("gpt-2", "12345678") == Words{"12345678"});
  CHECK(Split("gpt-2", "x \t\n") == Words{"x", " \t\n"});
  CHECK(Split("gpt-2", "na\u00EFve \u4E2D\u6587 \u00BD") ==
        Words{"na\u00EFve", " \u4E2D\u6587", " \u00BD"});
  CHECK(Split("gpt-2", "") == Words{});
  // No-break space is white space, the Mongolian vowel separator is not.
  CHECK(Split("gpt-2", "a\u00A0\u00A0b") ==
        Words{"a", "\u00A0", "\u00A0", "b"});
  CHECK(Split("gpt-2", " \u180Eb") == Words{" \u180E", "b"});
}

TEST_CASE("digits one by one") {
  for (const char* name : {"smollm", "starcoder", "refact"}) {
    CHECK(Split(name, "in 1984 a") ==
          Words{"in", " ", "1", "9", "8", "4", " a"});
    CHECK(Split(name, "x\u00B2") == Words{"x", "\u00B2"});
  }
}

TEST_CASE("Llama 3's and Qwen 2's words") {
  CHECK(Split("llama-bpe", "I'LL pay (1234567)\r\n\r\n\tDone.\n") ==
        Words{"I", "'LL", " pay", " (", "123", "456", "7", ")\r\n\r\n",
              "\tDone", ".\n"});
  CHECK(Split("llama-bpe", "a  \n \n  b") == Words{"a", "  \n \n", " ", " b"});
  CHECK(Split("llama-bpe", "we've_got \u0928\u092E\u0938\u094D\u0924\u0947") ==
        Words{"we", "'ve", "_got", " \u0928\u092E\u0938", "\u094D\u0924",
              "\u0947"});
  CHECK(Split("qwen2", "pay 123 $5") ==
        Words{"pay", " ", "1", "2", "3", " $", "5"});
  CHECK(Split("qwen2", "   x   ") == Words{"  ", " x", "   "});
  // The long s is an s in another case, as their engines have it.
  CHECK(Split("qwen2", "it'\u017F") == Words{"it", "'\u017F"});
}

TEST_CASE("o200k's words begin at capitals") {
  CHECK(Split("gpt-4o", "HelloWorld's iPhone ABCdef") ==
        Words{"Hello", "World's", " i", "Phone", " ABCdef"});
  CHECK(Split("gpt-4o", "path//a/\n12345") ==
        Words{"path", "//", "a", "/\n", "123", "45"});
  CHECK(Split("tekken", "World's 12 \u0928\u092E\u0938\u094D\u0924\u0947") ==
        Words{"World", "'s", " ", "1", "2",
              " \u0928\u092E\u0938\u094D\u0924\u0947"});
}

TEST_CASE("Falcon's words") {
  CHECK(Split("falcon", "a=b, 12345 <<x>>") ==
        Words{"a", "=", "b", ",", " ", "123", "45", " ", "<<", "x", ">>"});
}

TEST_CASE("DeepSeek's words") {
  CHECK(
      Split("deepseek-llm", "Hi there\nx1234 \u4E2D\u6587.  ") ==
      Words{"Hi", " there", "\n", "x", "1234", " ", "\u4E2D\u6587", ".", "  "});
  CHECK(Split("deepseek-coder", "Hi there\n12 \u4E2D,y") ==
        Words{"Hi", " there", "\n", "1", "2", " ", "\u4E2D", ",", "y"});
  CHECK(Split("deepseek-v3", "see 12345.x \u4E2D\u304B!!\n") ==
        Words{"see", " ", "123", "45", ".x", " ", "\u4E2D\u304B", "!!\n"});
}

TEST_CASE("every rule compiles and keeps every byte, UTF-8 or not") {
  const std::string text =
      "A's  \t\r\n12345 \xFF\xFE\u00E9\u4E2D\xE4\xB8 x\xC0\xAFy\n\xF0\x9F";
  for (const char* name :
       {"gpt-2", "phi-2", "starcoder", "refact", "smollm", "llama-bpe",
        "smaug-bpe", "qwen2", "gpt-4o", "tekken", "falcon", "deepseek-llm",
        "deepseek-coder", "deepseek-v3"}) {
    CAPTURE(std::string(name));
    std::string joined;
    for (const std::string& word : Split(name, text)) {
      CHECK_FALSE(word.empty());
      joined += word;
    }
    CHECK(joined == text);
  }
  CHECK(Split("gpt-2",
              "a\xFF\xFE"
              "b") == Words{"a", "\xFF\xFE", "b"});
}

TEST_CASE("long runs are split in linear time") {
  // Quadratic matching would take minutes here.
  const size_t n = 1 << 20;
  for (const char* name : {"gpt-2", "llama-bpe", "gpt-4o", "deepseek-llm",
                           "deepseek-v3", "falcon"}) {
    CAPTURE(std::string(name));
    CHECK(Split(name, std::string(n, 'A')).size() == 1);
    CHECK(Split(name, std::string(n, ' ')).size() == 1);
    std::string mixed;
    while (mixed.size() < n) mixed += " \t";
    CHECK(Split(name, mixed + "x").size() <= 3);
  }
}

TEST_CASE("unknown names have no rule") {
  for (const char* name : {"", "default", "gpt-3", "Llama-BPE", "qwen2 "})
    CHECK(FindPreTokenizerRule(name) == nullptr);
}

}  // namespace
}  // namespace dapple::testing
