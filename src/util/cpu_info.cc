#include "util/cpu_info.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "util/parallel.h"

namespace dapple {
namespace {

// The integer in a one-number sysfs file, or `fallback`.
int ReadInt(const std::string& path, int fallback) {
  std::ifstream file(path);
  int value;
  return (file >> value) ? value : fallback;
}

// Empty when the system does not say.
cpu_set_t AllowedProcessors() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) CPU_ZERO(&allowed);
  for (int cpu : ProcessorsOfPlaces())
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &allowed);
  return allowed;
}

}  // namespace

std::vector<int> UsableCores() {
  const cpu_set_t allowed = AllowedProcessors();
  struct Core {
    int cpu;  // the first of its siblings
    int capacity;
  };
  std::map<std::pair<int, int>, Core> cores;  // by (package, core)
  int largest = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string base =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/";
    // The kernel reports a capacity only where cores differ.
    const Core core{cpu, ReadInt(base + "cpu_capacity", 1024)};
    cores.try_emplace({ReadInt(base + "topology/physical_package_id", 0),
                       ReadInt(base + "topology/core_id", cpu)},
                      core);
    largest = std::max(largest, core.capacity);
  }
  std::vector<int> cpus;
  for (const auto& [place, core] : cores)
    if (core.capacity >= largest / 2) cpus.push_back(core.cpu);
  return cpus.empty() ? std::vector<int>{0} : cpus;
}

int UsablePhysicalCores() { return static_cast<int>(UsableCores().size()); }

std::vector<int> PinningOrder() {
  const cpu_set_t allowed = AllowedProcessors();
  std::set<std::string> cores;
  std::vector<int> first, siblings;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    // The list of a core's siblings names the core.
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string core;
    if (!std::getline(file, core)) core = std::to_string(cpu);
    (cores.insert(core).second ? first : siblings).push_back(cpu);
  }
  first.insert(first.end(), siblings.begin(), siblings.end());
  if (first.empty()) first.push_back(0);
  return first;
}

bool PinThread(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  if (cpu < 0 || cpu >= CPU_SETSIZE) return false;
  CPU_SET(static_cast<size_t>(cpu), &one);
  return sched_setaffinity(0, sizeof(one), &one) == 0;
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
