#include "util/cpu_info.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>

namespace dapple {
namespace {

// The integer in a one-number sysfs file, or `fallback`.
int ReadInt(const std::string& path, int fallback) {
  std::ifstream file(path);
  int value;
  return (file >> value) ? value : fallback;
}

}  // namespace

int UsablePhysicalCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::map<std::pair<int, int>, int> cores;  // (package, core) -> capacity
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string base =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/";
    // The kernel reports a capacity only where cores differ.
    cores.try_emplace({ReadInt(base + "topology/physical_package_id", 0),
                       ReadInt(base + "topology/core_id", cpu)},
                      ReadInt(base + "cpu_capacity", 1024));
  }
  int largest = 0;
  for (const auto& [core, capacity] : cores)
    largest = std::max(largest, capacity);
  // The little cores of big.LITTLE would only be waited for.
  const auto big = std::count_if(
      cores.begin(), cores.end(),
      [&](const auto& core) { return core.second >= largest / 2; });
  return std::max<int>(1, static_cast<int>(big));
}

std::string CpuModelName() {
  // Boards name themselves here; a processor of ARM's has but numbers.
  std::ifstream board("/proc/device-tree/model");
  std::string name;
  if (std::getline(board, name, '\0') && !name.empty()) return name;
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos || colon + 2 > line.size()) break;
    return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace dapple
