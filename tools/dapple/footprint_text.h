// Texts of an exact number of tokens.
#ifndef DAPPLE_TOOLS_FOOTPRINT_TEXT_H_
#define DAPPLE_TOOLS_FOOTPRINT_TEXT_H_

#include <string>
#include <string_view>

#include "dapple/tokenizer.h"

namespace dapple::tool {

// The beginning of `text` that the tokenizer makes exactly `tokens` of, its
// own first token (bos) counted. kInvalidArgument when the text is too short;
// kUnsupported where no cut gives that number.
Result<std::string> TextOfTokens(const Tokenizer& tokenizer,
                                 std::string_view text, size_t tokens);

// Generated prose of at least so many tokens.
Result<std::string> ProseOfTokens(const Tokenizer& tokenizer, size_t tokens,
                                  uint64_t seed);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_FOOTPRINT_TEXT_H_
