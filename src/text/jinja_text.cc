#include "text/jinja_text.h"

#include <algorithm>
#include <functional>

namespace dapple {

JinjaText JinjaText::Trusted(std::string_view text) {
  JinjaText made;
  made.AppendTrusted(text);
  return made;
}

JinjaText JinjaText::Plain(std::string_view text) {
  JinjaText made;
  made.AppendPlain(text);
  return made;
}

bool JinjaText::IsPlain(size_t at) const {
  const auto range =
      std::ranges::upper_bound(plain_, at, std::less<>(), &TextRange::end);
  return range != plain_.end() && range->begin <= at;
}

void JinjaText::Mark(size_t begin, size_t end) {
  if (begin == end) return;
  if (!plain_.empty() && plain_.back().end == begin)
    plain_.back().end = end;
  else
    plain_.push_back({begin, end});
}

void JinjaText::AppendPlain(std::string_view text) {
  bytes_ += text;
  Mark(bytes_.size() - text.size(), bytes_.size());
}

void JinjaText::Append(const JinjaText& other, size_t begin, size_t end) {
  const size_t at = bytes_.size();
  bytes_.append(other.bytes_, begin, end - begin);
  auto range = std::ranges::upper_bound(other.plain_, begin, std::less<>(),
                                        &TextRange::end);
  for (; range != other.plain_.end() && range->begin < end; ++range)
    Mark(at + std::max(range->begin, begin) - begin,
         at + std::min(range->end, end) - begin);
}

JinjaText JinjaText::Slice(size_t begin, size_t end) const {
  JinjaText part;
  part.Append(*this, begin, end);
  return part;
}

}  // namespace dapple
