#include "convert/hf_pre_tokenizer.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "gguf/printable.h"

namespace dapple {
namespace {

using nlohmann::json;

// Steps as one line each: "split <pattern>", "words" (GPT-2's pattern, inside
// the ByteLevel step), "digits", "numbers", "punctuation".
struct Known {
  const char* name;
  bool ignore_merges;
  std::vector<std::string> steps;
};

// Patterns of tokenizer.json files, in their own notation.
constexpr char kCl100kDigits3[] =
    R"(split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kCl100kDigit[] =
    R"(split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kO200k[] =
    R"(split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kTekken[] =
    R"(split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const std::vector<Known>& KnownPreTokenizers() {
  static const auto& known = *new std::vector<Known>{
      {"gpt-2", false, {"words"}},
      {"smollm", false, {"digits", "words"}},
      {"llama-bpe", true, {kCl100kDigits3}},
      {"smaug-bpe", false, {kCl100kDigits3}},
      {"qwen2", false, {kCl100kDigit}},
      {"gpt-4o", false, {kO200k}},
      {"tekken", true, {kTekken}},
      {"falcon",
       false,
       {"punctuation", "words", "numbers", "split [0-9][0-9][0-9]"}},
      {"deepseek-coder",
       false,
       {"split [\r\n]", R"(split \s?\p{L}+)", R"(split \s?\p{P}+)",
        "split [\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", "digits"}},
  };
  return known;
}

bool Flag(const json& step, const char* key, bool otherwise) {
  const auto found = step.find(key);
  return found != step.end() && found->is_boolean() ? found->get<bool>()
                                                    : otherwise;
}
std::string Text(const json& step, const char* key) {
  const auto found = step.find(key);
  return found != step.end() && found->is_string()
             ? found->get_ref<const std::string&>()
             : std::string();
}

// Appends the step's lines. False: it is not known; *unknown names it.
bool Describe(const json& step, int depth, std::vector<std::string>* steps,
              std::string* unknown) {
  const std::string type = step.is_object() ? Text(step, "type") : "";
  *unknown = type;
  if (type == "Sequence" && depth < 4) {
    const auto list = step.find("pretokenizers");
    return list != step.end() && list->is_array() &&
           std::ranges::all_of(*list, [&](const json& one) {
             return Describe(one, depth + 1, steps, unknown);
           });
  }
  const std::string behavior = Text(step, "behavior");
  if (type == "ByteLevel") {
    if (Flag(step, "use_regex", true)) steps->push_back("words");
    return true;
  }
  if (type == "Digits") {
    steps->push_back(Flag(step, "individual_digits", false) ? "digits"
                                                            : "numbers");
    return true;
  }
  if (type == "Punctuation" && behavior == "Contiguous") {
    steps->push_back("punctuation");
    return true;
  }
  if (type == "Split") {
    const auto pattern = step.find("pattern");
    if (pattern == step.end() || !pattern->is_object()) return false;
    const std::string regex = Text(*pattern, "Regex");
    *unknown = "Split " + regex;
    // "Removed" what does not match: the same, where patterns match all.
    const bool kept = behavior == "Isolated" && !Flag(step, "invert", false);
    const bool removed = behavior == "Removed" && Flag(step, "invert", false);
    if (regex.empty() || (!kept && !removed)) return false;
    steps->push_back("split " + regex);
    return true;
  }
  return false;
}

}  // namespace

Result<std::string> IdentifyPreTokenizer(const json& pre_tokenizer,
                                         bool ignore_merges,
                                         const std::string& path) {
  std::vector<std::string> steps;
  std::string unknown;
  if (!Describe(pre_tokenizer, 0, &steps, &unknown))
    return Unsupported(path + ": the pre-tokenizer step " +
                       Quoted(unknown.empty() ? "(none)" : unknown) +
                       " is not supported");
  bool other_merges = false;
  for (const Known& known : KnownPreTokenizers()) {
    if (known.steps != steps) continue;
    if (known.ignore_merges == ignore_merges) return std::string(known.name);
    other_merges = true;
  }
  std::string all;
  for (const std::string& step : steps) all += (all.empty() ? "" : ", ") + step;
  return Unsupported(path + ": the pre-tokenizer " + Quoted(all, 200) +
                     (other_merges ? " with this ignore_merges" : "") +
                     " is not supported");
}

}  // namespace dapple
