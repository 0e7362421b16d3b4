// Options about the chat format that every command which asks a model shares.
#ifndef DAPPLE_TOOLS_CHAT_FLAGS_H_
#define DAPPLE_TOOLS_CHAT_FLAGS_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "dapple/chat.h"

namespace dapple::tool {

struct ChatFlags {
  std::string system;
  std::string chat_template;  // a name or a file; "": the model's own
  bool no_think = false;
  bool parse_special = false;

  void AddTo(CLI::App& command);
  // The prompt's ids. kInvalidArgument for a template that is neither a known
  // name nor a readable file.
  Result<std::vector<TokenId>> Encode(const Tokenizer& tokenizer,
                                      const std::string& user,
                                      const std::string& lead_in) const;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_CHAT_FLAGS_H_
