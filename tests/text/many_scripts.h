// A text of many scripts, for tests of tokenizers: runs of code points that are
// near each other, like words of a script, from every plane, with white space
// of several kinds between them. Valid UTF-8, deterministic in the generator.
#ifndef DAPPLE_TESTS_TEXT_MANY_SCRIPTS_H_
#define DAPPLE_TESTS_TEXT_MANY_SCRIPTS_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace dapple::testing {

inline std::string ManyScripts(std::mt19937* random, size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    const uint64_t base = (*random)() % 4 == 0 ? (*random)() % 0x10F000
                          : (*random)() % 2    ? 0x20 + (*random)() % 0x3000
                                               : 0x20;
    for (size_t n = (*random)() % 20; n > 0; --n) {
      uint64_t code = base + (*random)() % 96;
      if (code >= 0xD800 && code < 0xE000) code = 0x4E00;
      if (code < 0x80) {
        text.push_back(static_cast<char>(code));
      } else if (code < 0x800) {
        text += {static_cast<char>(0xC0 | code >> 6),
                 static_cast<char>(0x80 | (code & 63))};
      } else if (code < 0x10000) {
        text += {static_cast<char>(0xE0 | code >> 12),
                 static_cast<char>(0x80 | (code >> 6 & 63)),
                 static_cast<char>(0x80 | (code & 63))};
      } else {
        text += {static_cast<char>(0xF0 | code >> 18),
                 static_cast<char>(0x80 | (code >> 12 & 63)),
                 static_cast<char>(0x80 | (code >> 6 & 63)),
                 static_cast<char>(0x80 | (code & 63))};
      }
    }
    text += "\n \t\r\v\f"[(*random)() % 6];
  }
  return text;
}

}  // namespace dapple::testing

#endif  // DAPPLE_TESTS_TEXT_MANY_SCRIPTS_H_
