#include "text/sentence_end.h"

#include <algorithm>
#include <string>

#include "text/utf8.h"

namespace dapple {
namespace {

// Never the last word of a sentence.
constexpr std::string_view kTitles[] = {
    "mr",   "mrs",   "ms",   "dr",     "prof", "st",  "mt",  "gen",  "col",
    "capt", "lt",    "sgt",  "maj",    "rev",  "hon", "gov", "sen",  "rep",
    "pres", "mme",   "mlle", "messrs", "vs",   "cf",  "viz", "ca",   "approx",
    "e.g",  "i.e",   "fig",  "figs",   "eq",   "eqs", "sec", "secs", "ed",
    "eds",  "trans", "cmdr", "adm",    "supt", "det", "insp"};
// Not at a sentence's end when a number follows.
constexpr std::string_view kNumbered[] = {"no",   "nos", "p",    "pp", "vol",
                                          "art",  "ch",  "chap", "op", "par",
                                          "vols", "pt",  "v",    "n"};
// May end a sentence, but only if what follows looks like a beginning.
constexpr std::string_view kPerhaps[] = {
    "etc", "inc", "ltd",  "co",  "corp", "jr",   "sr",   "bros", "al",  "jan",
    "feb", "mar", "apr",  "jun", "jul",  "aug",  "sept", "sep",  "oct", "nov",
    "dec", "ave", "blvd", "rd",  "dept", "univ", "esq",  "est",  "bc",  "ad"};
constexpr std::string_view kBeginners[] = {
    "a",       "after", "all",     "although", "an",    "and",  "any",
    "as",      "at",    "because", "before",   "but",   "by",   "each",
    "for",     "from",  "he",      "her",      "here",  "his",  "how",
    "however", "i",     "if",      "in",       "it",    "its",  "many",
    "most",    "my",    "no",      "not",      "on",    "one",  "or",
    "our",     "she",   "since",   "so",       "some",  "such", "that",
    "the",     "their", "then",    "there",    "these", "they", "this",
    "those",   "to",    "under",   "we",       "what",  "when", "where",
    "while",   "who",   "with",    "yet",      "you",   "your"};
// Words that a title leaves small.
constexpr std::string_view kSmallWords[] = {
    "a",    "about", "an",   "and",  "as",   "at",    "between", "but", "by",
    "for",  "from",  "in",   "into", "nor",  "of",    "off",     "on",  "or",
    "over", "per",   "than", "that", "the",  "their", "this",    "to",  "up",
    "upon", "via",   "vs",   "what", "when", "with",  "your"};
constexpr std::string_view kClosers[] = {"\"", "'",      ")",      "]",     "*",
                                         "_",  "\u201D", "\u2019", "\u00BB"};
constexpr std::string_view kOpeners[] = {
    "\"",     "'",      "(",      "[",      "*",      "_",      "\u201C",
    "\u2018", "\u00AB", "\u00BF", "\u00A1", "\u2014", "\u00A7", "\u2026"};
constexpr std::string_view kWideMarks[] = {"\u3002", "\uFF01", "\uFF1F"};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsUpperAscii(char c) { return c >= 'A' && c <= 'Z'; }
bool IsLowerAscii(char c) { return c >= 'a' && c <= 'z'; }
bool IsLetterAscii(char c) { return IsUpperAscii(c) || IsLowerAscii(c); }

bool IsIn(std::string_view word, const auto& words) {
  return std::ranges::find(words, word) != std::end(words);
}

// The element of `marks` that `text` begins with, or "".
std::string_view Leading(std::string_view text, const auto& marks) {
  for (const std::string_view mark : marks)
    if (text.starts_with(mark)) return mark;
  return {};
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (IsUpperAscii(c)) c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

// Small letters of the alphabets that have capitals; close enough beyond
// Latin-1, Greek and Cyrillic, where capital and small letters alternate.
bool IsLower(char32_t c) {
  if (c < 0x80) return IsLowerAscii(static_cast<char>(c));
  if (c >= 0xDF && c <= 0xFF) return c != 0xF7;
  if (c >= 0x100 && c <= 0x17F) return (c & 1) != 0;
  return (c >= 0x3AC && c <= 0x3CE) || (c >= 0x430 && c <= 0x45F);
}

bool IsPunctuation(char32_t c) {
  return c < 0x80 ? !IsLetterAscii(static_cast<char>(c)) &&
                        !IsDigit(static_cast<char>(c))
                  : (c >= 0xA0 && c <= 0xBF) || (c >= 0x2010 && c <= 0x2060);
}

// Whether a sentence can begin here.
bool CanBegin(std::string_view text) {
  if (!Leading(text, kOpeners).empty()) return true;
  const Utf8Step step = NextUtf8(text);
  return !IsLower(step.code_point) && !IsPunctuation(step.code_point);
}

std::string_view FirstWord(std::string_view text) {
  for (std::string_view mark = Leading(text, kOpeners); !mark.empty();
       mark = Leading(text, kOpeners))
    text.remove_prefix(mark.size());
  size_t end = 0;
  while (end < text.size() && IsLetterAscii(text[end])) ++end;
  return text.substr(0, end);
}

// Letters with full stops between them: "U.S", "Ph.D", "a.m".
bool HasInnerStops(std::string_view word) {
  size_t letters = 0;
  bool stop = false;
  for (const char c : word) {
    if (c == '.') {
      if (letters == 0) return false;
      letters = 0;
      stop = true;
    } else if (IsLetterAscii(c) && letters < 2) {
      ++letters;
    } else {
      return false;
    }
  }
  return stop && letters > 0;
}

// Whether the full stop after `word` (text before it, back to a space) does
// not end the sentence, `next` being what follows after a space.
bool IsAbbreviation(std::string_view word, std::string_view next) {
  while (!word.empty() && !Leading(word, kOpeners).empty())
    word.remove_prefix(Leading(word, kOpeners).size());
  const std::string lower = Lower(word);
  if (IsIn(lower, kTitles)) return true;
  if (IsIn(lower, kNumbered)) return IsDigit(next[0]);
  if (word.size() == 1 && IsUpperAscii(word[0])) return true;  // an initial
  if (IsIn(lower, kPerhaps) || HasInnerStops(word))
    return !IsIn(Lower(FirstWord(next)), kBeginners);
  return false;
}

}  // namespace

size_t FindSentenceEnd(std::string_view text, size_t from) {
  for (size_t at = from; at < text.size();) {
    const size_t mark = at;
    bool wide = false;
    bool only_stop = true;  // one full stop and nothing else
    for (;;) {
      const std::string_view rest = text.substr(at);
      if (rest.empty()) break;
      if (rest[0] == '.' || rest[0] == '!' || rest[0] == '?') {
        only_stop = only_stop && at == mark && rest[0] == '.';
        ++at;
      } else if (rest.starts_with("\u2026")) {
        only_stop = false;
        at += 3;
      } else if (!Leading(rest, kWideMarks).empty()) {
        wide = true;
        at += 3;
      } else {
        break;
      }
    }
    if (at == mark) {
      ++at;
      continue;
    }
    bool closed = false;
    for (std::string_view closer = Leading(text.substr(at), kClosers);
         !closer.empty(); closer = Leading(text.substr(at), kClosers)) {
      at += closer.size();
      closed = true;
    }
    if (at == text.size() || wide) return at;
    if (text[at] != ' ') continue;  // 3.5, www.example.org
    const std::string_view next = text.substr(at + 1);
    if (!CanBegin(next)) continue;
    if (only_stop && !closed) {
      const size_t space = text.rfind(' ', mark);
      size_t word = space == std::string_view::npos ? 0 : space + 1;
      word = std::max(word, from);
      if (IsAbbreviation(text.substr(word, mark - word), next)) continue;
    }
    return at;
  }
  return std::string_view::npos;
}

bool IsTitleCase(std::string_view text) {
  bool small_seen = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (!word.empty() && IsLowerAscii(word[0]) && !IsIn(word, kSmallWords))
      return false;
    small_seen = small_seen || std::ranges::any_of(word, IsLowerAscii);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return small_seen;
}

bool StartsLower(std::string_view text) {
  while (!text.empty() && !Leading(text, kOpeners).empty())
    text.remove_prefix(Leading(text, kOpeners).size());
  return !text.empty() && IsLower(NextUtf8(text).code_point);
}

size_t CountWords(std::string_view text) {
  return text.empty() ? 0
                      : static_cast<size_t>(std::ranges::count(text, ' ')) + 1;
}

}  // namespace dapple
