// Options about memory that every command which runs a model shares.
#ifndef DAPPLE_TOOLS_MEMORY_FLAGS_H_
#define DAPPLE_TOOLS_MEMORY_FLAGS_H_

#include <CLI/App.hpp>
#include <string>

#include "dapple/engine.h"

namespace dapple::tool {

struct MemoryFlags {
  std::string ram;  // "": what the machine has, less a margin
  std::string schedule = "auto";
  std::string weights = "auto";
  std::string kv = "auto";
  std::string spill;
  size_t chunk = 1024;

  void AddTo(CLI::App& command);
  // Fills `memory`; says in *cap_source where the cap comes from ("--ram",
  // "the machine, less 5 %").
  Status Apply(MemoryOptions* memory, std::string* cap_source) const;
};

// The report as a table on `out`: the chosen schedule's parts, then every
// schedule's total.
void PrintPlan(const PlanReport& report, const std::string& cap_source,
               std::FILE* out);
// The same as one JSON object.
std::string PlanJson(const PlanReport& report, const std::string& cap_source);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_MEMORY_FLAGS_H_
