#include "bench.h"

namespace dapple::tool {

void AddBench(CLI::App& root, Run& run) {
  CLI::App* bench = root.add_subcommand("bench", "Measure speed and memory");
  bench->require_subcommand(1);
  AddBenchLimits(*bench, run);
  AddBenchRun(*bench, run);
  AddBenchEviction(*bench, run);
  AddBenchFootprint(*bench, run);
}

}  // namespace dapple::tool
