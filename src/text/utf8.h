// UTF-8 by the Unicode standard's table 3-7: no overlong forms, no
// surrogates, nothing above U+10FFFF. Pure functions over borrowed bytes.
#ifndef DAPPLE_TEXT_UTF8_H_
#define DAPPLE_TEXT_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace dapple {

// What the first bytes of a text are.
struct Utf8Step {
  enum Kind {
    kComplete,    // `length` bytes are one character, `code_point`
    kBad,         // `length` (>= 1) bytes can never begin one: one U+FFFD
    kIncomplete,  // all `length` bytes begin one that more bytes may finish
  };
  Kind kind = kBad;
  size_t length = 1;
  char32_t code_point = 0;  // of kComplete
};

// `text` must not be empty.
Utf8Step NextUtf8(std::string_view text);

// `code_point` must be a character: no surrogate, at most U+10FFFF.
void AppendUtf8(char32_t code_point, std::string* out);

}  // namespace dapple

#endif  // DAPPLE_TEXT_UTF8_H_
