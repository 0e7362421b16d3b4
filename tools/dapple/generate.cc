// dapple generate: continue a text, or answer it as a chat turn.

#include <memory>
#include <vector>

#include "command.h"
#include "dapple/chat.h"
#include "generation.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  GenerationOptions generation;
  EvictionFlags eviction;
  std::vector<std::string> files;
  std::vector<std::string> words;
  bool chat = false;
  bool raw = false;
  std::string system;
  std::string lead_in;
  bool parse_special = false;
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
  DAPPLE_ASSIGN_OR_RETURN(const std::string text, PromptText(options));
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  const Tokenizer& tokenizer = engine->tokenizer();
  GenerationTask task;
  task.lead_in = options.lead_in;
  task.beyond_context = options.model.beyond_context;
  task.eviction = options.eviction;
  task.memory = options.model.memory;
  task.eviction.seed = options.generation.sampler.seed;
  if (options.chat || (!options.raw && SupportsChat(tokenizer))) {
    DAPPLE_ASSIGN_OR_RETURN(
        task.prompt,
        EncodeChat(tokenizer, {options.system, text, options.lead_in},
                   options.parse_special));
  } else {
    if (!options.system.empty())
      return InvalidArgument("--system needs a chat model (see --chat)");
    Tokenizer::EncodeOptions encode;
    encode.parse_special = options.parse_special;
    DAPPLE_ASSIGN_OR_RETURN(task.prompt,
                            tokenizer.Encode(text + options.lead_in, encode));
  }
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
  auto* chat = command->add_flag("--chat", options->chat,
                                 "wrap the prompt as a chat turn (default "
                                 "where the model has ChatML)");
  command->add_flag("--raw", options->raw, "continue the text as it is")
      ->excludes(chat);
  command->add_option("--system", options->system, "system turn of the chat");
  command->add_option("--lead-in", options->lead_in,
                      "text that begins the answer");
  command->add_flag("--parse-special", options->parse_special,
                    "special tokens in the text are control tokens");
  options->model.AddTo(*command);
  options->eviction.AddTo(*command);
  options->generation.AddTo(*command, 256);
  command->callback([options, &run] {
    run = [options] {
      const auto report = RunGenerate(*options);
      return report.ok() ? ExitCodeOf(*report) : Fail(report.status());
    };
  });
}

}  // namespace dapple::tool
