#include "dapple/control_group.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "temporary_folder.h"

namespace dapple {
namespace {

TEST_CASE("memory control groups are listed from the innermost outwards") {
  const TemporaryFolder root;
  CHECK(FindMemoryGroups(root.Path("none")).empty());
  std::filesystem::create_directories(root.Path("proc/self"));
  const auto found = [&](const std::string& text) {
    root.Write("proc/self/cgroup", text);
    std::vector<ControlGroup> groups = FindMemoryGroups(root.Path(""));
    for (ControlGroup& group : groups)
      group.folder.erase(0, root.Path("").size());
    return groups;
  };
  using Groups = std::vector<ControlGroup>;
  // Both versions at once, as Debian had it until systemd changed over.
  CHECK(found("5:cpu,memory:/a/b:c\n3:cpu:/d\n0::/e\n") ==
        Groups{{"/sys/fs/cgroup/memory/a/b:c", false, false},
               {"/sys/fs/cgroup/memory/a", false, false},
               {"/sys/fs/cgroup/memory", false, true},
               {"/sys/fs/cgroup/e", true, false},
               {"/sys/fs/cgroup", true, true}});
  CHECK(found("0::/\n") == Groups{{"/sys/fs/cgroup", true, true}});
  CHECK(found("7:memory_other:/a\nmemory\n::\n:\n\n") ==
        Groups{{"/sys/fs/cgroup", true, true}});  // "::" names no controller
  CHECK(found("1:name=systemd:/a\n").empty());
  CHECK(found("0::a/b\n") == Groups{{"/sys/fs/cgroup", true, true}});
}

}  // namespace
}  // namespace dapple
