// The parts of `dapple bench`: one file each.
#ifndef DAPPLE_TOOLS_BENCH_H_
#define DAPPLE_TOOLS_BENCH_H_

#include "command.h"

namespace dapple::tool {

void AddBenchEviction(CLI::App& bench, Run& run);
void AddBenchFootprint(CLI::App& bench, Run& run);
void AddBenchLimits(CLI::App& bench, Run& run);
void AddBenchRun(CLI::App& bench, Run& run);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_BENCH_H_
