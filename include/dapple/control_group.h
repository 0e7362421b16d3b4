// The control groups that may limit this process's memory.
#ifndef DAPPLE_CONTROL_GROUP_H_
#define DAPPLE_CONTROL_GROUP_H_

#include <string>
#include <vector>

namespace dapple {

struct ControlGroup {
  std::string folder;  // "/sys/fs/cgroup/system.slice"
  bool v2 = false;     // version 2's files, else version 1's
  bool top = false;    // no group is above it

  bool operator==(const ControlGroup&) const = default;
};

// The group this process is in and those above it, the innermost first, by the
// words of /proc/self/cgroup: their folders need not exist. Where both versions
// are mounted there is a chain of each. `root` stands before /proc and /sys
// (tests).
std::vector<ControlGroup> FindMemoryGroups(const std::string& root = "");

}  // namespace dapple

#endif  // DAPPLE_CONTROL_GROUP_H_
