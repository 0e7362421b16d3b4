#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "clock_text.h"
#include "dapple/cpu_report.h"
#include "info.h"

namespace dapple::tool {
namespace {

std::string Joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : " ") + name;
  return all.empty() ? "none" : all;
}

void PrintText(const CpuReport& cpu, const ClockLimits& clocks) {
  std::printf("%-18s %s, %s, %d %s\n", "processor",
              Printable(cpu.model).c_str(), cpu.architecture.c_str(), cpu.cores,
              cpu.cores == 1 ? "core" : "cores");
  std::printf("%-18s %s\n", "features", cpu.features.c_str());
  std::printf("%-18s %s\n", "targets", Joined(cpu.targets).c_str());
  std::printf("%-18s %s\n\n", "byte instructions",
              Joined(cpu.byte_instructions).c_str());
  for (const KernelChoice& kernel : cpu.kernels)
    std::printf("%-38s %-18s %s\n", kernel.kernel.c_str(),
                kernel.choice.c_str(), kernel.reason.c_str());
  std::printf("\n%s", ClockText(clocks).c_str());
}

void PrintJson(const CpuReport& cpu, const ClockLimits& clocks) {
  nlohmann::ordered_json json = {
      {"processor", cpu.model},
      {"architecture", cpu.architecture},
      {"cores", cpu.cores},
      {"features", cpu.features},
      {"targets", cpu.targets},
      {"byte_instructions", cpu.byte_instructions},
      {"kernels", nlohmann::ordered_json::array()},
  };
  for (const KernelChoice& kernel : cpu.kernels)
    json["kernels"].push_back({{"kernel", kernel.kernel},
                               {"choice", kernel.choice},
                               {"reason", kernel.reason}});
  json["clocks"] = ClockJson(clocks);
  std::printf("%s\n",
              json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace)
                  .c_str());
}

}  // namespace

void AddInfo(CLI::App& root, Run& run) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = root.add_subcommand(
      "info",
      "Show what this processor can do, which code runs on it and what "
      "holds it back");
  command->add_flag("--json", *json, "Print JSON");
  command->callback([json, &run] {
    run = [json]() -> int {
      const CpuReport cpu = DescribeCpu();
      const ClockLimits clocks = ReadClockLimits();
      if (*json)
        PrintJson(cpu, clocks);
      else
        PrintText(cpu, clocks);
      return kExitOk;
    };
  });
}

}  // namespace dapple::tool
