// Text from a file made fit for a one-line message or a terminal.
#ifndef DAPPLE_GGUF_PRINTABLE_H_
#define DAPPLE_GGUF_PRINTABLE_H_

#include <string>
#include <string_view>

namespace dapple {

// Quotes `text`; bytes outside printable ASCII become '?', so that no escape
// sequence reaches a terminal; long text is cut.
inline std::string Quoted(std::string_view text, size_t max_length = 80) {
  std::string out = "'";
  for (const char c : text.substr(0, max_length))
    out += c >= 0x20 && c < 0x7F ? c : '?';
  if (text.size() > max_length) out += "...";
  return out + "'";
}

}  // namespace dapple

#endif  // DAPPLE_GGUF_PRINTABLE_H_
