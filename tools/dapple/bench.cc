#include "bench.h"

namespace dapple::tool {

void AddBench(CLI::App& root, Run& run) {
  CLI::App* bench = root.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);
  AddBenchEviction(*bench, run);
}

}  // namespace dapple::tool
