// What the operating system says of this machine's processors.
#ifndef DAPPLE_UTIL_CPU_INFO_H_
#define DAPPLE_UTIL_CPU_INFO_H_

#include <string>

namespace dapple {

// Physical cores in this process's affinity mask (SMT siblings counted once);
// at least 1. Reads /sys/devices/system/cpu/cpu*/topology.
int UsablePhysicalCores();

// "AMD EPYC" and the like from /proc/cpuinfo; "unknown processor" otherwise.
std::string CpuModelName();

}  // namespace dapple

#endif  // DAPPLE_UTIL_CPU_INFO_H_
