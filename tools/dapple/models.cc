// dapple models: the GGUF files that other programs have fetched, and whether
// they would fit.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "dapple/engine.h"
#include "dapple/model_info.h"
#include "memory_flags.h"
#include "model_caches.h"
#include "text_table.h"

namespace dapple::tool {
namespace {

struct Options {
  std::vector<std::string> folders;
  std::string ram;
  std::string tokens = "8k";
  bool json = false;
};

struct Row {
  FoundModel model;
  ModelInfo info;
  std::string problem;  // why it cannot be run; "": it can
  bool fits = false;
  uint64_t planned_bytes = 0;  // of the way to run it that is taken
  std::string schedule;
};

void Look(size_t tokens, const MemoryOptions& memory, Row* row) {
  const auto info = InspectModel(row->model.path);
  if (!info.ok()) {
    row->problem = info.status().message();
    // The path is in the table already.
    if (row->problem.starts_with(row->model.path + ": "))
      row->problem.erase(0, row->model.path.size() + 2);
    return;
  }
  row->info = *info;
  if (!info->obstacles.empty()) {
    row->problem = info->obstacles[0];
    return;
  }
  EngineOptions engine;
  engine.model_path = row->model.path;
  SessionOptions session;
  session.prompt_tokens = info->context_length == 0
                              ? tokens
                              : std::min<size_t>(tokens, info->context_length);
  session.max_new_tokens = 1;
  session.beyond_context = true;
  session.memory = memory;
  const auto report = PlanModel(engine, session);
  if (!report.ok()) {
    row->problem = report.status().message();
    return;
  }
  row->fits = report->fits();
  if (!report->fits()) return;
  row->planned_bytes = report->Chosen().plan.TotalBytes();
  row->schedule = report->Chosen().Name();
}

std::string Verdict(const Row& row) {
  if (!row.problem.empty()) return "cannot be run: " + row.problem;
  if (!row.fits) return "does not fit";
  return "fits: " + HumanBytes(static_cast<double>(row.planned_bytes)) + " (" +
         row.schedule + ")";
}

void PrintJson(const std::vector<Row>& rows) {
  auto list = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    nlohmann::ordered_json json;
    json["name"] = row.model.name;
    json["cache"] = row.model.cache;
    json["path"] = row.model.path;
    json["bytes"] = row.info.file_bytes;
    json["architecture"] = row.info.architecture;
    json["context"] = row.info.context_length;
    json["fits"] = row.fits;
    json["planned_bytes"] = row.planned_bytes;
    json["problem"] = row.problem;
    list.push_back(std::move(json));
  }
  std::printf(
      "%s\n",
      list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
          .c_str());
}

int RunModels(const Options& options) {
  const auto tokens = ParseLength(options.tokens);
  if (!tokens.ok()) return Fail(tokens.status());
  MemoryFlags flags;
  flags.ram = options.ram;
  MemoryOptions memory;
  std::string cap_source;
  const Status status = flags.Apply(&memory, &cap_source);
  if (!status.ok()) return Fail(status);
  std::vector<Row> rows;
  for (FoundModel& model :
       FindModels(options.folders, [](const char* name) -> std::string {
         const char* value = std::getenv(name);
         return value == nullptr ? "" : value;
       })) {
    rows.push_back({});
    rows.back().model = std::move(model);
    Look(*tokens, memory, &rows.back());
  }
  if (options.json) {
    PrintJson(rows);
    return kExitOk;
  }
  if (rows.empty()) {
    std::printf(
        "No GGUF files in the caches of Hugging Face, llama.cpp, Ollama and "
        "LM Studio.\n");
    return kExitOk;
  }
  TextTable table = {{"model", "size", "architecture", "context"}};
  for (const Row& row : rows)
    table.push_back({Printable(row.model.name),
                     HumanBytes(static_cast<double>(row.info.file_bytes)),
                     Printable(row.info.architecture),
                     Grouped(row.info.context_length)});
  // One model a line, then what would not fit into columns.
  const std::string laid = Laid(table);
  size_t at = laid.find('\n') + 1;
  std::printf("%s", laid.substr(0, at).c_str());
  for (const Row& row : rows) {
    const size_t end = laid.find('\n', at) + 1;
    std::printf("%s    %s: %s\n    %s\n", laid.substr(at, end - at).c_str(),
                row.model.cache.c_str(), row.model.path.c_str(),
                Verdict(row).c_str());
    at = end;
  }
  std::printf("Fits: a prompt of %s tokens in %s (%s).\n",
              Grouped(*tokens).c_str(),
              HumanBytes(static_cast<double>(memory.ram_bytes)).c_str(),
              cap_source.c_str());
  return kExitOk;
}

}  // namespace

void AddModels(CLI::App& root, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = root.add_subcommand(
      "models",
      "List GGUF files in the caches of Hugging Face, llama.cpp, Ollama and "
      "LM Studio, and whether they would fit");
  command->add_option("folders", options->folders, "more folders to look in")
      ->type_name("FOLDER");
  command
      ->add_option("--ram", options->ram,
                   "memory the whole process may take, such as 512M (default: "
                   "what is available, less a twentieth)")
      ->type_name("SIZE");
  command
      ->add_option("--tokens", options->tokens,
                   "tokens of the prompt: 8k is 8,192")
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--json", options->json, "print JSON");
  command->callback(
      [options, &run] { run = [options] { return RunModels(*options); }; });
}

}  // namespace dapple::tool
