// The patterns of known tokenizers, as their tokenizer.json files state them.
// Differences in notation alone: PCRE2 has \x{...} for characters, and white
// space is spelled out, since its own \s also has U+180E, which Unicode took
// from White_Space in 6.3.
#include <algorithm>

#include "gguf/pre_tokenizer_names.h"
#include "text/pre_tokenizer.h"

// The inside of a character class.
#define WS                                                               \
  "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}" \
  "\\x{202F}\\x{205F}\\x{3000}"
#define SPACE "[" WS "]"
#define TRAILING_SPACE "[" WS "]+(?![^" WS "])"
#define ENGLISH_ENDINGS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

namespace dapple {
namespace {

// GPT-2's own.
constexpr char kGpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS
                         "\\p{L}\\p{N}]+|" TRAILING_SPACE "|" SPACE "+";

// cl100k's, with at most `digits` digits in a word.
std::string Cl100k(const char* digits) {
  return std::string(ENGLISH_ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}") +
         digits +
         "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|" SPACE
         "*[\\r\\n]+|" TRAILING_SPACE "|" SPACE "+";
}

// o200k's: words begin anew at a capital letter after a small one.
std::string O200k(const char* ending, const char* digits) {
  const std::string upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
  const std::string lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  const std::string before = "[^\\r\\n\\p{L}\\p{N}]?";
  return before + upper + "*" + lower + "+" + ending + "|" + before + upper +
         "+" + lower + "*" + ending + "|\\p{N}" + digits +
         "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|" SPACE
         "*[\\r\\n]+|" TRAILING_SPACE "|" SPACE "+";
}

// Cased letters as DeepSeek LLM lists them (no titlecase, no letter numbers).
constexpr char kDeepSeekLetters[] =
    "[A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}"
    "\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}"
    "\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}"
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}"
    "\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}"
    "\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}"
    "\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}"
    "\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}"
    "\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}"
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}"
    "\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}"
    "\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}"
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}"
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}"
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}"
    "\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}"
    "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}"
    "\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"
    "\\x{1E900}-\\x{1E943}]+";
constexpr char kDeepSeekEastAsian[] =
    "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";

// The rule without its name.
PreTokenizerRule RuleOf(PreTokenizerKind kind) {
  const std::string digit = "\\p{N}";
  switch (kind) {
    case PreTokenizerKind::kGpt2:
      return {.patterns = {kGpt2}};
    case PreTokenizerKind::kDigits:
      return {.patterns = {digit, kGpt2}};
    case PreTokenizerKind::kLlama3:
      return {.patterns = {Cl100k("{1,3}")},
              .ignore_merges = true,
              .add_bos = true};
    case PreTokenizerKind::kCl100k:
      return {.patterns = {Cl100k("{1,3}")}};
    case PreTokenizerKind::kQwen2:
      return {.patterns = {Cl100k("")}};
    case PreTokenizerKind::kO200k:
      return {.patterns = {O200k(ENGLISH_ENDINGS "?", "{1,3}")}};
    case PreTokenizerKind::kTekken:
      return {
          .patterns = {O200k("", "")}, .ignore_merges = true, .add_bos = true};
    case PreTokenizerKind::kFalcon:
      return {.patterns = {"[\\p{P}$+<=>^~|`]+", kGpt2, "[0-9][0-9][0-9]"}};
    case PreTokenizerKind::kDeepSeekLlm:
      return {
          .patterns = {"[\\r\\n]", std::string(SPACE "?") + kDeepSeekLetters,
                       SPACE "?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}"
                             "\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
                       SPACE "+$", kDeepSeekEastAsian, "\\p{N}+"}};
    case PreTokenizerKind::kDeepSeekCoder:
      return {.patterns = {"[\\r\\n]", SPACE "?\\p{L}+", SPACE "?\\p{P}+",
                           kDeepSeekEastAsian, digit}};
    case PreTokenizerKind::kDeepSeekV3:
      return {
          .patterns = {"\\p{N}{1,3}",
                       "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-"
                       "\\x{30FF}]+",
                       "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
                       "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
                       "?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACE
                       "*[\\r\\n]+|" TRAILING_SPACE "|" SPACE "+"}};
  }
  return {};
}

std::vector<PreTokenizerRule> MakeRules() {
  std::vector<PreTokenizerRule> rules;
  for (const PreTokenizerName& known : kPreTokenizerNames) {
    rules.push_back(RuleOf(known.kind));
    rules.back().name = known.name;
  }
  return rules;
}

}  // namespace

const PreTokenizerRule* FindPreTokenizerRule(std::string_view name) {
  static const std::vector<PreTokenizerRule>* const rules =
      new std::vector<PreTokenizerRule>(MakeRules());
  const auto found = std::ranges::find_if(
      *rules,
      [name](const PreTokenizerRule& rule) { return rule.name == name; });
  return found == rules->end() ? nullptr : &*found;
}

}  // namespace dapple
