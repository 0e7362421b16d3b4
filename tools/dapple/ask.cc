// dapple ask: a question about documents, which are read one after another.

#include <cstdio>
#include <memory>
#include <vector>

#include "chat_flags.h"
#include "clock_text.h"
#include "command.h"
#include "generation.h"
#include "quotes.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  GenerationOptions generation;
  EvictionFlags eviction;
  ChatFlags chat;
  QuoteFlags quotes;
  std::vector<std::string> files;
  std::string question;
  std::string lead_in;
};

Result<GenerationReport> RunAsk(const Options& options) {
  DAPPLE_RETURN_IF_ERROR(options.generation.sampler.Validate());
  std::vector<std::string> files = options.files;
  if (files.empty()) files.push_back("-");
  std::string text, names;
  for (const std::string& file : files) {
    DAPPLE_ASSIGN_OR_RETURN(const std::string part, ReadText(file));
    text += part + "\n\n";
    names += (names.empty() ? "" : ", ") + file;
  }
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  GenerationTask task;
  task.file = names;
  task.lead_in = options.lead_in;
  task.beyond_context = options.model.beyond_context;
  task.eviction = options.eviction;
  task.memory = options.model.memory;
  task.eviction.seed = options.generation.sampler.seed;
  DAPPLE_ASSIGN_OR_RETURN(
      task.prompt,
      options.chat.Encode(engine->tokenizer(), text + options.question,
                          options.lead_in));
  GenerationOptions generation = options.generation;
  std::unique_ptr<QuoteConstraint> constraint;
  // A lead-in is the start of an answer in other words.
  if (options.quotes.Decide(*engine, options.lead_in.empty(),
                            generation.quiet)) {
    DAPPLE_ASSIGN_OR_RETURN(
        constraint,
        QuoteDocument(*engine, text, names, kAskLength.least, kAskLength.most));
    task.quotes = constraint.get();
    generation.max_new_tokens = kAskLength.most * kMaxQuoteTokens;
  }
  return Generate(*engine, task, generation);
}

}  // namespace

void AddAsk(CLI::App& root, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      root.add_subcommand("ask", "Ask a question about documents");
  command
      ->add_option("files", options->files, "text documents (- or none: stdin)")
      ->type_name("FILE");
  command->add_option("-q,--question", options->question, "the question")
      ->required();
  command->add_option("--lead-in", options->lead_in,
                      "text that begins the answer");
  options->chat.AddTo(*command);
  options->quotes.AddTo(*command);
  options->model.AddTo(*command);
  options->eviction.AddTo(*command);
  options->generation.AddTo(*command, kAskLength.tokens);
  command->callback([options, &run] {
    run = [options] {
      const ClockWatch clocks;
      const auto report = RunAsk(*options);
      if (!options->generation.quiet) clocks.Mention();
      return report.ok() ? ExitCodeOf(*report) : Fail(report.status());
    };
  });
}

}  // namespace dapple::tool
