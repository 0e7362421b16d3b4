// dapple plan: what a run would need, from the model's header alone.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "command.h"
#include "memory_flags.h"
#include "model_options.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  EvictionFlags eviction;
  std::string tokens = "8k";
  size_t max_new_tokens = 256;
  bool json = false;
};

int RunPlan(const Options& options) {
  SessionOptions session;
  std::string cap_source;
  Status status = options.eviction.Apply(&session);
  if (!status.ok()) return Fail(status);
  status = options.model.memory.Apply(&session.memory, &cap_source);
  if (!status.ok()) return Fail(status);
  const auto tokens = ParseLength(options.tokens);
  if (!tokens.ok()) return Fail(tokens.status());
  session.prompt_tokens = *tokens;
  session.max_new_tokens = options.max_new_tokens;
  session.beyond_context = options.model.beyond_context;
  const auto engine = options.model.Resolve();
  if (!engine.ok()) return Fail(engine.status());
  const auto report = PlanModel(*engine, session);
  if (!report.ok()) return Fail(report.status());
  if (options.json)
    std::printf("%s\n", PlanJson(*report, cap_source).c_str());
  else
    PrintPlan(*report, cap_source, stdout);
  if (!report->fits()) {
    std::fflush(stdout);
    return Fail(NothingFits(*report));
  }
  return kExitOk;
}

}  // namespace

void AddPlan(CLI::App& root, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = root.add_subcommand(
      "plan", "Show what a run would need of memory, before it starts");
  command
      ->add_option("--tokens", options->tokens,
                   "tokens of the prompt: 8k is 8,192")
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("-n,--max-tokens", options->max_new_tokens,
                   "longest answer, in tokens")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  options->model.AddTo(*command);
  options->eviction.AddTo(*command);
  command->add_flag("--json", options->json, "print JSON");
  command->callback(
      [options, &run] { run = [options] { return RunPlan(*options); }; });
}

}  // namespace dapple::tool
