#include "text/jinja_lexer.h"

#include <algorithm>
#include <cctype>

#include "text/jinja_syntax.h"
#include "text/utf8.h"

namespace dapple {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<JinjaToken> Run() {
    while (at_ < source_.size()) {
      const size_t tag = NextTag(at_);
      AddText(tag);
      if (tag == source_.size()) break;
      const char kind = source_[tag + 1];
      at_ = tag + 2;
      if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+'))
        ++at_;
      if (kind == '#') {
        SkipComment();
      } else if (kind == '{') {
        LexTag(JinjaToken::kBeginOutput, JinjaToken::kEndOutput, "}}");
      } else if (!Raw()) {
        LexTag(JinjaToken::kBeginBlock, JinjaToken::kEndBlock, "%}");
      }
    }
    Add(JinjaToken::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void Add(JinjaToken::Kind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text)});
  }

  // Where the next tag begins at or after `from`, or the end.
  size_t NextTag(size_t from) const {
    for (size_t i = from; i + 1 < source_.size(); ++i)
      if (source_[i] == '{' && (source_[i + 1] == '{' ||
                                source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    return source_.size();
  }

  // The text from at_ to the tag at `end`, less what the tag's sign and
  // lstrip_blocks take.
  void AddText(size_t end) {
    size_t stop = end;
    if (end < source_.size()) {
      const char sign = end + 2 < source_.size() ? source_[end + 2] : ' ';
      if (sign == '-') {
        while (stop > at_ && IsSpace(source_[stop - 1])) --stop;
      } else if (sign != '+' && source_[end + 1] != '{') {
        size_t start = end;
        while (start > at_ &&
               (source_[start - 1] == ' ' || source_[start - 1] == '\t'))
          --start;
        // Only indentation: from the line's start, which a tag before it on
        // the same line is not.
        if (start == 0 || source_[start - 1] == '\n') stop = start;
      }
    }
    if (stop > at_) Add(JinjaToken::kText, source_.substr(at_, stop - at_));
    CountLines(at_, end);
    at_ = end;
  }

  void CountLines(size_t begin, size_t end) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<long>(begin),
                   source_.begin() + static_cast<long>(end), '\n'));
  }

  // Behind a tag: its sign, or trim_blocks.
  void AfterTag(char sign, bool is_block) {
    const size_t begin = at_;
    if (sign == '-') {
      while (at_ < source_.size() && IsSpace(source_[at_])) ++at_;
    } else if (is_block && sign != '+' && at_ < source_.size() &&
               source_[at_] == '\n') {
      ++at_;
    }
    CountLines(begin, at_);
  }

  void SkipComment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos)
      throw JinjaErrorAt(line_, "a comment is not closed");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    CountLines(at_, end);
    at_ = end + 2;
    AfterTag(sign, /*is_block=*/true);
  }

  // {% raw %}: text up to {% endraw %}. at_ is behind "{%" and its sign.
  bool Raw() {
    size_t i = at_;
    const auto skip_word = [&](std::string_view word) {
      while (i < source_.size() && IsSpace(source_[i])) ++i;
      if (source_.compare(i, word.size(), word) != 0) return false;
      i += word.size();
      while (i < source_.size() && IsSpace(source_[i])) ++i;
      if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) ++i;
      if (source_.compare(i, 2, "%}") != 0) return false;
      i += 2;
      return true;
    };
    if (!skip_word("raw")) return false;
    char sign = source_[i - 3];
    CountLines(at_, i);
    at_ = i;
    AfterTag(sign, /*is_block=*/true);
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != std::string::npos;
         tag += 2) {
      i = tag + 2;
      if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) ++i;
      if (!skip_word("endraw")) continue;
      AddText(tag);
      sign = source_[i - 3];
      CountLines(at_, i);
      at_ = i;
      AfterTag(sign, /*is_block=*/true);
      return true;
    }
    throw JinjaErrorAt(line_, "raw is not closed");
  }

  void LexTag(JinjaToken::Kind begin, JinjaToken::Kind end,
              std::string_view close) {
    Add(begin, "");
    int open = 0;  // brackets: "}}" may close two dictionaries
    for (;;) {
      while (at_ < source_.size() && IsSpace(source_[at_])) {
        line_ += source_[at_] == '\n';
        ++at_;
      }
      if (at_ >= source_.size())
        throw JinjaErrorAt(line_, "a tag is not closed");
      const char c = source_[at_];
      const bool sign = c == '-' || c == '+';
      if (open == 0 && source_.compare(at_ + (sign ? 1 : 0), 2, close) == 0) {
        Add(end, "");
        at_ += sign ? 3 : 2;
        return AfterTag(c, end == JinjaToken::kEndBlock);
      }
      if (IsNameStart(c)) {
        size_t stop = at_;
        while (stop < source_.size() &&
               (IsNameStart(source_[stop]) || IsDigit(source_[stop])))
          ++stop;
        Add(JinjaToken::kName, source_.substr(at_, stop - at_));
        at_ = stop;
      } else if (IsDigit(c)) {
        LexNumber();
      } else if (c == '"' || c == '\'') {
        LexString(c);
      } else {
        LexOperator(&open);
      }
    }
  }

  void LexNumber() {
    size_t stop = at_;
    bool real = false;
    while (stop < source_.size() &&
           (IsDigit(source_[stop]) || source_[stop] == '_'))
      ++stop;
    if (stop + 1 < source_.size() && source_[stop] == '.' &&
        IsDigit(source_[stop + 1])) {
      real = true;
      ++stop;
      while (stop < source_.size() && IsDigit(source_[stop])) ++stop;
    }
    std::string text = source_.substr(at_, stop - at_);
    std::erase(text, '_');
    if (text.size() > 18) throw JinjaErrorAt(line_, "a number is too long");
    Add(real ? JinjaToken::kFloat : JinjaToken::kInt, text);
    at_ = stop;
  }

  void LexString(char quote) {
    const int line = line_;
    std::string text;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      char c = source_[at_];
      line_ += c == '\n';
      if (c == '\\' && at_ + 1 < source_.size()) {
        c = source_[++at_];
        if (Escape(c, &text)) continue;
      }
      text.push_back(c);
    }
    if (at_ >= source_.size())
      throw JinjaErrorAt(line, "a string is not closed");
    ++at_;
    tokens_.push_back({JinjaToken::kString, line, std::move(text)});
  }

  // Python's escapes; at_ is on the character behind the backslash.
  bool Escape(char c, std::string* text) {
    const std::string_view names = "ntrfvab0\\'\"";
    const std::string_view values("\n\t\r\f\v\a\b\0\\'\"", 11);
    if (c == '\n') return true;  // a line goes on
    if (const size_t i = names.find(c); i != names.npos) {
      text->push_back(values[i]);
      return true;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits != 0 && at_ + digits < source_.size()) {
      char32_t code = 0;
      for (size_t i = 1; i <= digits; ++i) {
        const char digit = source_[at_ + i];
        if (!std::isxdigit(static_cast<unsigned char>(digit)))
          throw JinjaErrorAt(line_, "a string has a malformed escape");
        code = code * 16 + static_cast<char32_t>(IsDigit(digit)
                                                     ? digit - '0'
                                                     : (digit | 32) - 'a' + 10);
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        throw JinjaErrorAt(line_, "a string escapes no character");
      AppendUtf8(code, text);
      at_ += digits;
      return true;
    }
    text->push_back('\\');  // not an escape: both stay
    return false;
  }

  void LexOperator(int* open) {
    for (const std::string_view two : {"//", "**", "==", "!=", "<=", ">="}) {
      if (source_.compare(at_, 2, two) == 0) {
        Add(JinjaToken::kOperator, std::string(two));
        at_ += 2;
        return;
      }
    }
    const char c = source_[at_];
    if (std::string_view("+-*/%~<>=()[]{},.:|").find(c) ==
        std::string_view::npos)
      throw JinjaErrorAt(line_, "unexpected character in a tag");
    if (c == '(' || c == '[' || c == '{') ++*open;
    if ((c == ')' || c == ']' || c == '}') && *open > 0) --*open;
    Add(JinjaToken::kOperator, std::string(1, c));
    ++at_;
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<JinjaToken> tokens_;
};

}  // namespace

std::vector<JinjaToken> LexJinja(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text.push_back(source[i]);
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return Lexer(std::move(text)).Run();
}

}  // namespace dapple
