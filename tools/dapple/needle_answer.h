// NeedleAnswer: what a session answers, greedily, after its prompt.
#ifndef DAPPLE_TOOLS_NEEDLE_ANSWER_H_
#define DAPPLE_TOOLS_NEEDLE_ANSWER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "dapple/engine.h"

namespace dapple::tool {

struct NeedleAnswer {
  std::string text;
  // "found": all of `expected` is there, and no more could raise the score;
  // "end": an end token; "newline": a line break after some text; "loop": the
  // same few tokens over and over; "length".
  std::string stop;
  size_t tokens = 0;  // generated, an end token not counted
};

// The session was prefilled and the variant selected; at most `limit` tokens.
Result<NeedleAnswer> AnswerGreedily(Session& session,
                                    const Tokenizer& tokenizer,
                                    const std::vector<std::string>& expected,
                                    size_t limit);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_ANSWER_H_
