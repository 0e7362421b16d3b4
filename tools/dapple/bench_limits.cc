// dapple bench limits: what this machine can do at most.

#include <cstdio>
#include <memory>

#include "bench.h"
#include "limits_text.h"

namespace dapple::tool {
namespace {

struct Options {
  LimitOptions limits;
  bool json = false;
  bool csv = false;
};

Status RunLimits(const Options& options) {
  DAPPLE_ASSIGN_OR_RETURN(const MachineLimits limits,
                          MeasureMachineLimits(options.limits));
  const std::string text = options.json  ? LimitsJson(limits).dump() + "\n"
                           : options.csv ? LimitsCsv(limits)
                                         : LimitsText(limits);
  std::printf("%s", text.c_str());
  if (std::fflush(stdout) != 0)
    return IoError("standard output: cannot be written");
  return Status::Ok();
}

}  // namespace

void AddBenchLimits(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "limits", "This machine's peak rates, read bandwidth and caches");
  command
      ->add_option("-t,--threads", options->limits.threads,
                   "threads; 0: one per physical core")
      ->check(CLI::Range(0, 1024))
      ->type_name("N");
  command->add_option("--repeat", options->limits.repeat, "rounds")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--seconds", options->limits.seconds,
                   "length of each measurement")
      ->check(CLI::Range(0.001, 10.0))
      ->capture_default_str();
  auto* json = command->add_flag("--json", options->json, "one JSON object");
  command->add_flag("--csv", options->csv, "comma-separated values")
      ->excludes(json);
  command->callback([options, &run] {
    run = [options] {
      const Status status = RunLimits(*options);
      return status.ok() ? int{kExitOk} : Fail(status);
    };
  });
}

}  // namespace dapple::tool
