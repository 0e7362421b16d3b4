// Chat prompts: turns wrapped in the model's control tokens.
//
// Text of the user never becomes control tokens here: each part is encoded on
// its own, so a document cannot forge a turn. (ChatML now; the model file's own
// Jinja template later.)
#ifndef DAPPLE_CHAT_H_
#define DAPPLE_CHAT_H_

#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"
#include "dapple/tokenizer.h"

namespace dapple {

struct ChatPrompt {
  std::string system;  // "" : no system turn
  std::string user;
  std::string lead_in;  // begins the assistant's answer; may be empty
};

// True when the vocabulary has ChatML's <|im_start|> and <|im_end|>.
bool SupportsChat(const Tokenizer& tokenizer);

// bos, turns, generation prompt, lead-in. kUnsupported when !SupportsChat.
Result<std::vector<TokenId>> EncodeChat(const Tokenizer& tokenizer,
                                        const ChatPrompt& prompt,
                                        bool parse_special);

}  // namespace dapple

#endif  // DAPPLE_CHAT_H_
