// MachineLimits for people and for programs.
#ifndef DAPPLE_TOOLS_LIMITS_TEXT_H_
#define DAPPLE_TOOLS_LIMITS_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>

#include "dapple/machine_limits.h"

namespace dapple::tool {

// {"median", "min", "max"}, each times `factor`.
nlohmann::ordered_json SpreadJson(const Spread& spread, double factor = 1);
// Units are in the keys: int8_gops, read_gb_per_s, …
nlohmann::ordered_json LimitsJson(const MachineLimits& limits);
// A headline, a table of rates, a line of caches.
std::string LimitsText(const MachineLimits& limits);
// The same rates as comma-separated values, a head first.
std::string LimitsCsv(const MachineLimits& limits);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_LIMITS_TEXT_H_
