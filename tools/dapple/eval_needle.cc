// dapple eval needle: what is still found in long prompts of which only a part
// is kept, by policy, budget, task, length and depth.

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "dapple/chat.h"
#include "eval.h"
#include "interrupt.h"
#include "model_options.h"
#include "needle_run.h"
#include "needle_tables.h"
#include "variants.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ModelOptions model;
  std::vector<std::string> lengths = {"8k"};
  std::vector<std::string> tasks = {"niah-2"};
  std::vector<std::string> depths = {"10"};
  std::vector<std::string> policies = {"full", "dapq"};
  std::vector<std::string> keeps = {"256"};
  size_t samples = 20;
  uint64_t seed = 0;
  std::string haystack;
  bool no_lead_in = false;
  bool raw = false;
  std::string probe_content = "prefix-suffix";
  size_t probe_tokens = SessionOptions().probe_tokens;
  EvictionOptions eviction;  // policy and keep are set for each variant
  std::string output;
  std::string progress = "auto";
  bool json = false;
};

// One whole number: so many even depths. Several, or with %: the depths.
Result<std::vector<double>> ParseDepths(const std::vector<std::string>& texts) {
  std::vector<double> depths;
  const bool count = texts.size() == 1 && !texts[0].ends_with('%');
  for (const std::string& text : texts) {
    const char* end = text.data() + text.size() - (text.ends_with('%') ? 1 : 0);
    double value = 0;
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || !(value >= 0) ||
        value > 100 || (count && (value < 1 || value != std::floor(value))))
      return InvalidArgument(
          "--depths '" + text +
          "': either how many even depths (1 to 100), or a list of percents "
          "like 0%,50%,100%");
    depths.push_back(value / 100);
  }
  if (!count) return depths;
  const auto steps = static_cast<size_t>(std::llround(depths[0] * 100));
  if (steps == 1) return std::vector<double>{0.5};
  depths.clear();
  for (size_t i = 0; i < steps; ++i)
    depths.push_back(static_cast<double>(i) / static_cast<double>(steps - 1));
  return depths;
}

Result<std::vector<const NeedleTask*>> ParseTasks(
    const std::vector<std::string>& names) {
  std::vector<const NeedleTask*> tasks;
  std::string known;
  for (const NeedleTask& task : NeedleTasks())
    known += (known.empty() ? "" : ", ") + std::string(task.name);
  for (const NeedleTask& task : NeedleTasks()) {
    const bool all =
        std::find(names.begin(), names.end(), "all") != names.end();
    if (all || std::find(names.begin(), names.end(), task.name) != names.end())
      tasks.push_back(&task);
  }
  for (const std::string& name : names)
    if (name != "all" && FindNeedleTask(name) == nullptr)
      return InvalidArgument("--task '" + name + "': not one of " + known +
                             ", all");
  return tasks;
}

ProbeContent ParseProbeContent(const std::string& text) {
  if (text == "suffix") return ProbeContent::kSuffix;
  if (text == "random") return ProbeContent::kRandom;
  return ProbeContent::kPrefixSuffix;
}

Result<NeedlePlan> MakePlan(const Options& options) {
  NeedlePlan plan;
  for (const std::string& text : options.lengths) {
    DAPPLE_ASSIGN_OR_RETURN(const size_t length, ParseLength(text));
    plan.lengths.push_back(length);
  }
  // Short ones first: they say soonest that something is wrong.
  std::sort(plan.lengths.begin(), plan.lengths.end());
  plan.lengths.erase(std::unique(plan.lengths.begin(), plan.lengths.end()),
                     plan.lengths.end());
  DAPPLE_ASSIGN_OR_RETURN(plan.tasks, ParseTasks(options.tasks));
  DAPPLE_ASSIGN_OR_RETURN(plan.depths, ParseDepths(options.depths));
  EvictionOptions base = options.eviction;
  base.seed = options.seed;
  DAPPLE_ASSIGN_OR_RETURN(plan.session.eviction,
                          ParseVariants(options.policies, options.keeps, base));
  plan.samples = options.samples;
  plan.prompt.seed = options.seed;
  plan.prompt.lead_in = !options.no_lead_in;
  plan.prompt.chat = !options.raw;
  for (const NeedleTask* task : plan.tasks)
    plan.session.max_new_tokens =
        std::max(plan.session.max_new_tokens, plan.AnswerTokens(*task));
  plan.session.probe_tokens = options.probe_tokens;
  plan.session.probe_content = ParseProbeContent(options.probe_content);
  plan.session.probe_seed = options.seed;
  plan.session.beyond_context = options.model.beyond_context;
  std::string cap_source;
  const MemoryFlags& memory = options.model.memory;
  DAPPLE_RETURN_IF_ERROR(memory.Apply(&plan.session.memory, &cap_source));
  // The cap must be one asked for: a result may not depend on what else runs.
  if (memory.ram.empty()) plan.session.memory.ram_bytes = 0;
  if (plan.session.memory.schedule == Schedule::kStreaming &&
      plan.session.eviction.size() > 1)
    return InvalidArgument(
        "--schedule streaming evicts while it reads: one --policy and one "
        "--keep a run");
  return plan;
}

// What a sample's result depends on, beside its task, length, number, policy
// and budget. Only these must agree when a run goes on.
Json Settings(const Options& options, const NeedlePlan& plan,
              const Engine& engine, const std::string& haystack) {
  Json json;
  json["format"] = 1;  // of prompts: changes whenever the generator does
  json["model"] = engine.model_name();
  std::error_code error;
  json["model_bytes"] = std::filesystem::file_size(
      options.model.model.empty() ? DefaultModelPath() : options.model.model,
      error);
  json["compute"] = options.model.compute;
  json["seed"] = options.seed;
  json["depths"] = plan.depths;
  json["haystack"] =
      options.haystack.empty()
          ? "own prose"
          : std::filesystem::path(options.haystack).filename().string();
  if (!options.haystack.empty())
    json["haystack_hash"] = NeedleRandom::SeedOf(0, haystack, 0, 0);
  json["lead_in"] = plan.prompt.lead_in;
  json["chat"] = plan.prompt.chat;
  json["probe_tokens"] = options.probe_tokens;
  json["probe_content"] = options.probe_content;
  json["pool"] = options.eviction.pool;
  json["sinks"] = options.eviction.sinks;
  json["recent"] = options.eviction.recent;
  json["value_weighted"] = options.eviction.value_weighted;
  const MemoryFlags defaults, &memory = options.model.memory;
  if (memory.schedule != defaults.schedule) json["schedule"] = memory.schedule;
  if (memory.schedule == "streaming") json["chunk"] = memory.chunk;
  if (memory.kv != defaults.kv) json["kv"] = memory.kv;
  if (memory.ram != defaults.ram) json["ram"] = memory.ram;
  return json;
}

Json Results(const Engine& engine, const Json& settings,
             const std::vector<NeedleCell>& cells) {
  Json json = NeedleJson(settings, cells);
  if (!ModelNote(engine.model_name()).empty())
    json["note"] = ModelNote(engine.model_name());
  return json;
}

// One line under a heat map's title.
std::string Subject(const Options& options, const Engine& engine) {
  return engine.model_name() + ", seed " + std::to_string(options.seed) +
         (options.no_lead_in ? ", no lead-in" : ", with lead-in");
}

Status WriteResults(const Options& options, const Engine& engine,
                    const Json& settings, const NeedleStore& store,
                    const std::vector<NeedleCell>& cells) {
  const std::string& folder = options.output;
  DAPPLE_RETURN_IF_ERROR(
      ResultLog::WriteFile(folder, "results.csv", NeedleCsv(cells)));
  DAPPLE_RETURN_IF_ERROR(
      ResultLog::WriteFile(folder, "results.md", NeedleMarkdown(cells)));
  DAPPLE_RETURN_IF_ERROR(ResultLog::WriteFile(
      folder, "results.json", Results(engine, settings, cells).dump(2) + "\n"));
  bool png = true;
  for (const NeedleMap& map :
       NeedleMaps(store.records(), Subject(options, engine))) {
    const Drawing drawing = DrawHeatMap(map.map);
    DAPPLE_RETURN_IF_ERROR(ResultLog::WriteFile(
        folder, "heat-" + map.name + ".svg", drawing.Svg()));
    const auto bytes = drawing.Png();
    if (bytes.ok()) {
      DAPPLE_RETURN_IF_ERROR(
          ResultLog::WriteFile(folder, "heat-" + map.name + ".png", *bytes));
    } else if (png) {
      std::fprintf(stderr, "dapple: %s; wrote SVG alone\n",
                   bytes.status().message().c_str());
      png = false;
    }
  }
  return Status::Ok();
}

Status RunNeedle(const Options& options) {
  DAPPLE_ASSIGN_OR_RETURN(NeedlePlan plan, MakePlan(options));
  std::optional<HaystackText> prose;
  std::string haystack;
  if (!options.haystack.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(haystack, ReadText(options.haystack));
    DAPPLE_ASSIGN_OR_RETURN(prose,
                            HaystackText::Split(options.haystack, haystack));
    plan.prompt.prose = &*prose;
  }
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  if (plan.prompt.chat && !SupportsChat(engine->tokenizer()))
    return Unsupported(
        "the model has no chat format that Dapple knows; --raw asks it "
        "without one");
  const Json settings = Settings(options, plan, *engine, haystack);
  auto store = std::make_unique<NeedleStore>();
  if (!options.output.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(store, NeedleStore::Open(options.output, settings));
    if (!store->records().empty())
      std::fprintf(stderr, "dapple: %s has %zu answers of earlier runs\n",
                   options.output.c_str(), store->records().size());
  }
  Status ran;
  {
    const InterruptGuard guard;
    NeedleProgress progress(options.progress, plan);
    ran = RunNeedles(*engine, plan, guard.flag(), &progress, store.get());
  }
  // What was answered is shown and written, however the run ended.
  const std::vector<NeedleCell> cells = NeedleCells(store->records());
  if (!cells.empty()) {
    if (!options.output.empty())
      DAPPLE_RETURN_IF_ERROR(
          WriteResults(options, *engine, settings, *store, cells));
    if (options.json)
      std::printf("%s\n", Results(*engine, settings, cells).dump().c_str());
    else
      std::printf("%s", NeedleTables(cells).c_str());
    if (!options.json && !ModelNote(engine->model_name()).empty())
      std::printf("\n%s\n", ModelNote(engine->model_name()).c_str());
    if (std::fflush(stdout) != 0)
      return IoError("standard output: cannot be written");
  }
  return ran;
}

void AddEvictionOptions(Options* options, CLI::App* command) {
  command
      ->add_option("--policy", options->policies,
                   "what chooses the keys to keep: a list, or all")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--keep", options->keeps,
                   "keys kept a head: a list of numbers (256) and shares (3%)")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--probe-tokens", options->probe_tokens,
                   "pseudo tokens after the prompt (dapq)")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--probe-content", options->probe_content,
                   "what they hold: prefix-suffix, suffix or random")
      ->check(CLI::IsMember({"prefix-suffix", "suffix", "random"}))
      ->capture_default_str();
  command
      ->add_option("--pool", options->eviction.pool,
                   "max-pooling of scores over so many neighbours (odd)")
      ->capture_default_str();
  command
      ->add_option("--sinks", options->eviction.sinks,
                   "first tokens always kept (streaming)")
      ->capture_default_str();
  command
      ->add_option("--recent", options->eviction.recent,
                   "last tokens always kept (snapkv, pyramidkv: and asked)")
      ->capture_default_str();
  command->add_flag("--value-weighted", options->eviction.value_weighted,
                    "weigh scores by what the values add to the output");
}

}  // namespace

void AddEvalNeedle(CLI::App& eval, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand(
      "needle", "What is found in long prompts, by eviction policy");
  command
      ->add_option("--length", options->lengths,
                   "tokens of the whole prompt: a list (8k is 8192)")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--task", options->tasks,
                   "niah-1..3, multikey-1..3, multikey-16, multivalue, "
                   "multiquery, vt, fact: a list, or all")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--depths", options->depths,
                   "so many even depths of the needle, or a list (0%,50%)")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--samples", options->samples,
                   "prompts of each task and length, which take the depths in "
                   "turn; 0: only show what -o has")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  AddEvictionOptions(options.get(), command);
  command->add_option("--seed", options->seed, "of prompts and random choices")
      ->capture_default_str();
  command
      ->add_option("--haystack", options->haystack,
                   "UTF-8 text to hide needles in (default: generated prose)")
      ->type_name("FILE");
  command->add_flag("--no-lead-in", options->no_lead_in,
                    "let the model begin its answer itself");
  command->add_flag("--raw", options->raw, "no chat format around the prompt");
  command
      ->add_option("-o,--output", options->output,
                   "folder for results and heat maps; a run that was "
                   "interrupted goes on there")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "print one JSON object");
  command->add_option("--progress", options->progress, "auto, plain or none")
      ->check(CLI::IsMember({"auto", "plain", "none"}))
      ->capture_default_str();
  options->model.AddTo(*command);
  command->callback([options, &run] {
    run = [options] {
      const Status status = RunNeedle(*options);
      if (status.code() == StatusCode::kCancelled) return int{kExitInterrupted};
      return status.ok() ? int{kExitOk} : Fail(status);
    };
  });
}

}  // namespace dapple::tool
