#include "memory_group.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "dapple/control_group.h"

namespace dapple::tool {
namespace {

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

bool WriteNumber(const std::string& path, uint64_t number) {
  std::ofstream file(path);
  file << number << std::flush;
  return file.good();
}

// Where a group may be made. First the top, which holds no processes of its
// own (version 2 gives no controllers to children of a group that does); then
// where this process is, and above it, for delegated subtrees.
std::vector<ControlGroup> Parents(const std::string& root) {
  const std::string v1 = root + "/sys/fs/cgroup/memory";
  const std::string v2 = root + "/sys/fs/cgroup";
  std::vector<ControlGroup> parents;
  if (Exists(v1 + "/memory.usage_in_bytes"))
    parents.push_back({v1, false, true});
  if (Exists(v2 + "/cgroup.controllers")) parents.push_back({v2, true, true});
  for (ControlGroup& group : FindMemoryGroups(root))
    if (!group.top) parents.push_back(std::move(group));
  return parents;
}

// "name 12" among a file's lines; 0 when absent.
uint64_t NamedNumber(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string key;
  uint64_t value = 0;
  while (file >> key >> value)
    if (key == name) return value;
  return 0;
}

}  // namespace

MemoryGroup::MemoryGroup(std::string folder, bool v2)
    : folder_(std::move(folder)),
      entrance_(folder_ + "/cgroup.procs"),
      v2_(v2) {}

MemoryGroup::~MemoryGroup() {
  // A process that has just ended may still be on its way out.
  for (int attempt = 0; attempt < 200; ++attempt) {
    if (rmdir(folder_.c_str()) == 0 || errno != EBUSY) return;
    usleep(10000);
  }
}

Result<std::unique_ptr<MemoryGroup>> MemoryGroup::Create(
    uint64_t limit_bytes, const std::string& root) {
  static std::atomic<unsigned> count = 0;
  const std::string name = "/dapple-" + std::to_string(getpid()) + "-" +
                           std::to_string(count.fetch_add(1));
  Status problem = Unsupported(
      "no memory control group can be made: the system has no controller for "
      "memory");
  for (const ControlGroup& parent : Parents(root)) {
    const std::string folder = parent.folder + name;
    if (mkdir(folder.c_str(), 0755) != 0) {
      problem =
          Unsupported("no memory control group can be made: " + parent.folder +
                      ": " + std::strerror(errno));
      continue;
    }
    std::unique_ptr<MemoryGroup> group(new MemoryGroup(folder, parent.v2));
    if (!Exists(folder + (parent.v2 ? "/memory.max" : "/memory.stat"))) {
      problem =
          Unsupported("no memory control group can be made: " + parent.folder +
                      " does not lend its memory controller");
      continue;
    }
    if (limit_bytes != 0) {
      problem = group->Limit(limit_bytes);
      if (!problem.ok()) continue;
    }
    return group;
  }
  return problem;
}

Status MemoryGroup::Limit(uint64_t bytes) const {
  const std::string limit =
      folder_ + (v2_ ? "/memory.max" : "/memory.limit_in_bytes");
  if (!WriteNumber(limit, bytes))
    return Unsupported("no limit can be set: " + limit + ": " +
                       std::strerror(errno));
  // Absent where the kernel was built or started without accounts of swap.
  const std::string swap =
      folder_ + (v2_ ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes");
  if (Exists(swap)) WriteNumber(swap, v2_ ? 0 : bytes);
  return Status::Ok();
}

uint64_t MemoryGroup::PeakBytes() const {
  std::ifstream file(folder_ +
                     (v2_ ? "/memory.peak" : "/memory.max_usage_in_bytes"));
  uint64_t bytes = 0;
  return file >> bytes ? bytes : 0;
}

uint64_t MemoryGroup::Kills() const {
  return NamedNumber(folder_ + (v2_ ? "/memory.events" : "/memory.oom_control"),
                     "oom_kill");
}

void DropCachedPages(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  fsync(file);  // unwritten pages stay
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  close(file);
}

}  // namespace dapple::tool
