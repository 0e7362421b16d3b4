#include "util/cpu_pinning.h"

#include <sched.h>

#include <fstream>
#include <set>
#include <string>

namespace dapple {

std::vector<int> PinningOrder() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return {0};
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

bool PinThisThread(int cpu) {
  cpu_set_t only;
  CPU_ZERO(&only);
  if (cpu < 0 || cpu >= CPU_SETSIZE) return false;
  CPU_SET(cpu, &only);
  return sched_setaffinity(0, sizeof(only), &only) == 0;
}

}  // namespace dapple
