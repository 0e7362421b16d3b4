#include "sections.h"

#include <algorithm>
#include <cctype>

namespace dapple::tool {
namespace {

// A piece that is not cut again unless it alone exceeds the budget.
struct Block {
  size_t begin = 0;
  size_t end = 0;
  size_t tokens = 0;
  bool heading = false;
};

bool IsHeading(std::string_view block) {
  while (!block.empty() && (block.front() == '\n' || block.front() == ' '))
    block.remove_prefix(1);
  const std::string_view line = block.substr(0, block.find('\n'));
  if (line.empty() || line.size() > 80) return false;
  if (line.front() == '#') return true;
  for (const std::string_view word :
       {"CHAPTER", "Chapter", "BOOK", "PART", "Part", "SECTION", "Section"})
    if (line.starts_with(word) && line.size() > word.size() &&
        line[word.size()] == ' ' &&
        line.find_last_of(".!?,;") != line.size() - 1)
      return true;
  size_t letters = 0;
  for (const char c : line) {
    if (std::islower(static_cast<unsigned char>(c)) != 0) return false;
    letters += std::isupper(static_cast<unsigned char>(c)) != 0;
  }
  return letters >= 3;
}

// Ends of the pieces that `border` cuts [begin, end) into.
std::vector<size_t> Cut(std::string_view text, size_t begin, size_t end,
                        std::string_view border) {
  std::vector<size_t> ends;
  size_t at = begin;
  while (at < end) {
    size_t next = text.find(border, at);
    if (next == std::string_view::npos || next + border.size() >= end) {
      ends.push_back(end);
      break;
    }
    next += border.size();
    // Further line ends and spaces belong to the piece they follow.
    while (next < end && (text[next] == '\n' || text[next] == ' ')) ++next;
    ends.push_back(next);
    at = next;
  }
  return ends;
}

class Splitter {
 public:
  Splitter(std::string_view text, size_t budget,
           const std::function<size_t(std::string_view)>& count)
      : text_(text), budget_(std::max<size_t>(budget, 1)), count_(count) {
    Add(0, text.size(), 0);
  }

  std::vector<Section> Sections() const {
    size_t total = 0;
    for (const Block& block : blocks_) total += block.tokens;
    const size_t wanted = std::max<size_t>(1, (total + budget_ - 1) / budget_);
    // Sections near this size, so that the last one is no mere rest.
    const size_t target = (total + wanted - 1) / wanted;
    std::vector<Section> sections;
    size_t tokens = 0, begin = 0;
    const auto close = [&](size_t end) {
      if (end > begin) sections.push_back({begin, end});
      begin = end;
      tokens = 0;
    };
    for (const Block& block : blocks_) {
      // A heading draws the border towards itself.
      if (tokens + block.tokens > budget_ || tokens >= target ||
          (block.heading && tokens >= target * 3 / 4))
        close(block.begin);
      tokens += block.tokens;
    }
    close(text_.size());
    return sections;
  }

 private:
  // Bytes [begin, end) as blocks no longer than the budget. `depth` is how
  // fine a border is tried.
  void Add(size_t begin, size_t end, size_t depth) {
    constexpr std::string_view kBorders[] = {"\n\n", "\n", ". ", " "};
    if (begin >= end) return;
    if (depth > 0) {
      const size_t tokens = count_(text_.substr(begin, end - begin));
      if (tokens <= budget_ || end - begin == 1) {
        blocks_.push_back(
            {begin, end, tokens, IsHeading(text_.substr(begin, end - begin))});
        return;
      }
    }
    if (depth < std::size(kBorders)) {
      size_t at = begin;
      for (const size_t next : Cut(text_, begin, end, kBorders[depth])) {
        Add(at, next, depth + 1);
        at = next;
      }
      return;
    }
    // One giant word: halves, at a character's start.
    size_t middle = begin + (end - begin) / 2;
    while (middle > begin + 1 &&
           (static_cast<unsigned char>(text_[middle]) & 0xC0) == 0x80)
      --middle;
    Add(begin, middle, depth);
    Add(middle, end, depth);
  }

  std::string_view text_;
  size_t budget_;
  const std::function<size_t(std::string_view)>& count_;
  std::vector<Block> blocks_;
};

}  // namespace

std::vector<Section> SplitSections(
    std::string_view text, size_t budget,
    const std::function<size_t(std::string_view)>& count) {
  return Splitter(text, budget, count).Sections();
}

}  // namespace dapple::tool
