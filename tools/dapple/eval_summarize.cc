// dapple eval summarize: what summaries and answers are worth (ROUGE-L) when
// only a part of the document is kept.

#include <cstdio>
#include <filesystem>
#include <memory>

#include "eval.h"
#include "eval_summary_run.h"
#include "interrupt.h"
#include "model_options.h"
#include "needle_random.h"
#include "variants.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ModelOptions model;
  std::string file;
  std::vector<std::string> policies = {"dapq"};
  std::vector<std::string> keeps = {"50%", "20%", "10%", "3%"};
  DocumentChoice choice;
  std::string instruction;
  std::string length = "medium";
  QuoteFlags quotes;
  uint64_t seed = 0;
  std::string output;
  std::string progress = "auto";
  bool json = false;
};

Result<SummaryPlan> MakePlan(const Options& options) {
  SummaryPlan plan;
  EvictionOptions base;
  base.seed = options.seed;
  // Everything kept comes first: the others are compared with it.
  std::vector<std::string> policies = {"full"};
  policies.insert(policies.end(), options.policies.begin(),
                  options.policies.end());
  DAPPLE_ASSIGN_OR_RETURN(plan.session.eviction,
                          ParseVariants(policies, options.keeps, base));
  plan.session.beyond_context = options.model.beyond_context;
  plan.instruction = options.instruction;
  for (const AnswerLength& length : kSummaryLengths)
    if (options.length == length.name) plan.length = length;
  plan.progress = options.progress;
  return plan;
}

// What results depend on: a run that goes on must have the same.
Json Settings(const Options& options, const SummaryPlan& plan,
              const Engine& engine, const std::string& bytes) {
  Json json;
  json["format"] = 1;
  json["model"] = engine.model_name();
  std::error_code error;
  json["model_bytes"] = std::filesystem::file_size(
      options.model.model.empty() ? DefaultModelPath() : options.model.model,
      error);
  json["compute"] = options.model.compute;
  json["documents"] = std::filesystem::path(options.file).filename().string();
  json["documents_hash"] = NeedleRandom::SeedOf(0, bytes, 0, 0);
  json["instruction"] = options.instruction;
  json["length"] = options.length;
  json["quotes"] = plan.quotes;
  json["seed"] = options.seed;
  json["variants"] = Json::array();
  for (const EvictionOptions& variant : plan.session.eviction)
    json["variants"].push_back(variant.policy + " " + KeepName(variant));
  return json;
}

Status WriteResults(const std::string& folder, const Json& results,
                    const std::vector<SummaryCell>& cells,
                    const std::vector<SummarySkip>& skips) {
  DAPPLE_RETURN_IF_ERROR(
      ResultLog::WriteFile(folder, "results.csv", SummaryCsv(cells)));
  DAPPLE_RETURN_IF_ERROR(ResultLog::WriteFile(
      folder, "results.md", SummaryTables(cells, skips, /*markdown=*/true)));
  return ResultLog::WriteFile(folder, "results.json", results.dump(2) + "\n");
}

Status RunSummarize(const Options& options) {
  DAPPLE_ASSIGN_OR_RETURN(SummaryPlan plan, MakePlan(options));
  DAPPLE_ASSIGN_OR_RETURN(const std::string bytes, ReadText(options.file));
  DAPPLE_ASSIGN_OR_RETURN(const auto documents,
                          ParseDocuments(options.file, bytes, options.choice));
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  plan.quotes = options.quotes.Decide(*engine, /*otherwise=*/true,
                                      options.progress == "none");
  const Json settings = Settings(options, plan, *engine, bytes);
  std::vector<SummaryRecord> records;
  std::unique_ptr<ResultLog> log;
  if (!options.output.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(
        log, ResultLog::Open(options.output, "documents.jsonl",
                             "dapple eval summarize", settings,
                             [&](const Json& line) {
                               records.push_back(SummaryFromJson(line));
                             }));
    if (!records.empty())
      std::fprintf(stderr, "dapple: %s has %zu documents of earlier runs\n",
                   options.output.c_str(), records.size());
  }
  std::vector<SummarySkip> skips;
  Status ran;
  {
    const InterruptGuard guard;
    ran = RunSummaries(*engine, plan, documents, guard.flag(), log.get(),
                       &records, &skips);
  }
  // What was answered is shown and written, however the run ended.
  const std::vector<SummaryCell> cells = SummaryCells(records);
  const std::string note = ModelNote(engine->model_name());
  Json results = SummaryJson(settings, cells, skips);
  if (!note.empty()) results["note"] = note;
  if (!options.output.empty() && !cells.empty())
    DAPPLE_RETURN_IF_ERROR(WriteResults(options.output, results, cells, skips));
  if (options.json) {
    std::printf("%s\n", results.dump().c_str());
  } else {
    std::printf("%s", SummaryTables(cells, skips, false).c_str());
    if (!note.empty()) std::printf("\n%s\n", note.c_str());
  }
  if (std::fflush(stdout) != 0)
    return IoError("standard output: cannot be written");
  return ran;
}

}  // namespace

void AddEvalSummarize(CLI::App& eval, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand(
      "summarize", "ROUGE-L of summaries, by how much was kept");
  command
      ->add_option("file", options->file,
                   "JSON lines with document, question and answer, and "
                   "perhaps source and task (- reads stdin)")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--policy", options->policies,
                   "what chooses the keys to keep: a list, or all; full is "
                   "always there")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--keep", options->keeps,
                   "keys kept a head: a list of numbers (256) and shares (3%)")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--source", options->choice.sources,
                   "only documents of these sources: a list")
      ->delimiter(',');
  command
      ->add_option("--documents", options->choice.per_source,
                   "the first so many of each source (0: all)")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  command->add_option("--instruction", options->instruction,
                      "asked instead of each document's question");
  command
      ->add_option("--length", options->length,
                   "of summaries, as `summarize` has it: short, medium, long")
      ->check(CLI::IsMember({"short", "medium", "long"}))
      ->capture_default_str();
  options->quotes.AddTo(*command);
  command->add_option("--seed", options->seed, "of policy random")
      ->capture_default_str();
  command
      ->add_option("-o,--output", options->output,
                   "folder for results; a run that was interrupted goes on "
                   "there")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "print one JSON object");
  command->add_option("--progress", options->progress, "auto, plain or none")
      ->check(CLI::IsMember({"auto", "plain", "none"}))
      ->capture_default_str();
  options->model.AddTo(*command);
  command->callback([options, &run] {
    run = [options] {
      const Status status = RunSummarize(*options);
      if (status.code() == StatusCode::kCancelled) return int{kExitInterrupted};
      return status.ok() ? int{kExitOk} : Fail(status);
    };
  });
}

}  // namespace dapple::tool
