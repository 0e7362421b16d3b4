#include "rouge.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <random>

namespace dapple::tool {
namespace {

using Words = std::vector<std::string>;

TEST_CASE("ROUGE's words are lower-cased runs of letters and digits") {
  CHECK(RougeWords("The U.S. didn't; 3.5 km--x_Y") ==
        Words{"the", "u", "s", "didn", "t", "3", "5", "km", "x", "y"});
  // Bytes beyond ASCII part words, as rouge-score's [^a-z0-9] does.
  CHECK(RougeWords("caf\xC3\xA9s \xE2\x80\x9Cok\xE2\x80\x9D") ==
        Words{"caf", "s", "ok"});
  CHECK(RougeWords("").empty());
  CHECK(RougeWords(" .,\n").empty());
}

TEST_CASE("ROUGE-L has the values of Lin's own examples") {
  // Lin 2004, §3.1: reference S1, candidates S2 to S4; β = 1 there.
  const char* s1 = "police killed the gunman";
  CHECK(RougeL("police kill the gunman", s1).f1 == doctest::Approx(0.75));
  CHECK(RougeL("the gunman kill police", s1).f1 == doctest::Approx(0.5));
  CHECK(RougeL("the gunman police killed", s1).f1 == doctest::Approx(0.5));
}

TEST_CASE("ROUGE-L has values worked out by hand") {
  // Common subsequence: "the cat on the mat", 5 words of 6 and of 8.
  const Rouge rouge =
      RougeL("The cat sat on the mat.", "A cat: the cat lay, on the mat");
  CHECK(rouge.precision == doctest::Approx(5.0 / 6));
  CHECK(rouge.recall == doctest::Approx(5.0 / 8));
  CHECK(rouge.f1 == doctest::Approx(2.0 * 5 / (6 + 8)));
  CHECK(RougeL("Same words", "same, WORDS!").f1 == 1);
  CHECK(RougeL("one two", "three four").f1 == 0);
  // A word that comes twice counts twice only where it does in both.
  CHECK(RougeL("a a a a", "a b a").recall == doctest::Approx(2.0 / 3));
  CHECK(RougeL("a a a a", "a b a").precision == doctest::Approx(0.5));
}

TEST_CASE("ROUGE-L of nothing is nothing") {
  for (const Rouge& rouge :
       {RougeL("", "a"), RougeL("a", ""), RougeL("", ""), RougeL("...", "a")}) {
    CHECK(rouge.f1 == 0);
    CHECK(rouge.precision == 0);
    CHECK(rouge.recall == 0);
  }
}

// Over all subsequences: slow, but of another kind than the table.
size_t LongestByTrying(const std::string& a, const std::string& b) {
  size_t longest = 0;
  for (size_t mask = 0; mask < (size_t{1} << a.size()); ++mask) {
    size_t at = 0, length = 0;
    bool inside = true;
    for (size_t i = 0; i < a.size() && inside; ++i) {
      if ((mask >> i & 1) == 0) continue;
      at = b.find(a[i], at);
      inside = at != std::string::npos;
      ++at;
      ++length;
    }
    if (inside) longest = std::max(longest, length);
  }
  return longest;
}

TEST_CASE("the longest common subsequence is that of trying all") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string a, b, a_text, b_text;
    for (size_t n = 1 + random() % 10; n > 0; --n)
      a += static_cast<char>('a' + random() % 3);
    for (size_t n = 1 + random() % 12; n > 0; --n)
      b += static_cast<char>('a' + random() % 3);
    for (char c : a) a_text += std::string(1, c) + " ";
    for (char c : b) b_text += std::string(1, c) + " ";
    const double longest = static_cast<double>(LongestByTrying(a, b));
    const Rouge rouge = RougeL(a_text, b_text);
    CAPTURE(a);
    CAPTURE(b);
    CHECK(rouge.precision ==
          doctest::Approx(longest / static_cast<double>(a.size())));
    CHECK(rouge.recall ==
          doctest::Approx(longest / static_cast<double>(b.size())));
  }
}

}  // namespace
}  // namespace dapple::tool
