#include "limits_text.h"

#include "dapple/memory_plan.h"
#include "text_table.h"

namespace dapple::tool {
namespace {

constexpr double kGiga = 1e9;

struct Row {
  const char* name;
  const char* key;
  const char* unit;
  const Limit* limit;
};

std::vector<Row> Rows(const MachineLimits& limits) {
  return {{"int8 dot", "int8_gops", "GOPS", &limits.int8_ops},
          {"int16 dot", "int16_gops", "GOPS", &limits.int16_ops},
          {"bf16 dot", "bf16_gflops", "GFLOPS", &limits.bf16_ops},
          {"f32", "f32_gflops", "GFLOPS", &limits.f32_ops},
          {"memory read", "read_gb_per_s", "GB/s", &limits.read_bytes}};
}

std::string SpreadText(const Spread& spread) {
  if (spread.median == 0) return "-";
  return Format("%.1f", spread.median / kGiga) + " (" +
         Format("%.1f", spread.min / kGiga) + "-" +
         Format("%.1f", spread.max / kGiga) + ")";
}

std::string CpuList(const MachineLimits& limits) {
  std::string list;
  for (const int cpu : limits.cpus)
    list += (list.empty() ? "" : ",") + std::to_string(cpu);
  return list;
}

}  // namespace

nlohmann::ordered_json SpreadJson(const Spread& spread, double factor) {
  return {{"median", spread.median * factor},
          {"min", spread.min * factor},
          {"max", spread.max * factor}};
}

nlohmann::ordered_json LimitsJson(const MachineLimits& limits) {
  nlohmann::ordered_json json;
  json["processor"] = limits.processor;
  json["target"] = limits.target;
  json["threads"] = limits.threads;
  json["cpus"] = limits.cpus;
  for (const Row& row : Rows(limits)) {
    if (row.limit->all.median == 0)
      json[row.key] = nullptr;
    else
      json[row.key] = {{"one", SpreadJson(row.limit->one, 1 / kGiga)},
                       {"all", SpreadJson(row.limit->all, 1 / kGiga)}};
  }
  json["caches"] = nlohmann::ordered_json::array();
  for (const CacheSize& cache : limits.caches)
    json["caches"].push_back({{"level", cache.level},
                              {"type", cache.type},
                              {"bytes", cache.bytes},
                              {"shared_by", cache.shared_by}});
  return json;
}

std::string LimitsText(const MachineLimits& limits) {
  std::string text =
      limits.processor + ", " + limits.target + ", " +
      std::to_string(limits.threads) + " threads" +
      (limits.cpus.empty() ? ", not pinned"
                           : " on processors " + CpuList(limits)) +
      "; median (min-max)\n";
  TextTable table = {{"", "unit", "one thread", "all threads"}};
  for (const Row& row : Rows(limits))
    table.push_back({row.name, row.unit, SpreadText(row.limit->one),
                     SpreadText(row.limit->all)});
  text += Laid(table);
  std::string caches;
  for (const CacheSize& cache : limits.caches) {
    if (cache.type == "Instruction") continue;
    caches += (caches.empty() ? "caches: L" : ", L") +
              std::to_string(cache.level) + " " + BytesText(cache.bytes) +
              " (processors " + cache.shared_by + ")";
  }
  return caches.empty() ? text : text + caches + "\n";
}

std::string LimitsCsv(const MachineLimits& limits) {
  std::string text = "limit,unit,threads,median,min,max\n";
  for (const Row& row : Rows(limits)) {
    for (const auto& [threads, spread] :
         {std::pair{1, &row.limit->one},
          std::pair{limits.threads, &row.limit->all}})
      text += CsvField(row.name) + "," + row.unit + "," +
              std::to_string(threads) + "," +
              Format("%.4g", spread->median / kGiga) + "," +
              Format("%.4g", spread->min / kGiga) + "," +
              Format("%.4g", spread->max / kGiga) + "\n";
  }
  return text;
}

}  // namespace dapple::tool
