#include "needle_prompt.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <set>

#include "dapple/chat.h"
#include "needle_prose.h"
#include "word_tokenizer.h"

namespace dapple::tool {
namespace {

size_t CountOf(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + 1))
    ++count;
  return count;
}

NeedlePrompt Make(const Tokenizer& tokenizer, const char* task, size_t length,
                  size_t sample, double depth,
                  NeedlePromptOptions options = {}) {
  const auto prompt = MakePrompt(tokenizer, *FindNeedleTask(task), length,
                                 sample, depth, options);
  REQUIRE_MESSAGE(prompt.ok(), prompt.status().message());
  return *prompt;
}

NeedlePromptOptions Raw() {
  NeedlePromptOptions options;
  options.chat = false;
  return options;
}

TEST_CASE("prose is sentences without digits, braces or doubled spaces") {
  NeedleProse prose(11);
  std::set<std::string> seen;
  size_t paragraphs = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string sentence = prose.NextSentence();
    CAPTURE(sentence);
    REQUIRE(sentence.size() > 10);
    CHECK(sentence.find_first_of("0123456789{}\n") == std::string::npos);
    CHECK(sentence.find("  ") == std::string::npos);
    CHECK(sentence.find(" a a") == std::string::npos);
    const char first = sentence[0] == '"' ? sentence[1] : sentence[0];
    CHECK((first >= 'A' && first <= 'Z'));
    CHECK((sentence.back() == '.' || sentence.back() == '"'));
    seen.insert(sentence);
    if (prose.paragraph_ended()) ++paragraphs;
  }
  // Varied: hardly a sentence comes twice, paragraphs have 4 to 9 sentences.
  CHECK(seen.size() > 2500);
  CHECK(paragraphs >= 3000 / 9);
  CHECK(paragraphs <= 3000 / 4);
}

TEST_CASE("articles in prose go with the word after them") {
  NeedleProse prose(5);
  for (int i = 0; i < 2000; ++i) {
    std::string sentence(1, ' ');
    sentence += prose.NextSentence();
    CAPTURE(sentence);
    for (const char* vowel : {"a", "e", "i", "o", "u"}) {
      CHECK(sentence.find(std::string(" a ") + vowel) == std::string::npos);
    }
    for (const char* consonant : {"b", "c", "d", "g", "m", "p", "s", "t", "w"})
      CHECK(sentence.find(std::string(" an ") + consonant) ==
            std::string::npos);
  }
}

TEST_CASE("prose depends on its seed alone") {
  NeedleProse a(1), b(1), c(2);
  size_t different = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string sentence = a.NextSentence();
    CHECK(sentence == b.NextSentence());
    if (sentence != c.NextSentence()) ++different;
  }
  CHECK(different > 90);
}

TEST_CASE("every task fills the length asked for and hides what it asks for") {
  const WordTokenizer tokenizer;
  for (const NeedleTask& task : NeedleTasks()) {
    for (size_t length : {1537u, 4096u, 20011u}) {
      const std::string name(task.name);
      CAPTURE(name);
      CAPTURE(length);
      const NeedlePrompt prompt =
          Make(tokenizer, name.c_str(), length, 2, 0.4, Raw());
      CHECK(prompt.ids.size() <= length);
      // Less than one needle may be missing where there is nothing else.
      const size_t slack = task.haystack == HaystackKind::kNeedles ? 40 : 0;
      CHECK(prompt.ids.size() + std::max(slack, length / 100) >= length);
      CHECK(!prompt.lead_in.empty());
      REQUIRE(!prompt.expected.empty());
      CHECK(tokenizer.Decode(prompt.ids, false) ==
            prompt.text + prompt.lead_in);
      for (const std::string& answer : prompt.expected) {
        CHECK(prompt.text.find(answer) != std::string::npos);
        CHECK(prompt.lead_in.find(answer) == std::string::npos);
      }
    }
  }
}

TEST_CASE("the needle lies as deep as asked") {
  const WordTokenizer tokenizer;
  for (const char* task : {"niah-1", "niah-2", "niah-3", "multikey-1",
                           "multikey-2", "multikey-3", "fact"}) {
    CAPTURE(task);
    for (double depth : {0.0, 0.25, 0.5, 0.9, 1.0}) {
      CAPTURE(depth);
      const NeedlePrompt prompt = Make(tokenizer, task, 8000, 7, depth, Raw());
      const double at =
          static_cast<double>(prompt.text.find(prompt.expected[0])) /
          static_cast<double>(prompt.text.size());
      CHECK(at == doctest::Approx(depth).epsilon(0.04).scale(1));
      CHECK(CountOf(prompt.text, prompt.expected[0]) == 1);
    }
  }
}

TEST_CASE("a prompt depends on seed, task, length and sample alone") {
  const WordTokenizer tokenizer;
  NeedlePromptOptions options = Raw();
  const NeedlePrompt a = Make(tokenizer, "niah-2", 2000, 3, 0.5, options);
  // Another order of making them, and another tokenizer that knows more words.
  const WordTokenizer fresh;
  Make(fresh, "vt", 500, 0, 0.5, options);
  CHECK(Make(fresh, "niah-2", 2000, 3, 0.5, options).text == a.text);
  CHECK(Make(tokenizer, "niah-2", 2000, 4, 0.5, options).text != a.text);
  options.seed = 1;
  CHECK(Make(tokenizer, "niah-2", 2000, 3, 0.5, options).text != a.text);
}

TEST_CASE("tasks hide as many needles as RULER does") {
  const WordTokenizer tokenizer;
  const std::string needle = "One of the special magic numbers for ";
  const auto count = [&](const char* task) {
    return CountOf(Make(tokenizer, task, 4000, 1, 0.5, Raw()).text, needle);
  };
  CHECK(count("niah-1") == 1);
  CHECK(count("niah-2") == 1);
  CHECK(count("multikey-1") == 4);
  CHECK(count("multikey-16") == 16);
  CHECK(count("multivalue") == 4);
  CHECK(count("multiquery") == 4);
  CHECK(count("multikey-2") > 60);
  CHECK(Make(tokenizer, "multivalue", 4000, 1, 0.5, Raw()).expected.size() ==
        4);
  CHECK(Make(tokenizer, "multiquery", 4000, 1, 0.5, Raw()).expected.size() ==
        4);
  const NeedlePrompt vt = Make(tokenizer, "vt", 4000, 1, 0.5, Raw());
  REQUIRE(vt.expected.size() == 5);
  // The chain stands in its order, each link once.
  size_t last = 0;
  for (const std::string& name : vt.expected) {
    const size_t at = vt.text.find("VAR " + name + " = ");
    REQUIRE(at != std::string::npos);
    CHECK(at > last);
    last = at;
  }
}

TEST_CASE("no key comes twice in a haystack of needles") {
  const WordTokenizer tokenizer;
  for (const char* task : {"multikey-2", "multikey-3"}) {
    const NeedlePrompt prompt = Make(tokenizer, task, 30000, 0, 0.3, Raw());
    std::set<std::string> keys;
    size_t count = 0;
    for (size_t at = prompt.text.find("s for ");; ++count) {
      const size_t end = prompt.text.find(" is: ", at);
      if (end == std::string::npos) break;
      keys.insert(prompt.text.substr(at, end - at));
      at = prompt.text.find("s for ", end);
      if (at == std::string::npos) break;
    }
    CHECK(count > 100);
    CHECK(keys.size() >= count);
  }
}

TEST_CASE("without lead-in only the question is asked") {
  const WordTokenizer tokenizer;
  NeedlePromptOptions options = Raw();
  options.lead_in = false;
  const NeedlePrompt prompt = Make(tokenizer, "niah-2", 1000, 0, 0.5, options);
  CHECK(prompt.lead_in.empty());
  CHECK(prompt.text.ends_with("mentioned in the provided text?"));
  CHECK(tokenizer.Decode(prompt.ids, false) == prompt.text);
  CHECK(prompt.ids.size() >= 990);
}

TEST_CASE("lengths that leave no room are refused with the figures") {
  const WordTokenizer tokenizer;
  const auto prompt =
      MakePrompt(tokenizer, *FindNeedleTask("niah-2"), 40, 0, 0.5, Raw());
  REQUIRE(!prompt.ok());
  CHECK(prompt.status().code() == StatusCode::kInvalidArgument);
  CHECK(prompt.status().message().find("40") != std::string::npos);
  CHECK(FindNeedleTask("niah-4") == nullptr);
}

TEST_CASE(
    "a text of the user's is the haystack, again from its start if short") {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "Sentence number " +
            std::string(1, static_cast<char>('a' + i % 26)) + " of paragraph " +
            std::string(1, static_cast<char>('a' + i / 4)) +
            (i % 4 == 3 ? " ends it.\n\n" : " goes on. ");
  const auto split = HaystackText::Split("file", text);
  REQUIRE(split.ok());
  CHECK(split->sentences.size() == 40);
  CHECK(split->sentences[3].ends_paragraph);
  CHECK(!split->sentences[2].ends_paragraph);
  const WordTokenizer tokenizer;
  NeedlePromptOptions options = Raw();
  options.prose = &*split;
  for (size_t length : {501u, 3001u}) {
    const NeedlePrompt prompt =
        Make(tokenizer, "niah-3", length, 0, 0.5, options);
    CHECK(prompt.ids.size() <= length);
    CHECK(prompt.ids.size() >= length - length / 100);
    CHECK(prompt.text.find("of paragraph") != std::string::npos);
  }
  CHECK(!HaystackText::Split("file", "One sentence only.").ok());
}

TEST_CASE("chat prompts of the embedded model have the length asked for") {
  const char* root = std::getenv("DAPPLE_SOURCE_ROOT");
  REQUIRE(root != nullptr);
  const auto tokenizer =
      Tokenizer::Open(std::string(root) + "/models/dapple-40m-q8_0.gguf");
  REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.status().message());
  for (const NeedleTask& task : NeedleTasks()) {
    const auto prompt = MakePrompt(**tokenizer, task, 4096, 5, 0.7, {});
    REQUIRE_MESSAGE(prompt.ok(), prompt.status().message());
    CHECK(prompt->ids.size() <= 4096);
    CHECK(prompt->ids.size() >= 4096 - 40);
    const auto again =
        EncodeChat(**tokenizer, {"", prompt->text, prompt->lead_in}, false);
    REQUIRE(again.ok());
    CHECK(*again == prompt->ids);
  }
}

}  // namespace
}  // namespace dapple::tool
