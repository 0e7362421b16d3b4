#include "dapple/sentences.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "text/sentence_end.h"

namespace dapple {
namespace {

// Longer lines than this are not hard-wrapped ones.
constexpr size_t kWrapBytes = 160;
// A single word is no sentence to quote.
constexpr size_t kMinWords = 2;

bool IsSpace(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }

// One line without its white space and newline.
struct Line {
  std::string_view text;
  size_t offset = 0;  // of text, in the document
  size_t indent = 0;

  void Drop(size_t bytes) {
    text.remove_prefix(bytes);
    offset += bytes;
    while (!text.empty() && IsSpace(text[0])) {
      text.remove_prefix(1);
      ++offset;
    }
  }
};

// "- ", "* ", "+ ", "• ": its bytes, or 0.
size_t BulletBytes(std::string_view text) {
  constexpr std::string_view kBullets[] = {"-", "*", "+", "\u2022", "\u2013"};
  for (const std::string_view bullet : kBullets) {
    if (text.starts_with(bullet) && text.size() > bullet.size() &&
        IsSpace(text[bullet.size()]))
      return bullet.size();
  }
  return 0;
}

// "12.", "3)", "b.", "c)", "(4)", "(d)" and a space.
struct Enumerator {
  size_t bytes = 0;  // 0: there is none
  bool bracketed = false;
  int value = 0;  // numbers as they are, letters from 1
};

Enumerator FindEnumerator(std::string_view text) {
  Enumerator found;
  size_t at = 0;
  found.bracketed = text.starts_with('(');
  if (found.bracketed) ++at;
  const size_t begin = at;
  while (at < text.size() && at - begin < 3 && IsDigit(text[at]))
    found.value = found.value * 10 + (text[at++] - '0');
  if (at == begin && at < text.size() &&
      (IsLower(text[at]) || IsUpper(text[at]))) {
    found.value = (text[at] | 0x20) - 'a' + 1;
    ++at;
  }
  if (at == begin || at + 1 >= text.size()) return {};
  const bool closed = text[at] == ')' || (!found.bracketed && text[at] == '.');
  if (!closed || !IsSpace(text[at + 1])) return {};
  // "A. Smith came." is a name, as is "I. Newton".
  if (IsUpper(text[begin]) && text[at] == '.') return {};
  found.bytes = at + 1;
  return found;
}

// "=====", "-----", "* * *": rules and underlines.
bool IsRule(std::string_view text) {
  constexpr std::string_view kRuleChars = "=-*_~# ";
  return text.size() >= 3 && text.find_first_not_of(kRuleChars) == text.npos;
}

bool IsFence(std::string_view text) {
  return text.starts_with("```") || text.starts_with("~~~");
}

class Splitter {
 public:
  explicit Splitter(std::string_view document) : document_(document) {}

  std::vector<Sentence> Run() {
    size_t at = document_.starts_with("\xEF\xBB\xBF") ? 3 : 0;
    bool fenced = false;
    while (at < document_.size()) {
      const size_t newline = document_.find('\n', at);
      const size_t end = std::min(newline, document_.size());
      Line line = Trim(at, end);
      at = end + 1;
      if (fenced) {
        fenced = !IsFence(line.text);
        continue;
      }
      if (IsFence(line.text)) {
        EndBlock();
        ++paragraph_;
        fenced = true;
        continue;
      }
      if (line.text.empty()) {
        EndBlock();
      } else {
        block_.push_back(line);
      }
    }
    EndBlock();
    return std::move(sentences_);
  }

 private:
  // A run of text inside a paragraph, its lines joined.
  struct Unit {
    std::string text;
    std::vector<uint32_t> origin;  // of each byte, from the block's start
    size_t lines = 0;
    bool item = false;
  };

  Line Trim(size_t begin, size_t end) const {
    Line line;
    const size_t start = begin;
    while (begin < end && IsSpace(document_[begin])) ++begin;
    while (end > begin && IsSpace(document_[end - 1])) --end;
    line.text = document_.substr(begin, end - begin);
    line.offset = begin;
    line.indent = begin - start;
    return line;
  }

  void EndBlock() {
    if (block_.empty()) return;
    const bool wrapped = std::ranges::all_of(block_, [](const Line& line) {
      return line.text.size() <= kWrapBytes;
    });
    width_ = 0;
    for (const Line& line : block_)
      width_ = std::max(width_, line.indent + line.text.size());
    base_ = block_.front().offset;
    enumerator_.reset();
    in_list_ = false;
    ++paragraph_;
    for (size_t i = 0; i < block_.size(); ++i) {
      if (i > 0 && !wrapped) {
        EndUnit();
        ++paragraph_;
      }
      AddLine(block_[i], i > 0 && wrapped ? &block_[i - 1] : nullptr);
    }
    EndUnit();
    block_.clear();
  }

  // `before` is the line above in the same paragraph, or null.
  void AddLine(Line line, const Line* before) {
    while (line.text.starts_with('>')) line.Drop(1);  // a quoted block
    const bool heading = line.text.starts_with('#');
    if (IsRule(line.text) || heading || line.text.starts_with('|')) {
      EndUnit();
      return;
    }
    if (before != nullptr && BreaksAfter(*before, line)) EndUnit();
    const bool first = unit_.text.empty();
    if (const size_t bullet = BulletBytes(line.text);
        bullet > 0 && (first || in_list_ || EndsClause(unit_.text))) {
      BeginItem(bullet, &line);
    } else if (const Enumerator mark = FindEnumerator(line.text);
               mark.bytes > 0 && BeginsItem(mark, line, before)) {
      enumerator_ = mark.value;
      BeginItem(mark.bytes, &line);
    }
    Append(line);
  }

  void BeginItem(size_t marker_bytes, Line* line) {
    EndUnit();
    line->Drop(marker_bytes);
    unit_.item = true;
    in_list_ = true;
  }

  // A wrapped line may begin with "(2)" or "7." by chance: inside a block,
  // numbers must go on counting or stand apart by their indentation.
  bool BeginsItem(const Enumerator& mark, const Line& line,
                  const Line* before) const {
    if (unit_.text.empty()) return true;
    if (enumerator_) return mark.value == *enumerator_ + 1;
    if (before != nullptr && line.indent > before->indent) return true;
    return mark.value == 1 && !mark.bracketed && unit_.text.ends_with(':');
  }

  static bool EndsClause(std::string_view text) {
    return !text.empty() && std::string_view(".:;!?,").find(text.back()) !=
                                std::string_view::npos;
  }

  // Whether the line break after `before` was meant: the next word would have
  // fitted there, and what follows looks like a new beginning.
  bool BreaksAfter(const Line& before, const Line& line) const {
    const char next = line.text.empty() ? ' ' : line.text[0];
    if (IsLower(next) || unit_.text.empty()) return false;
    if (before.text.ends_with('>') && IsUpper(next)) return true;  // <address>
    const size_t word = std::min(line.text.find(' '), line.text.size());
    return before.indent + before.text.size() + 1 + word < width_ * 3 / 4;
  }

  void Append(const Line& line) {
    const auto put = [this](char c, size_t offset) {
      unit_.text.push_back(c);
      unit_.origin.push_back(static_cast<uint32_t>(offset - base_));
    };
    bool space = !unit_.text.empty();
    for (size_t i = 0; i < line.text.size(); ++i) {
      if (IsSpace(line.text[i])) {
        space = true;
        continue;
      }
      if (space) put(' ', line.offset + i);
      space = false;
      put(line.text[i], line.offset + i);
    }
    ++unit_.lines;
  }

  void EndUnit() {
    const std::string_view text = unit_.text;
    for (size_t from = 0; from < text.size();) {
      const size_t end = FindSentenceEnd(text, from);
      if (end == std::string_view::npos) break;
      const std::string_view sentence = text.substr(from, end - from);
      const bool whole = from == 0 && end == text.size();
      if (IsWorthQuoting(sentence, whole)) {
        const size_t first = base_ + unit_.origin[from];
        const size_t last = base_ + unit_.origin[end - 1];
        sentences_.push_back(
            {std::string(sentence), paragraph_, first, last - first + 1});
      }
      from = end;
      if (from < text.size() && text[from] == ' ') ++from;
    }
    unit_.text.clear();
    unit_.origin.clear();
    unit_.lines = 0;
    unit_.item = false;
  }

  bool IsWorthQuoting(std::string_view sentence, bool whole) const {
    if (CountWords(sentence) < kMinWords &&
        static_cast<unsigned char>(sentence[0]) < 0x80)
      return false;
    if (unit_.item && StartsLower(sentence)) return false;
    // "3. Protecting Users' Legal Rights." on a line of its own.
    return !(whole && unit_.lines == 1 && IsTitleCase(sentence));
  }

  std::string_view document_;
  std::vector<Line> block_;        // lines of the paragraph being read
  size_t base_ = 0;                // its offset
  size_t width_ = 0;               // of its longest line
  size_t paragraph_ = 0;           // paragraphs so far
  std::optional<int> enumerator_;  // of its last item
  bool in_list_ = false;
  Unit unit_;
  std::vector<Sentence> sentences_;
};

}  // namespace

std::vector<Sentence> SplitSentences(std::string_view document) {
  return Splitter(document).Run();
}

}  // namespace dapple
