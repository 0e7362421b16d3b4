// Footprint: what was measured of runs of the same text by several runtimes or
// schedules, and how it is told.
#ifndef DAPPLE_TOOLS_FOOTPRINT_H_
#define DAPPLE_TOOLS_FOOTPRINT_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"
#include "line_chart.h"
#include "text_table.h"

namespace dapple::tool {

// One line of the chart: a way to run Dapple, or another runtime.
struct FootprintSeries {
  // Of Dapple. "full" is the exact schedule with everything kept, the others
  // are --schedule's names.
  std::string schedule, weights, keep;
  // Of another runtime: its name and its command template.
  std::string peer, command;

  bool is_peer() const { return !peer.empty(); }
  // "streaming, keep 256, weights streamed"
  std::string Name() const;
  bool operator==(const FootprintSeries&) const = default;
};

// All combinations, in this order; "full" once for each of the weights.
std::vector<FootprintSeries> FootprintSeriesOf(
    const std::vector<std::string>& schedules,
    const std::vector<std::string>& weights,
    const std::vector<std::string>& keeps);
// "NAME=COMMAND". kInvalidArgument when either is missing or the command has a
// placeholder that is not known.
Result<FootprintSeries> ParsePeer(const std::string& text);

// `command` with each {name} replaced by its value, quoted for a shell; {{ and
// }} are braces. kInvalidArgument names an unknown placeholder.
Result<std::string> ExpandTemplate(
    std::string_view command, const std::map<std::string, std::string>& values);

struct FootprintRun {
  FootprintSeries series;
  size_t length = 0;    // tokens of the text
  std::string weights;  // as taken, where series.weights was auto
  std::string kv;
  uint64_t planned_bytes = 0;  // 0: unknown
  uint64_t peak_bytes = 0;     // resident set
  uint64_t group_bytes = 0;    // of its control group; 0: unknown
  double first_token_s = -1;   // -1: unknown, as below
  double decode_per_s = -1;
  double wall_s = -1;
  double joules = -1;
  // "ok", "does not fit", "out of memory", "timed out" or "failed".
  std::string outcome;
  std::string message;  // why not
  // Run once more in a control group limited to its plan (--enforce): "":
  // not done, "same answer", "other answer", or an outcome as above.
  std::string enforced;
};

nlohmann::ordered_json ToJson(const FootprintRun& run);
// May throw nlohmann's exceptions.
FootprintRun FootprintRunFromJson(const nlohmann::ordered_json& json);

// By series in order of appearance, then by length.
std::string FootprintCsv(const std::vector<FootprintRun>& runs);
TextTable FootprintTable(const std::vector<FootprintRun>& runs);
// Peak resident set against length. cap_bytes 0: no line for it.
LineChart FootprintChart(const std::vector<FootprintRun>& runs,
                         const std::string& model, uint64_t cap_bytes,
                         const std::string& note);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_FOOTPRINT_H_
