#include "chat_flags.h"

#include <unistd.h>

#include "command.h"

namespace dapple::tool {
namespace {

// Why that is neither a known name nor a file; "": it is one.
std::string TemplateProblem(const std::string& name) {
  if (!KnownChatTemplate(name).empty() || name == "-" ||
      access(name.c_str(), F_OK) == 0)
    return {};
  std::string names;
  for (const std::string& known : KnownChatTemplates())
    names += (names.empty() ? "" : ", ") + known;
  return "no file " + name + ", and no known name (" + names + ")";
}

Result<std::string> TemplateText(const std::string& name) {
  if (const std::string_view known = KnownChatTemplate(name); !known.empty())
    return std::string(known);
  if (const std::string problem = TemplateProblem(name); !problem.empty())
    return InvalidArgument("--chat-template: " + problem);
  return ReadText(name);
}

}  // namespace

void ChatFlags::AddTo(CLI::App& command) {
  command.add_option("--system", system, "system turn of the chat")
      ->type_name("TEXT");
  command
      .add_option("--chat-template", chat_template,
                  "a Jinja file, or chatml, llama-3, gemma, mistral, phi-3, "
                  "phi-4, zephyr (default: the model's own)")
      ->check(TemplateProblem)
      ->type_name("NAME|FILE");
  command.add_flag("--no-think", no_think,
                   "ask models that can think aloud not to");
  command.add_flag("--parse-special", parse_special,
                   "special tokens in the text are control tokens");
}

Result<std::vector<TokenId>> ChatFlags::Encode(
    const Tokenizer& tokenizer, const std::string& user,
    const std::string& lead_in) const {
  ChatPrompt prompt;
  prompt.system = system;
  prompt.user = user;
  prompt.lead_in = lead_in;
  if (!chat_template.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(prompt.chat_template, TemplateText(chat_template));
  }
  if (no_think) prompt.think = false;
  return EncodeChat(tokenizer, prompt, parse_special);
}

}  // namespace dapple::tool
