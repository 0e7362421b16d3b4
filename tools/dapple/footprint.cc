#include "footprint.h"

#include <algorithm>

#include "dapple/memory_plan.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMiB = 1024.0 * 1024.0;

// For POSIX shells: nothing is special between single quotes.
std::string ShellQuoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text)
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  return out + "'";
}

std::string OrEmpty(const char* format, double value) {
  return value < 0 ? "" : Format(format, value);
}

std::string MiB(uint64_t bytes) {
  return bytes == 0 ? "-" : Format("%.1f", static_cast<double>(bytes) / kMiB);
}

std::string OrDash(const char* format, double value) {
  return value < 0 ? "-" : Format(format, value);
}

std::vector<FootprintRun> Sorted(const std::vector<FootprintRun>& runs) {
  std::vector<FootprintSeries> order;
  const auto rank = [&](const FootprintSeries& series) {
    return std::find(order.begin(), order.end(), series) - order.begin();
  };
  for (const FootprintRun& run : runs)
    if (rank(run.series) == static_cast<long>(order.size()))
      order.push_back(run.series);
  std::vector<FootprintRun> sorted = runs;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const FootprintRun& a, const FootprintRun& b) {
                     const auto left = rank(a.series), right = rank(b.series);
                     return left != right ? left < right : a.length < b.length;
                   });
  return sorted;
}

}  // namespace

std::string FootprintSeries::Name() const {
  if (is_peer()) return peer;
  std::string name =
      schedule == "full" ? "full KV" : schedule + ", keep " + keep;
  if (weights != "auto") name += ", weights " + weights;
  return name;
}

std::vector<FootprintSeries> FootprintSeriesOf(
    const std::vector<std::string>& schedules,
    const std::vector<std::string>& weights,
    const std::vector<std::string>& keeps) {
  std::vector<FootprintSeries> all;
  const auto add = [&](FootprintSeries series) {
    if (std::find(all.begin(), all.end(), series) == all.end())
      all.push_back(std::move(series));
  };
  for (const std::string& schedule : schedules)
    for (const std::string& residency : weights)
      for (const std::string& keep : keeps)
        add({schedule, residency, schedule == "full" ? "all" : keep, "", ""});
  return all;
}

Result<FootprintSeries> ParsePeer(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    return InvalidArgument("--peer '" + text +
                           "': NAME=COMMAND is needed, as in "
                           "other='prog -m {model} -f {prompt_file} -n {n}'");
  FootprintSeries series;
  series.peer = text.substr(0, equals);
  series.command = text.substr(equals + 1);
  const auto expanded = ExpandTemplate(
      series.command,
      {{"model", ""}, {"prompt_file", ""}, {"n", ""}, {"threads", ""}});
  if (!expanded.ok())
    return InvalidArgument("--peer " + series.peer + ": " +
                           expanded.status().message());
  return series;
}

Result<std::string> ExpandTemplate(
    std::string_view command,
    const std::map<std::string, std::string>& values) {
  std::string out;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    const bool doubled = i + 1 < command.size() && command[i + 1] == c;
    if ((c == '{' || c == '}') && doubled) {
      out += c;
      ++i;
    } else if (c == '{') {
      const size_t end = command.find('}', i);
      if (end == std::string_view::npos)
        return InvalidArgument("a { that is not closed (write {{ for a brace)");
      const std::string name(command.substr(i + 1, end - i - 1));
      const auto value = values.find(name);
      if (value == values.end()) {
        std::string known;
        for (const auto& entry : values)
          known += (known.empty() ? "{" : ", {") + entry.first + "}";
        return InvalidArgument("unknown placeholder {" + name + "} (" + known +
                               "; write {{ for a brace)");
      }
      out += ShellQuoted(value->second);
      i = end;
    } else if (c == '}') {
      return InvalidArgument("a } without its { (write }} for a brace)");
    } else {
      out += c;
    }
  }
  return out;
}

Json ToJson(const FootprintRun& run) {
  Json json;
  json["series"] = run.series.Name();
  if (run.series.is_peer()) {
    json["peer"] = run.series.peer;
    json["command"] = run.series.command;
  } else {
    json["schedule"] = run.series.schedule;
    json["keep"] = run.series.keep;
    json["weights_asked"] = run.series.weights;
    json["weights"] = run.weights;
    json["kv"] = run.kv;
  }
  json["prompt_tokens"] = run.length;
  const auto known = [&](const char* key, auto value, bool is_known) {
    json[key] = is_known ? Json(value) : Json();
  };
  known("planned_bytes", run.planned_bytes, run.planned_bytes != 0);
  known("peak_rss_bytes", run.peak_bytes, run.peak_bytes != 0);
  known("group_peak_bytes", run.group_bytes, run.group_bytes != 0);
  known("first_token_s", run.first_token_s, run.first_token_s >= 0);
  known("decode_tokens_per_s", run.decode_per_s, run.decode_per_s >= 0);
  known("wall_s", run.wall_s, run.wall_s >= 0);
  known("joules", run.joules, run.joules >= 0);
  json["outcome"] = run.outcome;
  json["message"] = run.message;
  json["enforced"] = run.enforced;
  return json;
}

FootprintRun FootprintRunFromJson(const Json& json) {
  FootprintRun run;
  if (json.contains("peer")) {
    run.series.peer = json.at("peer");
    run.series.command = json.at("command");
  } else {
    run.series.schedule = json.at("schedule");
    run.series.keep = json.at("keep");
    run.series.weights = json.at("weights_asked");
    run.weights = json.at("weights");
    run.kv = json.at("kv");
  }
  run.length = json.at("prompt_tokens");
  const auto number = [&](const char* key, auto* value) {
    if (!json.at(key).is_null()) json.at(key).get_to(*value);
  };
  number("planned_bytes", &run.planned_bytes);
  number("peak_rss_bytes", &run.peak_bytes);
  number("group_peak_bytes", &run.group_bytes);
  number("first_token_s", &run.first_token_s);
  number("decode_tokens_per_s", &run.decode_per_s);
  number("wall_s", &run.wall_s);
  number("joules", &run.joules);
  run.outcome = json.at("outcome");
  run.message = json.at("message");
  run.enforced = json.at("enforced");
  return run;
}

std::string FootprintCsv(const std::vector<FootprintRun>& runs) {
  std::string csv =
      "series,schedule,keep,weights,kv,prompt_tokens,planned_bytes,"
      "peak_rss_bytes,group_peak_bytes,first_token_s,decode_tokens_per_s,"
      "wall_s,joules,outcome,enforced\n";
  for (const FootprintRun& run : Sorted(runs)) {
    const auto bytes = [](uint64_t value) {
      return value == 0 ? std::string() : std::to_string(value);
    };
    const std::string fields[] = {run.series.Name(),
                                  run.series.schedule,
                                  run.series.keep,
                                  run.weights,
                                  run.kv,
                                  std::to_string(run.length),
                                  bytes(run.planned_bytes),
                                  bytes(run.peak_bytes),
                                  bytes(run.group_bytes),
                                  OrEmpty("%.4f", run.first_token_s),
                                  OrEmpty("%.2f", run.decode_per_s),
                                  OrEmpty("%.3f", run.wall_s),
                                  OrEmpty("%.1f", run.joules),
                                  run.outcome,
                                  run.enforced};
    std::string line;
    for (const std::string& field : fields)
      line += (&field == fields ? "" : ",") + CsvField(field);
    csv += line + "\n";
  }
  return csv;
}

TextTable FootprintTable(const std::vector<FootprintRun>& runs) {
  bool joules = false, enforced = false;
  for (const FootprintRun& run : runs) {
    joules = joules || run.joules >= 0;
    enforced = enforced || !run.enforced.empty();
  }
  TextTable table = {{"", "tokens", "planned MiB", "peak MiB", "plan/peak",
                      "group MiB", "first token s", "decode/s", "wall s"}};
  if (joules) table[0].push_back("J");
  table[0].push_back("outcome");
  if (enforced) table[0].push_back("in its plan");
  for (const FootprintRun& run : Sorted(runs)) {
    const bool both = run.planned_bytes != 0 && run.peak_bytes != 0;
    std::vector<std::string> row = {
        run.series.Name() + (run.series.weights == "auto" &&
                                     !run.weights.empty() &&
                                     run.weights != "resident"
                                 ? " (weights " + run.weights + ")"
                                 : ""),
        std::to_string(run.length),
        MiB(run.planned_bytes),
        MiB(run.peak_bytes),
        both ? Format("%.3f", static_cast<double>(run.planned_bytes) /
                                  static_cast<double>(run.peak_bytes))
             : "-",
        MiB(run.group_bytes),
        OrDash("%.2f", run.first_token_s),
        OrDash("%.1f", run.decode_per_s),
        OrDash("%.2f", run.wall_s)};
    if (joules) row.push_back(OrDash("%.0f", run.joules));
    row.push_back(run.outcome);
    if (enforced) row.push_back(run.enforced.empty() ? "-" : run.enforced);
    table.push_back(std::move(row));
  }
  return table;
}

LineChart FootprintChart(const std::vector<FootprintRun>& runs,
                         const std::string& model, uint64_t cap_bytes,
                         const std::string& note) {
  LineChart chart;
  chart.title = "Peak memory by length of the prompt";
  chart.notes = {model};
  if (!note.empty()) chart.notes.push_back(note);
  chart.x_title = "prompt tokens";
  chart.y_title = "peak resident memory, MiB";
  if (cap_bytes != 0) {
    chart.limit = static_cast<double>(cap_bytes) / kMiB;
    chart.limit_name = "cap, " + BytesText(cap_bytes);
  }
  size_t missing = 0;
  for (const FootprintRun& run : Sorted(runs)) {
    const std::string name = run.series.Name();
    if (chart.series.empty() || chart.series.back().name != name)
      chart.series.push_back({name, {}});
    if (run.outcome == "ok" && run.peak_bytes != 0)
      chart.series.back().points.emplace_back(
          static_cast<double>(run.length),
          static_cast<double>(run.peak_bytes) / kMiB);
    else
      ++missing;
  }
  if (missing != 0)
    chart.notes.push_back(std::to_string(missing) +
                          (missing == 1 ? " run is" : " runs are") +
                          " not shown: did not fit, or failed");
  return chart;
}

}  // namespace dapple::tool
