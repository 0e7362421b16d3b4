#include "needle_tables.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include "needle_task.h"
#include "text_table.h"

namespace dapple::tool {
namespace {

struct Mean {
  double sum = 0;
  size_t count = 0;
  void Add(double value) {
    sum += value;
    ++count;
  }
  double Value() const {
    return count == 0 ? -1 : sum / static_cast<double>(count);
  }
};

size_t TaskRank(const std::string& name) {
  const auto tasks = NeedleTasks();
  size_t rank = 0;
  while (rank < tasks.size() && tasks[rank].name != name) ++rank;
  return rank;
}

using Variant = std::pair<std::string, std::string>;  // policy, keep

// The rank of each: policies as they first appear, budgets growing (numbers
// of keys before shares).
std::map<Variant, size_t> VariantRanks(
    const std::vector<NeedleRecord>& records) {
  std::map<std::string, size_t> policies;
  std::set<std::tuple<size_t, bool, double, Variant>> ordered;
  for (const NeedleRecord& record : records) {
    const size_t policy =
        policies.emplace(record.policy, policies.size()).first->second;
    ordered.insert({policy,
                    record.keep.ends_with('%'),
                    std::strtod(record.keep.c_str(), nullptr),
                    {record.policy, record.keep}});
  }
  std::map<Variant, size_t> ranks;
  for (const auto& one : ordered) ranks.emplace(std::get<3>(one), ranks.size());
  return ranks;
}

std::string GroupedNumber(size_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

// "97.5 [87–100]"
std::string CellText(const NeedleCell& cell) {
  return Format("%.1f", cell.accuracy * 100) + " [" +
         Format("%.0f", std::floor(cell.interval.low * 100)) + "–" +
         Format("%.0f", std::ceil(cell.interval.high * 100)) + "]";
}

using Tasks = std::vector<std::string>;

// The cells [begin, end) of these tasks; all are of one length. A row a
// policy and budget.
TextTable Block(const NeedleCell* begin, const NeedleCell* end,
                const Tasks& tasks) {
  TextTable table = {{"policy", "keep", "kept"}};
  table[0].insert(table[0].end(), tasks.begin(), tasks.end());
  Variant variant;
  for (const NeedleCell* cell = begin; cell != end; ++cell) {
    const auto found = std::find(tasks.begin(), tasks.end(), cell->task);
    if (found == tasks.end()) continue;
    if (table.size() == 1 || variant != Variant(cell->policy, cell->keep)) {
      variant = {cell->policy, cell->keep};
      table.push_back({cell->policy, cell->keep,
                       Format("%.1f %%", cell->kept_share * 100)});
      table.back().resize(table[0].size(), "");
    }
    table.back()[3 + static_cast<size_t>(found - tasks.begin())] =
        CellText(*cell);
  }
  return table;
}

Tasks TasksOf(const NeedleCell* begin, const NeedleCell* end) {
  Tasks tasks;
  for (const NeedleCell* cell = begin; cell != end; ++cell)
    if (std::find(tasks.begin(), tasks.end(), cell->task) == tasks.end())
      tasks.push_back(cell->task);
  std::sort(tasks.begin(), tasks.end(),
            [](const std::string& a, const std::string& b) {
              return TaskRank(a) < TaskRank(b);
            });
  return tasks;
}

// Samples of these cells: "40", "20 to 40". All tasks where `task` is empty.
std::string Samples(const NeedleCell* begin, const NeedleCell* end,
                    const std::string& task, const char* to) {
  size_t fewest = SIZE_MAX, most = 0;
  for (const NeedleCell* cell = begin; cell != end; ++cell) {
    if (!task.empty() && cell->task != task) continue;
    fewest = std::min(fewest, cell->samples);
    most = std::max(most, cell->samples);
  }
  std::string samples = std::to_string(fewest);
  if (most != fewest) samples += to + std::to_string(most);
  return samples;
}

// "8,192 tokens, 20 to 40 samples a cell: accuracy in % [95 % interval]"
std::string Heading(const NeedleCell* begin, const NeedleCell* end) {
  return GroupedNumber(begin->length) + " tokens, " +
         Samples(begin, end, "", " to ") +
         " samples a cell: accuracy in % [95 % interval]\n";
}

// The table of cells [begin, end), which share a length.
std::string Table(const NeedleCell* begin, const NeedleCell* end) {
  const Tasks tasks = TasksOf(begin, end);
  std::string out = Heading(begin, end);
  // Wider ones would be broken by terminals.
  constexpr size_t kAcross = 5;
  const size_t blocks = (tasks.size() + kAcross - 1) / kAcross;
  for (size_t block = 0; block < blocks; ++block) {
    const auto at = [&](size_t i) {
      return tasks.begin() + static_cast<long>(tasks.size() * i / blocks);
    };
    if (block != 0) out += '\n';
    out += Laid(Block(begin, end, {at(block), at(block + 1)}));
  }
  return out;
}

// Calls make(begin, end) for the cells of each length, a blank line between.
template <class Make>
std::string ByLength(const std::vector<NeedleCell>& cells, const Make& make) {
  std::string out;
  for (size_t begin = 0; begin < cells.size();) {
    size_t end = begin;
    while (end < cells.size() && cells[end].length == cells[begin].length)
      ++end;
    if (begin != 0) out += '\n';
    out += make(cells.data() + begin, cells.data() + end);
    begin = end;
  }
  return out;
}

bool OnePlace(const std::string& name) {
  const NeedleTask* task = FindNeedleTask(name);
  return task != nullptr && task->one_place();
}

}  // namespace

std::vector<NeedleCell> NeedleCells(const std::vector<NeedleRecord>& records) {
  struct Sums {
    Mean score, kept, tokens, coverage;
  };
  const auto ranks = VariantRanks(records);
  // (length, variant's rank, task's rank, task)
  std::map<std::tuple<size_t, size_t, size_t, std::string>, Sums> sums;
  std::vector<Variant> variants(ranks.size());
  for (const auto& [variant, rank] : ranks) variants[rank] = variant;
  for (const NeedleRecord& record : records) {
    Sums& sum = sums[{record.length, ranks.at({record.policy, record.keep}),
                      TaskRank(record.task), record.task}];
    sum.score.Add(record.score);
    sum.kept.Add(record.kept_share);
    sum.tokens.Add(static_cast<double>(record.prompt_tokens));
    if (record.median_coverage >= 0) sum.coverage.Add(record.median_coverage);
  }
  std::vector<NeedleCell> cells;
  for (const auto& [key, sum] : sums) {
    const auto& [length, variant, rank, task] = key;
    NeedleCell cell;
    cell.task = task;
    cell.length = length;
    cell.policy = variants[variant].first;
    cell.keep = variants[variant].second;
    cell.samples = sum.score.count;
    cell.accuracy = sum.score.Value();
    cell.interval = WilsonInterval(cell.accuracy, cell.samples);
    cell.kept_share = sum.kept.Value();
    cell.prompt_tokens = sum.tokens.Value();
    cell.median_coverage = sum.coverage.Value();
    cells.push_back(std::move(cell));
  }
  return cells;
}

std::string NeedleTables(const std::vector<NeedleCell>& cells) {
  return ByLength(cells, Table);
}

std::string NeedleMarkdown(const std::vector<NeedleCell>& cells) {
  return ByLength(cells, [](const NeedleCell* begin, const NeedleCell* end) {
    const Tasks tasks = TasksOf(begin, end);
    TextTable table = Block(begin, end, tasks);
    for (size_t i = 0; i < tasks.size(); ++i)
      table[0][table[0].size() - tasks.size() + i] +=
          ", " + Samples(begin, end, tasks[i], "–");
    return Heading(begin, end) + "\n" + Markdown(table);
  });
}

std::string NeedleCsv(const std::vector<NeedleCell>& cells) {
  std::string out =
      "length,task,policy,keep,samples,accuracy,low,high,kept_share,"
      "prompt_tokens,median_coverage\n";
  for (const NeedleCell& cell : cells) {
    out += std::to_string(cell.length) + "," + CsvField(cell.task) + "," +
           CsvField(cell.policy) + "," + CsvField(cell.keep) + "," +
           std::to_string(cell.samples);
    for (double value : {cell.accuracy, cell.interval.low, cell.interval.high,
                         cell.kept_share})
      out += Format(",%.6f", value);
    out += Format(",%.1f,", cell.prompt_tokens);
    if (cell.median_coverage >= 0) out += Format("%.6f", cell.median_coverage);
    out += "\n";
  }
  return out;
}

nlohmann::ordered_json NeedleJson(const nlohmann::ordered_json& settings,
                                  const std::vector<NeedleCell>& cells) {
  nlohmann::ordered_json json;
  json["settings"] = settings;
  json["cells"] = nlohmann::ordered_json::array();
  for (const NeedleCell& cell : cells) {
    nlohmann::ordered_json one;
    one["length"] = cell.length;
    one["task"] = cell.task;
    one["policy"] = cell.policy;
    one["keep"] = cell.keep;
    one["samples"] = cell.samples;
    one["accuracy"] = cell.accuracy;
    one["low"] = cell.interval.low;
    one["high"] = cell.interval.high;
    one["kept_share"] = cell.kept_share;
    one["prompt_tokens"] = cell.prompt_tokens;
    if (cell.median_coverage >= 0)
      one["median_coverage"] = cell.median_coverage;
    json["cells"].push_back(std::move(one));
  }
  return json;
}

std::string LengthName(size_t length) {
  if (length != 0 && length % 1024 == 0)
    return std::to_string(length / 1024) + "k";
  return std::to_string(length);
}

std::vector<NeedleMap> NeedleMaps(const std::vector<NeedleRecord>& records,
                                  const std::string& subject) {
  std::set<size_t> lengths;
  std::set<double> depths;
  std::set<std::pair<size_t, std::string>> tasks;
  std::map<std::tuple<Variant, double, size_t>, Mean> scores;
  for (const NeedleRecord& record : records) {
    if (!OnePlace(record.task)) continue;
    lengths.insert(record.length);
    depths.insert(record.depth);
    tasks.emplace(TaskRank(record.task), record.task);
    scores[{{record.policy, record.keep}, record.depth, record.length}].Add(
        record.score);
  }
  std::vector<NeedleMap> maps;
  if (lengths.empty()) return maps;
  std::string task_names = tasks.size() == 1 ? "Task: " : "Tasks: ";
  for (const auto& [rank, name] : tasks)
    task_names += (task_names.back() == ' ' ? "" : ", ") + name;
  const auto ranks = VariantRanks(records);
  std::vector<Variant> variants(ranks.size());
  for (const auto& [variant, rank] : ranks) variants[rank] = variant;
  for (const Variant& variant : variants) {
    NeedleMap one;
    one.name =
        variant.first == "full" ? "full" : variant.first + "-" + variant.second;
    // A file's name: "3%" would be awkward in a shell and in a URL.
    for (size_t at; (at = one.name.find('%')) != std::string::npos;)
      one.name.replace(at, 1, "pct");
    one.map.title = variant.first == "full"
                        ? "full: every key kept"
                        : variant.first + ", " + variant.second + " kept";
    for (size_t length : lengths) one.map.columns.push_back(LengthName(length));
    size_t fewest = SIZE_MAX, most = 0;
    for (double depth : depths) {
      one.map.rows.push_back(Format("%.0f %%", depth * 100));
      std::vector<double>& row = one.map.values.emplace_back();
      for (size_t length : lengths) {
        const auto found = scores.find({variant, depth, length});
        row.push_back(found == scores.end() ? -1 : found->second.Value() * 100);
        if (found == scores.end()) continue;
        fewest = std::min(fewest, found->second.count);
        most = std::max(most, found->second.count);
      }
    }
    one.map.notes = {subject, task_names,
                     "Answers in a cell: " + std::to_string(fewest) +
                         (most == fewest ? "" : " to " + std::to_string(most))};
    maps.push_back(std::move(one));
  }
  return maps;
}

}  // namespace dapple::tool
