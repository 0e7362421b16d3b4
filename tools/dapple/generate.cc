// dapple generate: continue a text, or answer it as a chat turn.

#include <memory>
#include <vector>

#include "chat_flags.h"
#include "clock_text.h"
#include "command.h"
#include "generation.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  GenerationOptions generation;
  EvictionFlags eviction;
  std::vector<std::string> files;
  std::vector<std::string> words;
  bool is_chat = false;
  bool raw = false;
  ChatFlags chat;
  std::string lead_in;
};

// Files first, then the words of the command line; stdin when neither is
// given.
Result<std::string> PromptText(const Options& options) {
  std::string text;
  std::vector<std::string> files = options.files;
  if (files.empty() && options.words.empty()) files.push_back("-");
  for (const std::string& file : files) {
    DAPPLE_ASSIGN_OR_RETURN(const std::string part, ReadText(file));
    if (!text.empty()) text += "\n\n";
    text += part;
  }
  std::string words;
  for (const std::string& word : options.words)
    words += (words.empty() ? "" : " ") + word;
  size_t bad = 0;
  if (!IsValidUtf8(words, &bad))
    return InvalidArgument("the prompt argument is not UTF-8 text");
  if (!words.empty()) text += (text.empty() ? "" : "\n\n") + words;
  if (text.find_first_not_of(" \t\r\n") == std::string::npos)
    return InvalidArgument("the prompt is empty");
  return text;
}

Result<GenerationReport> RunGenerate(const Options& options) {
  DAPPLE_RETURN_IF_ERROR(options.generation.sampler.Validate());
  DAPPLE_ASSIGN_OR_RETURN(std::string text, PromptText(options));
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  const Tokenizer& tokenizer = engine->tokenizer();
  GenerationTask task;
  task.lead_in = options.lead_in;
  task.beyond_context = options.model.beyond_context;
  task.eviction = options.eviction;
  task.memory = options.model.memory;
  task.eviction.seed = options.generation.sampler.seed;
  if (options.is_chat || !options.chat.chat_template.empty() ||
      (!options.raw && SupportsChat(tokenizer))) {
    DAPPLE_ASSIGN_OR_RETURN(
        task.prompt, options.chat.Encode(tokenizer, text, options.lead_in));
  } else {
    if (!options.chat.system.empty())
      return InvalidArgument("--system needs a chat model (see --chat)");
    Tokenizer::EncodeOptions encode;
    encode.parse_special = options.chat.parse_special;
    DAPPLE_ASSIGN_OR_RETURN(task.prompt,
                            tokenizer.Encode(text + options.lead_in, encode));
  }
  std::string().swap(text);  // its tokens say it all
  return Generate(*engine, task, options.generation);
}

}  // namespace

void AddGenerate(CLI::App& root, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = root.add_subcommand(
      "generate", "Answer a prompt, or continue a text (--raw)");
  command->add_option("text", options->words,
                      "the prompt; follows the files' text");
  command
      ->add_option("-f,--file", options->files,
                   "read the prompt from FILE (- is stdin); repeatable")
      ->type_name("FILE");
  auto* chat = command->add_flag("--chat", options->is_chat,
                                 "wrap the prompt as a chat turn (default "
                                 "where the model has a chat format)");
  auto* raw =
      command->add_flag("--raw", options->raw, "continue the text as it is");
  raw->excludes(chat);
  options->chat.AddTo(*command);
  raw->excludes(command->get_option("--chat-template"));
  command->add_option("--lead-in", options->lead_in,
                      "text that begins the answer");
  options->model.AddTo(*command);
  options->eviction.AddTo(*command);
  options->generation.AddTo(*command, 256);
  command->callback([options, &run] {
    run = [options] {
      const ClockWatch clocks;
      const auto report = RunGenerate(*options);
      if (!options->generation.quiet) clocks.Mention();
      return report.ok() ? ExitCodeOf(*report) : Fail(report.status());
    };
  });
}

}  // namespace dapple::tool
