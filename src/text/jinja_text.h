// JinjaText: a string that knows which of its bytes are the user's.
//
// Chat templates cut, trim, join and replace the texts they are given. Every
// such step is built from Append here, so that a byte stays marked wherever it
// goes: what the user wrote can never pass for the template's own control
// tokens. Owns its bytes.
#ifndef DAPPLE_TEXT_JINJA_TEXT_H_
#define DAPPLE_TEXT_JINJA_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/tokenizer.h"

namespace dapple {

class JinjaText {
 public:
  JinjaText() = default;
  static JinjaText Trusted(std::string_view text);
  static JinjaText Plain(std::string_view text);

  const std::string& bytes() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // The user's bytes: sorted, disjoint, not touching, none empty.
  const std::vector<TextRange>& plain() const { return plain_; }
  bool IsPlain(size_t at) const;

  void AppendTrusted(std::string_view text) { bytes_ += text; }
  void AppendPlain(std::string_view text);
  void Append(const JinjaText& other) { Append(other, 0, other.size()); }
  // Bytes [begin, end) of `other`, marks and all.
  void Append(const JinjaText& other, size_t begin, size_t end);
  JinjaText Slice(size_t begin, size_t end) const;

 private:
  void Mark(size_t begin, size_t end);

  std::string bytes_;
  std::vector<TextRange> plain_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_JINJA_TEXT_H_
