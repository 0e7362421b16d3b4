// The alphabet in which byte-level BPE vocabularies are written: every byte is
// one printable character, so that tokens are text (GPT-2's encoder,
// bytes_to_unicode). Pure functions.
#ifndef DAPPLE_TEXT_BYTE_ALPHABET_H_
#define DAPPLE_TEXT_BYTE_ALPHABET_H_

#include <string>
#include <string_view>

namespace dapple {

// The character that stands for a byte: itself where it is printable Latin-1
// (33-126, 161-172, 174-255), else 256, 257, ... in the order of the bytes.
char32_t ByteToAlphabet(unsigned char byte);

// The bytes that `token` spells, appended to *out. False, with *out as it was,
// when a character is none of the alphabet's.
bool AppendAlphabetBytes(std::string_view token, std::string* out);

// The other way: any bytes, spelled.
std::string SpellBytes(std::string_view bytes);

}  // namespace dapple

#endif  // DAPPLE_TEXT_BYTE_ALPHABET_H_
