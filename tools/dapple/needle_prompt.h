// NeedlePrompt: a question about a haystack, filled up to a number of tokens.
//
// A prompt depends on the seed, the task, the length and the number of the
// sample, and on nothing else: every policy sees the same prompts, and an
// interrupted run goes on with the ones it would have seen.
#ifndef DAPPLE_TOOLS_NEEDLE_PROMPT_H_
#define DAPPLE_TOOLS_NEEDLE_PROMPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "dapple/status.h"
#include "dapple/tokenizer.h"
#include "needle_task.h"

namespace dapple::tool {

// A text of the user's to hide needles in, cut into sentences once.
struct HaystackText {
  struct Sentence {
    std::string text;
    bool ends_paragraph = false;
  };
  std::vector<Sentence> sentences;

  // kInvalidArgument when there are too few sentences to hide anything in.
  static Result<HaystackText> Split(const std::string& name,
                                    const std::string& text);
};

struct NeedlePromptOptions {
  uint64_t seed = 0;
  bool lead_in = true;
  bool chat = true;                     // else the bare text
  const HaystackText* prose = nullptr;  // null: NeedleProse
};

struct NeedlePrompt {
  std::vector<TokenId> ids;
  std::string text;     // what the user says
  std::string lead_in;  // "" without
  std::vector<std::string> expected;
  double depth = 0;  // [0, 1] of the first needle, as asked for
};

// `length`: tokens of the whole prompt, template and lead-in included; the
// prompt has at most that many, and at least 99 % of it, or else lacks less
// than one sentence of the haystack. kInvalidArgument for too short a length.
// `depth` in [0, 1]: how far into the haystack the first needle lies; the
// others lie anywhere. The tokenizer must support chat if options.chat.
Result<NeedlePrompt> MakePrompt(const Tokenizer& tokenizer,
                                const NeedleTask& task, size_t length,
                                size_t sample, double depth,
                                const NeedlePromptOptions& options);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_PROMPT_H_
