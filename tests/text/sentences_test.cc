#include "dapple/sentences.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <random>
#include <string>
#include <vector>

#include "../gguf/test_files.h"

namespace dapple::testing {
namespace {

std::vector<std::string> Split(const std::string& document) {
  std::vector<std::string> texts;
  for (const Sentence& sentence : SplitSentences(document))
    texts.push_back(sentence.text);
  return texts;
}
using Texts = std::vector<std::string>;

// The document's own words: white space (and quote marks at line starts, in
// texts that have them) apart, the sentence is the bytes it names.
std::string Collapse(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else {
      out += c;
    }
  }
  return out;
}

void CheckSpans(const std::string& document) {
  size_t end = 0;
  size_t paragraph = 1;
  for (const Sentence& sentence : SplitSentences(document)) {
    REQUIRE(sentence.byte_offset >= end);
    end = sentence.byte_offset + sentence.byte_length;
    REQUIRE(end <= document.size());
    REQUIRE(Collapse(document.substr(sentence.byte_offset,
                                     sentence.byte_length)) == sentence.text);
    REQUIRE(sentence.text.front() != ' ');
    REQUIRE(sentence.text.back() != ' ');
    REQUIRE(sentence.paragraph >= paragraph);
    paragraph = sentence.paragraph;
  }
}

TEST_CASE("sentences end at their end marks") {
  CHECK(Split("It rains. Take a coat! Must I? Yes you must.") ==
        Texts{"It rains.", "Take a coat!", "Must I?", "Yes you must."});
  CHECK(Split("It rains.  Then it stops.") ==
        Texts{"It rains.", "Then it stops."});
  CHECK(Split("What?! That is new.") == Texts{"That is new."});
  CHECK(Split("No end mark here") == Texts{});
  CHECK(Split("An end. and no new sentence.") ==
        Texts{"An end. and no new sentence."});
  CHECK(Split("Il neige. \u00C9tienne dort. \u00E9t\u00E9 vient.") ==
        Texts{"Il neige.", "\u00C9tienne dort. \u00E9t\u00E9 vient."});
  CHECK(Split("\u4ECA\u65E5\u306F\u3002\u660E\u65E5\u3082\uFF01").size() == 2);
  CHECK(Split("") == Texts{});
  CHECK(Split("\n\n \n") == Texts{});
}

TEST_CASE("abbreviations, initials and numbers do not end sentences") {
  for (const char* one : {
           "Mr. Holmes met Dr. Watson in London.",
           "Use a tool, e.g. Make, or none.",
           "The lead, i.e. Pb, is heavy.",
           "The U.S. Congress met today.",
           "See No. 5 and Fig. 3 for it.",
           "Look at p. 12 and pp. 14 for it.",
           "J. R. R. Tolkien wrote it.",
           "George W. Bush spoke first.",
           "It costs 3.50 dollars a day.",
           "Version 1.2.3 came out then.",
           "They met at 5 p.m. Tuesday last week.",
           "St. Paul and Mt. Everest are far.",
           "He saw Prof. Smith vs. Jones there.",
           "Acme Inc. Chairman Bob resigned.",
           "The site www.example.org is down.",
           "She was ... well, tired of it.",
           "\"Stop!\" he said to the dog.",
       }) {
    CHECK(Split(one) == Texts{one});
  }
  CHECK(Split("Yahoo! made the news.") == Texts{"Yahoo! made the news."});
  CHECK(Split("He lives in the U.S. The rent is high.") ==
        Texts{"He lives in the U.S.", "The rent is high."});
  CHECK(Split("They sell pens, ink, etc. They close at 5 p.m. It is late.") ==
        Texts{"They sell pens, ink, etc.", "They close at 5 p.m.",
              "It is late."});
  CHECK(Split("The clock struck one. Mary J. Smith left.") ==
        Texts{"The clock struck one.", "Mary J. Smith left."});
  CHECK(Split("I said no. Then I left.") ==
        Texts{"I said no.", "Then I left."});
  CHECK(Split("He was born in 1984. It was cold.") ==
        Texts{"He was born in 1984.", "It was cold."});
  CHECK(Split("She waited... Then she left.") ==
        Texts{"She waited...", "Then she left."});
  CHECK(Split("She waited\u2026 Then she left.") ==
        Texts{"She waited\u2026", "Then she left."});
}

TEST_CASE("closing quotes and brackets stay with the sentence") {
  CHECK(Split("He said \"Come here.\" She came at once.") ==
        Texts{"He said \"Come here.\"", "She came at once."});
  CHECK(Split("\u201CGo on.\u201D He went on.") ==
        Texts{"\u201CGo on.\u201D", "He went on."});
  CHECK(Split("It is so. (I saw it.) Nobody else did.") ==
        Texts{"It is so.", "(I saw it.)", "Nobody else did."});
  CHECK(Split("They left.) \"Why so?\" she asked.") ==
        Texts{"They left.)", "\"Why so?\" she asked."});
  CHECK(Split("It ended. **Nobody** wept at all.") ==
        Texts{"It ended.", "**Nobody** wept at all."});
}

TEST_CASE("wrapped lines are joined, paragraphs are counted") {
  const std::string document =
      "The first sentence goes\nover two lines.  The second\r\none too.\n\n\n"
      "   Another paragraph is\n   indented here.\n";
  const std::vector<Sentence> sentences = SplitSentences(document);
  REQUIRE(sentences.size() == 3);
  CHECK(sentences[0].text == "The first sentence goes over two lines.");
  CHECK(sentences[0].paragraph == 1);
  CHECK(sentences[0].byte_offset == 0);
  CHECK(sentences[0].byte_length == 39);
  CHECK(sentences[1].text == "The second one too.");
  CHECK(sentences[2].text == "Another paragraph is indented here.");
  CHECK(sentences[2].paragraph == 2);
  CheckSpans(document);
}

TEST_CASE("where lines are long, each is a paragraph") {
  std::string line = "This line is long";
  while (line.size() < 200) line += " and so on";
  const auto sentences =
      SplitSentences(line + ".\nA short one.\n" + line + ".\n\nThe last one.");
  REQUIRE(sentences.size() == 4);
  CHECK(sentences[1].text == "A short one.");
  CHECK(sentences[1].paragraph == 2);
  CHECK(sentences[2].paragraph == 3);
  CHECK(sentences[3].paragraph == 4);
}

TEST_CASE("headings and lead-ins are not quoted, but count as paragraphs") {
  const auto sentences = SplitSentences(
      "A LONG TITLE\n\n1. Basic Permissions.\n\nYou may do this:\n\n"
      "  5. Conveying Modified Source Versions.\n\nAll is well here.\n");
  REQUIRE(sentences.size() == 1);
  CHECK(sentences[0].text == "All is well here.");
  CHECK(sentences[0].paragraph == 5);
  // A heading right above its text: its line had room for the next word.
  CHECK(Split("Introduction\nThis text goes on for quite some time and is\n"
              "then wrapped at the margin.\n") ==
        Texts{"This text goes on for quite some time and is then wrapped at "
              "the margin."});
  CHECK(Split("Title of It\n===========\nThe text begins here.") ==
        Texts{"The text begins here."});
}

TEST_CASE("list items lose their markers; fragments are left out") {
  CHECK(Split("    a) The work must be marked.\n\n    b) The work must be "
              "free.\n\n    c) nothing else.\n") ==
        Texts{"The work must be marked.", "The work must be free."});
  CHECK(Split("Do this:\n1. Wash the rice.\n2. Boil it for ten\n   minutes.\n"
              "3. Eat it all.") ==
        Texts{"Wash the rice.", "Boil it for ten minutes.", "Eat it all."});
  CHECK(Split("- One thing is sure.\n- Another is not.\n* A third one.") ==
        Texts{"One thing is sure.", "Another is not.", "A third one."});
  // Numbers that a wrapped line begins with by chance.
  CHECK(Split("There are two steps that we take:\n(1) assert the right, and "
              "(2) offer\nit to you under our own section\n7. We like it.") ==
        Texts{"There are two steps that we take: (1) assert the right, and (2) "
              "offer it to you under our own section 7.",
              "We like it."});
}

TEST_CASE("Markdown's marks, code and tables are not quoted") {
  const std::string document =
      "# What It Is.\n\nIt is a tool.\n\n```sh\nrun it. Now it runs.\n\n# No.\n"
      "```\n\n> Somebody said it\n> in two lines.\n\n| A. b | C. d |\n"
      "|---|---|\n\nThat was all of it.\n";
  CHECK(Split(document) == Texts{"It is a tool.",
                                 "Somebody said it in two lines.",
                                 "That was all of it."});
  CHECK(SplitSentences(document).back().paragraph == 6);
  CHECK(Split("~~~\nAn open fence. It never ends.") == Texts{});
}

TEST_CASE("a licence text gives whole sentences") {
  const std::string document = ReadBytes("/usr/share/common-licenses/GPL-3");
  REQUIRE(document.size() > 30000);
  CheckSpans(document);
  const Texts texts = Split(document);
  CHECK(texts.size() > 130);
  CHECK(texts[0] ==
        "Everyone is permitted to copy and distribute verbatim copies of this "
        "license document, but changing it is not allowed.");
  const auto has = [&](const std::string& text) {
    return std::ranges::find(texts, text) != texts.end();
  };
  CHECK(has("You can apply it to your programs, too."));
  CHECK(
      has("\"Licensees\" and \"recipients\" may be individuals or "
          "organizations."));
  CHECK(
      has("The work must carry prominent notices stating that you modified "
          "it, and giving a relevant date."));
  CHECK(has("If not, see <https://www.gnu.org/licenses/>."));
  CHECK_FALSE(has("Revised Versions of this License."));
  CHECK_FALSE(has("Definitions."));
  for (const std::string& text : texts) {
    CHECK(text.find("  ") == std::string::npos);
    CHECK(text.find("TERMS AND CONDITIONS") == std::string::npos);
    CHECK(std::islower(static_cast<unsigned char>(text[0])) == 0);
  }
}

TEST_CASE("any bytes give sentences of the document") {
  const std::vector<std::string> parts = {
      "The ",  "cat. ", "Dog! ", "\n",   "\n\n",         "a) ",    "1. ",
      "- ",    "# ",    "```\n", "\"",   "\u201D ",      "Mr. ",   "... ",
      "e.g. ", ") ",    "  ",    "\r\n", "\xFF",         "\u3002", "===\n",
      "word ", "3.5 ",  "<a> ",  "|",    "\xEF\xBB\xBF", ". "};
  std::mt19937 random(5);
  for (int i = 0; i < 2000; ++i) {
    std::string document;
    for (size_t n = random() % 40; n > 0; --n)
      document += parts[random() % parts.size()];
    CheckSpans(document);
  }
}

}  // namespace
}  // namespace dapple::testing
