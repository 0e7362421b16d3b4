#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pre_tokenizer.h"

#include <pcre2.h>

#include <cstdint>

#include "text/utf8.h"

namespace dapple {
namespace {

// Bytes at the start of `text` up to the first that is not UTF-8.
size_t ValidBytes(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Step step = NextUtf8(text.substr(at));
    if (step.kind != Utf8Step::kComplete) break;
    at += step.length;
  }
  return at;
}

size_t InvalidBytes(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(at));
    if (step.kind == Utf8Step::kComplete) break;
    at += step.length;
  }
  return at;
}

}  // namespace

struct PreTokenizer::Pattern {
  explicit Pattern(pcre2_code* compiled) : code(compiled) {}
  Pattern(Pattern&& other) noexcept : code(other.code) { other.code = nullptr; }
  Pattern& operator=(Pattern&&) = delete;
  ~Pattern() { pcre2_code_free(code); }

  pcre2_code* code;
};

// One Split: what the patterns match into, and the sink.
class PreTokenizer::Run {
 public:
  Run(const std::vector<Pattern>& patterns, const Sink& sink)
      : patterns_(patterns), sink_(sink) {
    for (const Pattern& pattern : patterns)
      matches_.push_back(
          pcre2_match_data_create_from_pattern(pattern.code, nullptr));
  }
  ~Run() {
    for (pcre2_match_data* match : matches_) pcre2_match_data_free(match);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  // `text` is valid UTF-8: matching must not check it again, which would make
  // each of the many matches linear in the whole text.
  Status Split(std::string_view text, size_t stage) {
    if (stage == patterns_.size()) {
      sink_(text);
      return Status::Ok();
    }
    const pcre2_code* code = patterns_[stage].code;
    pcre2_match_data* match = matches_[stage];
    if (match == nullptr) return Internal("PCRE2: out of memory");
    const size_t* bounds = pcre2_get_ovector_pointer(match);
    const auto* bytes = reinterpret_cast<PCRE2_SPTR>(text.data());
    size_t done = 0;
    while (done < text.size()) {
      const int found = pcre2_match(code, bytes, text.size(), done,
                                    PCRE2_NO_UTF_CHECK, match, nullptr);
      size_t begin = text.size(), end = text.size();
      if (found > 0) {
        begin = bounds[0];
        end = bounds[1];
        // No pattern of ours matches nothing; guard against going nowhere.
        if (end <= begin) return Internal("PCRE2: empty match");
      } else if (found != PCRE2_ERROR_NOMATCH) {
        return Internal("PCRE2: error " + std::to_string(found));
      }
      if (begin > done)
        DAPPLE_RETURN_IF_ERROR(
            Split(text.substr(done, begin - done), stage + 1));
      if (end > begin)
        DAPPLE_RETURN_IF_ERROR(
            Split(text.substr(begin, end - begin), stage + 1));
      done = end;
    }
    return Status::Ok();
  }

 private:
  const std::vector<Pattern>& patterns_;
  const Sink& sink_;
  std::vector<pcre2_match_data*> matches_;
};

PreTokenizer::~PreTokenizer() = default;

Result<std::unique_ptr<PreTokenizer>> PreTokenizer::Create(
    const PreTokenizerRule& rule) {
  std::unique_ptr<PreTokenizer> made(new PreTokenizer);
  for (const std::string& pattern : rule.patterns) {
    int error = 0;
    size_t offset = 0;
    pcre2_code* code =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()),
                      pattern.size(), PCRE2_UTF, &error, &offset, nullptr);
    if (code == nullptr)
      return Internal("pre-tokenizer '" + std::string(rule.name) +
                      "': PCRE2 error " + std::to_string(error) + " at " +
                      std::to_string(offset));
    // Where that fails (no executable memory allowed), matching is slower.
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    made->patterns_.emplace_back(code);
  }
  return made;
}

Status PreTokenizer::Split(std::string_view text, const Sink& sink) const {
  Run run(patterns_, sink);
  while (!text.empty()) {
    if (const size_t valid = ValidBytes(text); valid != 0) {
      DAPPLE_RETURN_IF_ERROR(run.Split(text.substr(0, valid), 0));
      text.remove_prefix(valid);
    }
    if (const size_t invalid = InvalidBytes(text); invalid != 0) {
      sink(text.substr(0, invalid));
      text.remove_prefix(invalid);
    }
  }
  return Status::Ok();
}

}  // namespace dapple
