#include "sections.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace dapple::tool {
namespace {

// A token a word (or part of one of up to 8 bytes).
size_t Words(std::string_view text) {
  size_t count = 0, run = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n') {
      run = 0;
    } else if (run++ % 8 == 0) {
      ++count;
    }
  }
  return count;
}

void CheckCovers(const std::string& text, size_t budget,
                 const std::vector<Section>& sections) {
  size_t at = 0;
  for (const Section& section : sections) {
    CHECK(section.begin == at);
    CHECK(section.end > section.begin);
    CHECK(Words(std::string_view(text).substr(
              section.begin, section.end - section.begin)) <= budget);
    at = section.end;
  }
  CHECK(at == text.size());
}

std::string Paragraphs(size_t count, size_t words) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < words; ++j) text += j == 0 ? "word" : " word";
    text += "\n\n";
  }
  return text;
}

}  // namespace

TEST_CASE("a text that fits is one section") {
  const std::string text = Paragraphs(3, 10);
  const auto sections = SplitSections(text, 30, Words);
  REQUIRE(sections.size() == 1);
  CHECK(sections[0].end == text.size());
}

TEST_CASE("sections are about equal and end at paragraphs") {
  const std::string text = Paragraphs(11, 10);
  const auto sections = SplitSections(text, 60, Words);
  REQUIRE(sections.size() == 2);  // 60 and 50, not 60 and a rest
  CheckCovers(text, 60, sections);
  CHECK(text.substr(sections[0].end - 2, 2) == "\n\n");
}

TEST_CASE("headings draw the borders") {
  for (const char* heading : {"# Second", "CHAPTER II", "Chapter 2. Home"}) {
    const std::string text =
        Paragraphs(5, 10) + heading + "\n\n" + Paragraphs(5, 10);
    const auto sections = SplitSections(text, 70, Words);
    REQUIRE(sections.size() == 2);
    CHECK(text.substr(sections[1].begin).starts_with(heading));
  }
}

TEST_CASE("long paragraphs are cut at lines, sentences, words, anywhere") {
  std::string lines, sentences, words, letters(900, 'x'), accents;
  for (size_t i = 0; i < 40; ++i) {
    lines += "a b c\n";
    sentences += "A b c. ";
    words += "abc ";
    accents += "\xC3\xA9\xC3\xA8";
  }
  for (const std::string& text : {lines, sentences, words, letters, accents}) {
    const auto sections = SplitSections(text, 10, Words);
    CHECK(sections.size() > 1);
    CheckCovers(text, 10, sections);
    for (const Section& section : sections)  // no character is cut
      CHECK((static_cast<unsigned char>(text[section.begin]) & 0xC0) != 0x80);
  }
}

TEST_CASE("any bytes are covered once, whatever the budget") {
  std::mt19937 random(3);
  const std::string alphabet = "ab \n.A#";
  for (size_t round = 0; round < 200; ++round) {
    std::string text;
    const size_t size = 1 + random() % 300;
    while (text.size() < size) text += alphabet[random() % alphabet.size()];
    const size_t budget = 1 + random() % 40;
    CheckCovers(text, budget, SplitSections(text, budget, Words));
  }
  CHECK(SplitSections("", 10, Words).empty());
}

}  // namespace dapple::tool
