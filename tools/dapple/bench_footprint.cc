// dapple bench footprint: what runs of this and other runtimes take of memory,
// by length of the prompt.
//
// Each run is a process of its own, so that none inherits what another
// touched: its peak is its own. Texts are cut to an exact number of tokens.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench.h"
#include "child_process.h"
#include "energy_meter.h"
#include "footprint.h"
#include "footprint_text.h"
#include "interrupt.h"
#include "memory_group.h"
#include "model_options.h"
#include "result_log.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

struct Options {
  std::string model;
  int threads = 0;
  std::vector<std::string> lengths = {"1k", "2k", "4k", "8k", "16k", "32k"};
  std::vector<std::string> schedules = {"full", "exact", "streaming"};
  std::vector<std::string> weights = {"auto"};
  std::vector<std::string> keeps = {"256"};
  std::vector<std::string> peers;
  std::string policy = "dapq";
  std::string kv = "auto";
  std::string ram;
  std::string mark;
  std::string spill;
  size_t chunk = 1024;
  size_t tokens = 32;
  std::string haystack;
  double timeout_s = 0;
  bool enforce = false;
  std::string output;
  bool json = false;
};

// A folder in the place for temporary files, removed with all it holds.
class TemporaryFolder {
 public:
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Status Create() {
    std::error_code error;
    std::string path =
        (fs::temp_directory_path(error) / "dapple-footprint-XXXXXX").string();
    if (error || mkdtemp(path.data()) == nullptr)
      return IoError("no folder for temporary files can be made");
    path_ = path;
    return Status::Ok();
  }
  std::string operator/(const std::string& name) const {
    return (fs::path(path_) / name).string();
  }

 private:
  std::string path_;
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {}

  Status Run();

 private:
  Status Check();
  Status WriteTexts() const;
  Status OpenLog();
  Status RunAll(const std::atomic<bool>& cancel);
  Result<FootprintRun> Measure(const FootprintSeries& series, size_t length,
                               const std::atomic<bool>& cancel);
  std::vector<std::string> Arguments(const FootprintSeries& series,
                                     size_t length) const;
  Result<ChildOutcome> RunOnce(const std::vector<std::string>& arguments,
                               const MemoryGroup* group,
                               const std::atomic<bool>& cancel) const;
  void Judge(const ChildOutcome& child, uint64_t kills,
             FootprintRun* run) const;
  bool Done(const FootprintSeries& series, size_t length) const;
  Status Show() const;
  std::string Note() const;

  std::string TextPath(size_t length) const {
    return folder_ / ("prompt-" + std::to_string(length) + ".txt");
  }

  const Options& options_;
  std::string model_;
  uint64_t cap_ = 0;
  uint64_t mark_ = 0;  // the cap that is drawn
  std::vector<size_t> lengths_;
  std::vector<FootprintSeries> series_;
  TemporaryFolder folder_;
  std::unique_ptr<ResultLog> log_;
  std::vector<FootprintRun> runs_;
  bool groups_ = true;  // control groups can be made
  bool failed_ = false;
};

Status Bench::Check() {
  model_ = options_.model.empty() ? DefaultModelPath() : options_.model;
  if (model_.empty())
    return InvalidArgument(
        "no model: the embedded one was not found, name one with -m FILE");
  if (!options_.ram.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(cap_, ParseBytes(options_.ram));
  }
  mark_ = cap_;
  if (!options_.mark.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(mark_, ParseBytes(options_.mark));
  }
  for (const std::string& text : options_.lengths) {
    DAPPLE_ASSIGN_OR_RETURN(const size_t length, ParseLength(text));
    lengths_.push_back(length);
  }
  std::sort(lengths_.begin(), lengths_.end());
  lengths_.erase(std::unique(lengths_.begin(), lengths_.end()), lengths_.end());
  for (const std::string& name : options_.schedules) {
    if (name == "full") continue;
    DAPPLE_RETURN_IF_ERROR(ParseSchedule(name).status());
    if (name == "exact-spill" && options_.spill.empty())
      return InvalidArgument("the exact-spill schedule needs --spill DIR");
  }
  for (const std::string& name : options_.weights)
    DAPPLE_RETURN_IF_ERROR(ParseResidency(name).status());
  for (const std::string& keep : options_.keeps)
    DAPPLE_RETURN_IF_ERROR(KeepBudget::Parse(keep).status());
  series_ =
      FootprintSeriesOf(options_.schedules, options_.weights, options_.keeps);
  for (const std::string& text : options_.peers) {
    DAPPLE_ASSIGN_OR_RETURN(FootprintSeries peer, ParsePeer(text));
    series_.push_back(std::move(peer));
  }
  return Status::Ok();
}

Status Bench::WriteTexts() const {
  DAPPLE_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Open(model_));
  std::string source;
  if (options_.haystack.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(source,
                            ProseOfTokens(*tokenizer, lengths_.back(), 1));
  } else {
    DAPPLE_ASSIGN_OR_RETURN(source, ReadText(options_.haystack));
  }
  for (const size_t length : lengths_) {
    const auto text = TextOfTokens(*tokenizer, source, length);
    if (!text.ok())
      return Status(text.status().code(),
                    (options_.haystack.empty() ? model_ : options_.haystack) +
                        ": " + text.status().message());
    DAPPLE_RETURN_IF_ERROR(ResultLog::WriteFile(
        folder_ / "", "prompt-" + std::to_string(length) + ".txt", *text));
  }
  return Status::Ok();
}

Status Bench::OpenLog() {
  if (options_.output.empty()) return Status::Ok();
  Json settings;
  settings["format"] = 1;
  settings["model"] = fs::path(model_).filename().string();
  std::error_code error;
  settings["model_bytes"] = fs::file_size(model_, error);
  settings["text"] = options_.haystack.empty()
                         ? "own prose"
                         : fs::path(options_.haystack).filename().string();
  settings["threads"] = options_.threads;
  settings["policy"] = options_.policy;
  settings["kv"] = options_.kv;
  settings["ram_bytes"] = cap_;
  settings["chunk"] = options_.chunk;
  settings["tokens"] = options_.tokens;
  settings["enforce"] = options_.enforce;
  DAPPLE_ASSIGN_OR_RETURN(
      log_,
      ResultLog::Open(options_.output, "runs.jsonl", "dapple bench footprint",
                      settings, [&](const Json& json) {
                        runs_.push_back(FootprintRunFromJson(json));
                      }));
  if (!runs_.empty())
    std::fprintf(stderr, "dapple: %s has %zu runs already\n",
                 options_.output.c_str(), runs_.size());
  return Status::Ok();
}

bool Bench::Done(const FootprintSeries& series, size_t length) const {
  return std::any_of(runs_.begin(), runs_.end(), [&](const FootprintRun& run) {
    return run.series == series && run.length == length;
  });
}

std::vector<std::string> Bench::Arguments(const FootprintSeries& series,
                                          size_t length) const {
  const std::string tokens = std::to_string(options_.tokens);
  if (series.is_peer()) {
    const auto command = ExpandTemplate(
        series.command, {{"model", model_},
                         {"prompt_file", TextPath(length)},
                         {"n", tokens},
                         {"threads", std::to_string(options_.threads)}});
    return {"/bin/sh", "-c", *command};  // checked by ParsePeer
  }
  const bool full = series.schedule == "full";
  std::vector<std::string> arguments = {
      "/proc/self/exe", "generate", "--raw", "--json", "--quiet",
      "--beyond-context", "-m", model_, "-f", TextPath(length), "-n", tokens,
      "--schedule", full ? "exact" : series.schedule, "--weights",
      series.weights, "--kv", options_.kv, "--policy",
      full ? "full" : options_.policy, "--keep", full ? "auto" : series.keep,
      "--chunk", std::to_string(options_.chunk),
      // Without a cap the plan must not depend on what the machine has free.
      "--ram", cap_ == 0 ? "1T" : std::to_string(cap_)};
  if (options_.threads != 0) {
    arguments.push_back("-t");
    arguments.push_back(std::to_string(options_.threads));
  }
  if (!options_.spill.empty()) {
    arguments.push_back("--spill");
    arguments.push_back(options_.spill);
  }
  return arguments;
}

Result<ChildOutcome> Bench::RunOnce(const std::vector<std::string>& arguments,
                                    const MemoryGroup* group,
                                    const std::atomic<bool>& cancel) const {
  ChildCommand command;
  command.arguments = arguments;
  command.out = folder_ / "out";
  command.err = folder_ / "err";
  command.group = group;
  command.timeout_s = options_.timeout_s;
  command.cancel = &cancel;
  DAPPLE_ASSIGN_OR_RETURN(const ChildOutcome outcome, RunChild(command));
  if (cancel.load()) return Cancelled("interrupted");
  return outcome;
}

// The last line that says something.
std::string LastLine(const std::string& path) {
  const auto text = ReadFile(path);
  if (!text.ok()) return "";
  const size_t end = text->find_last_not_of(" \r\n");
  if (end == std::string::npos) return "";
  const size_t begin = text->find_last_of('\n', end);
  const size_t from = begin == std::string::npos ? 0 : begin + 1;
  return text->substr(from, std::min<size_t>(end + 1 - from, 300));
}

void Bench::Judge(const ChildOutcome& child, uint64_t kills,
                  FootprintRun* run) const {
  run->wall_s = child.wall_s;
  run->peak_bytes = child.peak_rss_bytes;
  if (child.timed_out) {
    run->outcome = "timed out";
  } else if (kills != 0) {
    run->outcome = "out of memory";
    run->message = "killed at its control group's limit";
  } else if (child.signal != 0) {
    run->outcome = "failed";
    run->message = "ended by signal " + std::to_string(child.signal);
  } else if (child.exit_code == kExitDoesNotFit && !run->series.is_peer()) {
    run->outcome = "does not fit";
    run->peak_bytes = 0;  // it was not run
    run->message = LastLine(folder_ / "err");
  } else if (child.exit_code != 0) {
    run->outcome = "failed";
    run->message = "exit code " + std::to_string(child.exit_code) + ": " +
                   LastLine(folder_ / "err");
  } else {
    run->outcome = "ok";
  }
}

Result<FootprintRun> Bench::Measure(const FootprintSeries& series,
                                    size_t length,
                                    const std::atomic<bool>& cancel) {
  FootprintRun run;
  run.series = series;
  run.length = length;
  const auto arguments = Arguments(series, length);
  const auto group = [&](uint64_t limit) {
    std::unique_ptr<MemoryGroup> made;
    if (!groups_) return made;
    auto result = MemoryGroup::Create(limit);
    if (result.ok()) {
      made = std::move(*result);
    } else {
      groups_ = false;  // and would not be the next time
      std::fprintf(stderr, "dapple: %s; %s\n",
                   result.status().message().c_str(),
                   options_.enforce ? "no plan is enforced"
                                    : "resident sets alone are measured");
    }
    return made;
  };
  std::string text;
  {
    const auto account = group(0);
    if (account != nullptr && options_.enforce) DropCachedPages(model_);
    const EnergyMeter meter;
    DAPPLE_ASSIGN_OR_RETURN(const ChildOutcome child,
                            RunOnce(arguments, account.get(), cancel));
    run.joules = meter.Joules();
    Judge(child, account == nullptr ? 0 : account->Kills(), &run);
    if (account != nullptr && run.outcome != "does not fit")
      run.group_bytes = account->PeakBytes();
  }
  if (run.outcome != "ok" || series.is_peer()) return run;
  const auto report = ReadFile(folder_ / "out");
  if (!report.ok()) return report.status();
  const Json json = Json::parse(*report, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.contains("planned_bytes"))
    return Internal("a run printed no report");
  text = json.value("text", "");
  run.planned_bytes = json.value("planned_bytes", uint64_t{0});
  // VmHWM begins anew with the program, ru_maxrss does not.
  run.peak_bytes = json.value("peak_rss_bytes", run.peak_bytes);
  run.first_token_s = json.value("prefill_s", -1.0);
  run.decode_per_s = json.value("decode_tokens_per_s", -1.0);
  run.weights = json.value("weights", "");
  run.kv = json.value("kv", "");
  if (json.value("prompt_tokens", size_t{0}) != length)
    return Internal("a text of " + std::to_string(length) +
                    " tokens was read as another number");
  if (!options_.enforce) return run;
  const auto limited = group(run.planned_bytes);
  if (limited == nullptr) return run;
  DropCachedPages(model_);
  DAPPLE_ASSIGN_OR_RETURN(const ChildOutcome child,
                          RunOnce(arguments, limited.get(), cancel));
  FootprintRun again = run;
  Judge(child, limited->Kills(), &again);
  if (again.outcome != "ok") {
    run.enforced = again.outcome;
    run.message = again.message;
    return run;
  }
  const auto second = ReadFile(folder_ / "out");
  const Json other =
      second.ok() ? Json::parse(*second, nullptr, false) : Json();
  run.enforced = other.is_object() && other.value("text", "") == text
                     ? "same answer"
                     : "other answer";
  return run;
}

Status Bench::RunAll(const std::atomic<bool>& cancel) {
  // Short texts first: they say soonest that something is wrong.
  std::vector<std::string> missing;  // peers whose program is not there
  for (const size_t length : lengths_) {
    for (const FootprintSeries& series : series_) {
      if (Done(series, length)) continue;
      if (std::find(missing.begin(), missing.end(), series.peer) !=
          missing.end())
        continue;
      if (cancel.load()) return Cancelled("interrupted");
      std::fprintf(stderr, "dapple: %s, %s tokens\n", series.Name().c_str(),
                   Grouped(length).c_str());
      DAPPLE_ASSIGN_OR_RETURN(FootprintRun run,
                              Measure(series, length, cancel));
      const bool well =
          run.outcome == "ok" && run.enforced.find(' ') == std::string::npos;
      if (!run.message.empty() || (!well && run.enforced != "same answer"))
        std::fprintf(
            stderr, "dapple: %s, %s tokens: %s%s%s\n", series.Name().c_str(),
            Grouped(length).c_str(),
            run.enforced.empty() ? run.outcome.c_str() : run.enforced.c_str(),
            run.message.empty() ? "" : ": ", run.message.c_str());
      // That a run does not fit is a result, that it fails is not.
      if (run.outcome == "failed" ||
          (!run.enforced.empty() && run.enforced != "same answer"))
        failed_ = true;
      if (series.is_peer() && (run.message.starts_with("exit code 127") ||
                               run.message.starts_with("exit code 126"))) {
        missing.push_back(series.peer);
        continue;
      }
      if (log_ != nullptr) DAPPLE_RETURN_IF_ERROR(log_->Append(ToJson(run)));
      runs_.push_back(std::move(run));
    }
  }
  return Status::Ok();
}

std::string Bench::Note() const {
  return std::to_string(options_.tokens) + " tokens generated" +
         (options_.threads == 0
              ? ""
              : ", " + std::to_string(options_.threads) + " threads") +
         (options_.kv == "auto" ? "" : ", " + options_.kv + " kept");
}

Status Bench::Show() const {
  if (runs_.empty()) return Status::Ok();
  const std::string name = fs::path(model_).filename().string();
  Json results;
  results["model"] = name;
  results["cap_bytes"] = cap_ == 0 ? Json() : Json(cap_);
  results["tokens"] = options_.tokens;
  results["runs"] = Json::array();
  for (const FootprintRun& run : runs_) results["runs"].push_back(ToJson(run));
  const auto dumped = [&](int indent) {
    return results.dump(indent, ' ', false, Json::error_handler_t::replace) +
           "\n";
  };
  if (!options_.output.empty()) {
    const auto write = [&](const char* file, const std::string& bytes) {
      return ResultLog::WriteFile(options_.output, file, bytes);
    };
    DAPPLE_RETURN_IF_ERROR(write("results.csv", FootprintCsv(runs_)));
    DAPPLE_RETURN_IF_ERROR(
        write("results.md", Markdown(FootprintTable(runs_))));
    DAPPLE_RETURN_IF_ERROR(write("results.json", dumped(2)));
    const Drawing drawing =
        DrawLineChart(FootprintChart(runs_, name, mark_, Note()));
    DAPPLE_RETURN_IF_ERROR(write("footprint.svg", drawing.Svg()));
    const auto png = drawing.Png();
    if (png.ok()) {
      DAPPLE_RETURN_IF_ERROR(write("footprint.png", *png));
    } else {
      std::fprintf(stderr, "dapple: %s; wrote SVG alone\n",
                   png.status().message().c_str());
    }
  }
  std::printf("%s", options_.json ? dumped(-1).c_str()
                                  : Laid(FootprintTable(runs_)).c_str());
  if (std::fflush(stdout) != 0)
    return IoError("standard output: cannot be written");
  return Status::Ok();
}

Status Bench::Run() {
  DAPPLE_RETURN_IF_ERROR(Check());
  DAPPLE_RETURN_IF_ERROR(OpenLog());
  DAPPLE_RETURN_IF_ERROR(folder_.Create());
  Status ran;
  {
    const InterruptGuard guard;
    // In a process of its own: its vocabulary must not count as the peers'.
    ran = RunForked([&] { return WriteTexts(); });
    if (ran.ok()) ran = RunAll(guard.flag());
  }
  DAPPLE_RETURN_IF_ERROR(Show());
  if (ran.ok() && failed_) return Internal("not every run ended well");
  return ran;
}

template <class T>
CLI::Option* AddList(CLI::App& command, const char* name, T& list,
                     const char* help) {
  return command.add_option(name, list, help)
      ->delimiter(',')
      ->capture_default_str();
}

}  // namespace

void AddBenchFootprint(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "footprint", "Peak memory by length, planned and measured");
  command
      ->add_option("-m,--model", options->model,
                   "GGUF model (default: $DAPPLE_MODEL, else the embedded one)")
      ->type_name("FILE");
  command->add_option("-t,--threads", options->threads, "threads of each run")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  AddList(*command, "--length", options->lengths,
          "tokens of the prompt: a list (8k is 8192)");
  AddList(*command, "--schedule", options->schedules,
          "full (exact with everything kept), exact, exact-q8, exact-spill, "
          "streaming, auto: a list");
  AddList(*command, "--weights", options->weights,
          "auto, resident, reread, streamed: a list");
  AddList(*command, "--keep", options->keeps,
          "keys kept a head: a list of numbers, shares and auto");
  command
      ->add_option("--policy", options->policy,
                   "which keys are kept, but for full")
      ->check(CLI::IsMember(EvictionPolicies()))
      ->capture_default_str();
  command->add_option("--kv", options->kv, "keys kept as: auto, f16, q8 or q4")
      ->check(CLI::IsMember({"auto", "f16", "q8", "q4"}))
      ->capture_default_str();
  command
      ->add_option("--ram", options->ram,
                   "cap given to each run, and a line in the chart")
      ->type_name("SIZE");
  command
      ->add_option("--mark", options->mark,
                   "draw the chart's line here instead; runs know nothing of "
                   "it")
      ->type_name("SIZE");
  command
      ->add_option("--spill", options->spill, "folder on a disk (exact-spill)")
      ->type_name("DIR");
  command
      ->add_option("--chunk", options->chunk, "tokens of a chunk (streaming)")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-n,--max-tokens", options->tokens, "tokens generated")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--haystack", options->haystack,
                   "UTF-8 text to read (default: generated prose)")
      ->type_name("FILE");
  command
      ->add_option("--peer", options->peers,
                   "another runtime, NAME=COMMAND with {model}, {prompt_file}, "
                   "{n} and {threads}; repeatable")
      ->type_name("NAME=COMMAND");
  command->add_flag("--enforce", options->enforce,
                    "run each again in a control group limited to its plan, "
                    "and compare the answers (needs root)");
  command
      ->add_option("--timeout", options->timeout_s,
                   "seconds after which a run is killed (default: none)")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("-o,--output", options->output,
                   "folder for results and charts; a run that was interrupted "
                   "goes on there")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "print one JSON object");
  command->callback([options, &run] {
    run = [options] {
      Bench work(*options);
      const Status status = work.Run();
      if (status.code() == StatusCode::kCancelled) return int{kExitInterrupted};
      return status.ok() ? int{kExitOk} : Fail(status);
    };
  });
}

}  // namespace dapple::tool
