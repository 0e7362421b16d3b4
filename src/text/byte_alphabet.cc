#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace dapple {
namespace {

constexpr bool IsPrintable(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
         (byte >= 174 && byte <= 255);
}

struct Tables {
  std::array<char32_t, 256> character{};
  std::array<int16_t, 324> byte{};  // by character; -1: none

  constexpr Tables() {
    byte.fill(-1);
    char32_t next = 256;
    for (int i = 0; i < 256; ++i) {
      const char32_t c = IsPrintable(i) ? static_cast<char32_t>(i) : next++;
      character[static_cast<size_t>(i)] = c;
      byte[c] = static_cast<int16_t>(i);
    }
  }
};
constexpr Tables kTables;

}  // namespace

char32_t ByteToAlphabet(unsigned char byte) { return kTables.character[byte]; }

bool AppendAlphabetBytes(std::string_view token, std::string* out) {
  const size_t before = out->size();
  while (!token.empty()) {
    const Utf8Step step = NextUtf8(token);
    if (step.kind != Utf8Step::kComplete ||
        step.code_point >= kTables.byte.size() ||
        kTables.byte[step.code_point] < 0) {
      out->resize(before);
      return false;
    }
    out->push_back(static_cast<char>(kTables.byte[step.code_point]));
    token.remove_prefix(step.length);
  }
  return true;
}

std::string SpellBytes(std::string_view bytes) {
  std::string out;
  for (const char c : bytes)  // all below U+0800
    AppendUtf8(ByteToAlphabet(static_cast<unsigned char>(c)), &out);
  return out;
}

}  // namespace dapple
