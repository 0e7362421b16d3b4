#include "dapple/memory_plan.h"

#include <fstream>
#include <string_view>

namespace dapple {
namespace {

// A "Name:  123 kB" line of /proc/self/status, in bytes; 0 when absent.
uint64_t StatusLine(std::string_view name) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (!std::string_view(line).starts_with(name)) continue;
    return std::stoull(line.substr(name.size())) * 1024;
  }
  return 0;
}

}  // namespace

uint64_t ResidentBytes() { return StatusLine("VmRSS:"); }
uint64_t PeakResidentBytes() { return StatusLine("VmHWM:"); }

}  // namespace dapple
