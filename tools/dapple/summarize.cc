// dapple summarize: a summary of each document; with --quotes made only of the
// document's own sentences.

#include <cstdio>
#include <memory>
#include <vector>

#include "chat_flags.h"
#include "command.h"
#include "generation.h"
#include "quotes.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  GenerationOptions generation;
  EvictionFlags eviction;
  std::vector<std::string> files;
  std::string length = "medium";
  std::string instruction = "Summarize the text above.";
  ChatFlags chat;
  QuoteFlags quotes;
  bool tokens_given = false;
};

const AnswerLength& LengthOf(const Options& options) {
  for (const AnswerLength& length : kSummaryLengths)
    if (options.length == length.name) return length;
  return kSummaryLengths[1];
}

Result<GenerationReport> SummarizeFile(Engine& engine, const Options& options,
                                       const std::string& file, bool quotes) {
  DAPPLE_ASSIGN_OR_RETURN(const std::string text, ReadText(file));
  GenerationTask task;
  task.file = file;
  task.beyond_context = options.model.beyond_context;
  task.eviction = options.eviction;
  task.memory = options.model.memory;
  task.eviction.seed = options.generation.sampler.seed;
  task.summary = true;
  DAPPLE_ASSIGN_OR_RETURN(
      task.prompt,
      options.chat.Encode(engine.tokenizer(),
                          text + "\n\n" + options.instruction, ""));
  GenerationOptions generation = options.generation;
  std::unique_ptr<QuoteConstraint> constraint;
  if (quotes) {
    const AnswerLength& length = LengthOf(options);
    DAPPLE_ASSIGN_OR_RETURN(
        constraint,
        QuoteDocument(engine, text, file, length.least, length.most));
    task.quotes = constraint.get();
    if (!options.tokens_given)
      generation.max_new_tokens = length.most * kMaxQuoteTokens;
  } else if (!options.tokens_given) {
    generation.max_new_tokens = LengthOf(options).tokens;
  }
  return Generate(engine, task, generation);
}

int RunSummarize(const Options& options) {
  const Status valid = options.generation.sampler.Validate();
  if (!valid.ok()) return Fail(valid);
  const auto engine = options.model.Open();
  if (!engine.ok()) return Fail(engine.status());
  const bool quotes = options.quotes.Decide(**engine, /*otherwise=*/true,
                                            options.generation.quiet);
  std::vector<std::string> files = options.files;
  if (files.empty()) files.push_back("-");
  int exit_code = kExitOk;
  for (size_t i = 0; i < files.size(); ++i) {
    if (files.size() > 1 && !options.generation.json)
      std::printf("%s%s:\n", i == 0 ? "" : "\n", files[i].c_str());
    const auto report = SummarizeFile(**engine, options, files[i], quotes);
    // One bad file must not cost the others their summaries.
    if (!report.ok()) {
      exit_code = Fail(report.status());
    } else if (report->stop == "interrupted") {
      return kExitInterrupted;
    }
  }
  return exit_code;
}

}  // namespace

void AddSummarize(CLI::App& root, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      root.add_subcommand("summarize", "Summarize each of the documents");
  command
      ->add_option("files", options->files, "text documents (- or none: stdin)")
      ->type_name("FILE");
  command->add_option("--length", options->length, "short, medium or long")
      ->check(CLI::IsMember({"short", "medium", "long"}))
      ->capture_default_str();
  command
      ->add_option("--instruction", options->instruction,
                   "what is asked of the model after the document")
      ->capture_default_str();
  options->chat.AddTo(*command);
  options->quotes.AddTo(*command);
  options->model.AddTo(*command);
  options->eviction.AddTo(*command);
  options->generation.AddTo(*command, 256);
  CLI::Option* tokens = command->get_option("--max-tokens");
  command->callback([options, tokens, &run] {
    options->tokens_given = tokens->count() != 0;
    run = [options] { return RunSummarize(*options); };
  });
}

}  // namespace dapple::tool
