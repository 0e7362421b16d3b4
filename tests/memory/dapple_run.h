// Runs of the built dapple command as processes of their own.
#ifndef DAPPLE_TESTS_MEMORY_DAPPLE_RUN_H_
#define DAPPLE_TESTS_MEMORY_DAPPLE_RUN_H_

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "../command_text.h"
#include "child_process.h"

namespace dapple::test {

// A folder on a disk (the build's own), removed at the end.
class DiskFolder {
 public:
  DiskFolder()
      : path_(std::filesystem::current_path() /
              ("memory-test-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_ / "spill");
  }
  ~DiskFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ / name; }
  std::string spill() const { return path_ / "spill"; }
  bool SpillIsEmpty() const { return std::filesystem::is_empty(spill()); }

 private:
  std::filesystem::path path_;
};

struct DappleOutcome {
  tool::ChildOutcome child;
  std::string out, err;

  size_t ErrorLines() const {
    size_t lines = 0;
    for (const char c : err) lines += c == '\n';
    return lines;
  }
};

// `before` stands before the program: {"env", "NAME=value"}, {"sh", "-c", …}.
inline DappleOutcome RunDapple(const DiskFolder& folder,
                               const std::vector<std::string>& arguments,
                               const tool::MemoryGroup* group = nullptr,
                               const std::vector<std::string>& before = {},
                               double timeout_s = 300) {
  tool::ChildCommand command;
  command.arguments = before;
  command.arguments.push_back(Env("DAPPLE_BINARY"));
  command.arguments.insert(command.arguments.end(), arguments.begin(),
                           arguments.end());
  command.out = folder / "out";
  command.err = folder / "err";
  command.group = group;
  command.timeout_s = timeout_s;
  const auto child = RunChild(command);
  REQUIRE_MESSAGE(child.ok(), child.status().message());
  return {*child, Contents(command.out), Contents(command.err)};
}

}  // namespace dapple::test

#endif  // DAPPLE_TESTS_MEMORY_DAPPLE_RUN_H_
