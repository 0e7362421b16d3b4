#include "dapple/control_group.h"

#include <fstream>

namespace dapple {

std::vector<ControlGroup> FindMemoryGroups(const std::string& root) {
  std::vector<ControlGroup> groups;
  // "4:cpu,memory:/path" (version 1) and "0::/path" (version 2).
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers =
        "," + line.substr(first + 1, second - first - 1) + ",";
    const bool v2 = controllers == ",,";
    if (!v2 && controllers.find(",memory,") == std::string::npos) continue;
    const std::string mount =
        root + (v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory");
    std::string path = line.substr(second + 1);
    while (path.size() > 1 && path[0] == '/') {
      groups.push_back({mount + path, v2, false});
      path.resize(path.find_last_of('/'));
    }
    groups.push_back({mount, v2, true});
  }
  return groups;
}

}  // namespace dapple
