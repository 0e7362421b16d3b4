// The cap of a run for which none was named.
#ifndef DAPPLE_DEFAULT_CAP_H_
#define DAPPLE_DEFAULT_CAP_H_

#include <string>

#include "dapple/memory_plan.h"

namespace dapple {

// FindAvailableMemory, less a twentieth (at least 32 MiB) that the rest of the
// machine may want meanwhile; source says both.
AvailableMemory FindDefaultCap(const std::string& root = "");

}  // namespace dapple

#endif  // DAPPLE_DEFAULT_CAP_H_
