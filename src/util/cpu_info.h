// What the operating system says of this machine's processors.
#ifndef DAPPLE_UTIL_CPU_INFO_H_
#define DAPPLE_UTIL_CPU_INFO_H_

#include <string>
#include <vector>

namespace dapple {

// A processor number of each physical core that this process may use (SMT
// siblings counted once); at least one. Cores with less than half of the
// largest capacity, the little ones of big.LITTLE, are left out: they would
// only be waited for. Reads /sys/devices/system/cpu/cpu*.
std::vector<int> UsableCores();
int UsablePhysicalCores();  // how many

// Processors that this process may use, in the order to use them in: one of
// each physical core, then their siblings. At least one entry.
std::vector<int> PinningOrder();

// Keeps the calling thread on one processor. Whether the system did.
bool PinThread(int cpu);

// "AMD EPYC" and the like from /proc/cpuinfo; "unknown processor" otherwise.
std::string CpuModelName();

}  // namespace dapple

#endif  // DAPPLE_UTIL_CPU_INFO_H_
