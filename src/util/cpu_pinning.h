// Which processors a measurement may use, and staying on one of them.
#ifndef DAPPLE_UTIL_CPU_PINNING_H_
#define DAPPLE_UTIL_CPU_PINNING_H_

#include <vector>

namespace dapple {

// Processors that this process may use, in the order to use them in: one of
// each physical core, then their siblings. At least one entry.
std::vector<int> PinningOrder();

// Keeps the calling thread on that processor. False when the system refuses.
bool PinThisThread(int cpu);

}  // namespace dapple

#endif  // DAPPLE_UTIL_CPU_PINNING_H_
