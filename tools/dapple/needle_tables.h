// The results of `dapple eval needle`: cells, tables, CSV, JSON, heat maps.
#ifndef DAPPLE_TOOLS_NEEDLE_TABLES_H_
#define DAPPLE_TOOLS_NEEDLE_TABLES_H_

#include <string>
#include <vector>

#include "heat_map.h"
#include "needle_score.h"
#include "needle_store.h"

namespace dapple::tool {

// One task × length × policy × keep.
struct NeedleCell {
  std::string task;
  size_t length = 0;
  std::string policy;
  std::string keep;
  size_t samples = 0;
  double accuracy = 0;    // [0, 1]
  Interval interval;      // 95 %
  double kept_share = 0;  // means from here on
  double prompt_tokens = 0;
  double median_coverage = -1;  // negative: the policy has no probe
};

// Ordered by length; then by policy as they first appear among the records and
// by growing budget; then by task as NeedleTasks() has them. Does not depend on
// the order of samples within a cell.
std::vector<NeedleCell> NeedleCells(const std::vector<NeedleRecord>& records);

// A table a length: policies down, tasks across, percent with the interval.
std::string NeedleTables(const std::vector<NeedleCell>& cells);
// The same in Markdown, all tasks of a length in one table, with the samples
// of each.
std::string NeedleMarkdown(const std::vector<NeedleCell>& cells);
// RFC 4180, with a header line.
std::string NeedleCsv(const std::vector<NeedleCell>& cells);
nlohmann::ordered_json NeedleJson(const nlohmann::ordered_json& settings,
                                  const std::vector<NeedleCell>& cells);

struct NeedleMap {
  std::string name;  // for a file: "dapq-256"
  HeatMap map;
};
// One a policy and keep, over all tasks whose answer lies in one place; none
// when there are no such tasks. `subject` names model and settings.
std::vector<NeedleMap> NeedleMaps(const std::vector<NeedleRecord>& records,
                                  const std::string& subject);

// "8k" for 8,192, "1000" for 1,000.
std::string LengthName(size_t length);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_TABLES_H_
