// Chat prompts: turns wrapped in the model's control tokens.
//
// The model file's own Jinja template (tokenizer.chat_template) is rendered,
// or another one; files without a template but with ChatML's marks get ChatML.
// Text of the user never becomes control tokens here: every byte of it stays
// marked through the template, and special tokens are only found in what is not
// marked, so a document cannot forge a turn.
#ifndef DAPPLE_CHAT_H_
#define DAPPLE_CHAT_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"
#include "dapple/tokenizer.h"

namespace dapple {

struct ChatPrompt {
  std::string system;  // "" : no system turn
  std::string user;
  std::string lead_in = {};  // begins the assistant's answer; may be empty
  // A Jinja text to use instead of the model's; "": the model's.
  std::string chat_template = {};
  // The template's enable_thinking; unset: the template's own default.
  std::optional<bool> think = {};
};

// True when the model has a chat template, or ChatML's <|im_start|> and
// <|im_end|> in its vocabulary.
bool SupportsChat(const Tokenizer& tokenizer);

// bos, turns, generation prompt, lead-in. kUnsupported when !SupportsChat, and
// when the template has something Dapple does not know, by line and name;
// kInvalidArgument when the template refuses the prompt (no system turn).
Result<std::vector<TokenId>> EncodeChat(const Tokenizer& tokenizer,
                                        const ChatPrompt& prompt,
                                        bool parse_special);

// A Jinja text for a well-known format: "chatml", "llama-3", "gemma",
// "mistral", "phi-3", "phi-4", "zephyr". "" for other names.
std::string_view KnownChatTemplate(std::string_view name);
std::vector<std::string> KnownChatTemplates();

// The prompt as text, special tokens by name: for people to look at.
Result<std::string> RenderChat(const Tokenizer& tokenizer,
                               const ChatPrompt& prompt);

}  // namespace dapple

#endif  // DAPPLE_CHAT_H_
