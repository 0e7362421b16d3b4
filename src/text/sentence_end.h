// Where sentences end inside one run of text, and which are worth quoting.
// Pure functions over borrowed text whose white space is single spaces.
#ifndef DAPPLE_TEXT_SENTENCE_END_H_
#define DAPPLE_TEXT_SENTENCE_END_H_

#include <cstddef>
#include <string_view>

namespace dapple {

// The end (one past its last byte) of the sentence that begins at `from`, or
// npos when no end mark closes it.
size_t FindSentenceEnd(std::string_view text, size_t from);

// "Protecting Users' Legal Rights.": every word but "the" and the like has a
// capital, and not all letters are capitals.
bool IsTitleCase(std::string_view text);

// Whether the text begins with a small letter.
bool StartsLower(std::string_view text);

size_t CountWords(std::string_view text);

}  // namespace dapple

#endif  // DAPPLE_TEXT_SENTENCE_END_H_
