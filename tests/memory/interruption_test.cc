// Signals and full disks while the residual stream is spilled.
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "dapple_run.h"

namespace dapple::test {
namespace {

std::vector<std::string> Spilling(const DiskFolder& folder,
                                  const std::string& text) {
  return {"generate",   "--raw",
          "--json",     "--progress",
          "plain",      "--beyond-context",
          "-f",         text,
          "-n",         "4",
          "-t",         "2",
          "--schedule", "exact-spill",
          "--spill",    folder.spill(),
          "--keep",     "64",
          "--ram",      "1T"};
}

struct Ended {
  int code = -1;
  int signal = 0;
  bool spilled = false;  // it held a file of the folder, without a name
};

// Whether the process has a file of the folder open that has no name there.
bool HoldsNamelessFile(pid_t process, const std::string& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(
           "/proc/" + std::to_string(process) + "/fd", error)) {
    const std::string target =
        std::filesystem::read_symlink(entry.path(), error).string();
    if (target.starts_with(folder) && target.ends_with("(deleted)"))
      return true;
  }
  return false;
}

// Starts a run and sends it `signal` once it spills.
Ended Interrupt(const DiskFolder& folder,
                const std::vector<std::string>& arguments, int signal) {
  std::vector<std::string> words = {Env("DAPPLE_BINARY")};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const std::string out = folder / "out", err = folder / "err";
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (std::freopen(out.c_str(), "w", stdout) == nullptr ||
        std::freopen(err.c_str(), "w", stderr) == nullptr)
      _exit(99);
    execv(pointers[0], pointers.data());
    _exit(98);
  }
  Ended ended;
  int state = 0;
  for (int i = 0; i < 60000; ++i) {
    ended.spilled = HoldsNamelessFile(child, folder.spill());
    if (ended.spilled || waitpid(child, &state, WNOHANG) == child) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  REQUIRE(ended.spilled);
  CHECK(folder.SpillIsEmpty());  // also while it runs
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  kill(child, signal);
  REQUIRE(waitpid(child, &state, 0) == child);
  if (WIFEXITED(state)) ended.code = WEXITSTATUS(state);
  if (WIFSIGNALED(state)) ended.signal = WTERMSIG(state);
  return ended;
}

TEST_CASE("no signal leaves a file behind, and the gentle ones report") {
  const DiskFolder folder;
  const std::string text = folder / "text.txt";
  std::ofstream(text) << Prose(9000);
  for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
    CAPTURE(signal);
    const Ended ended = Interrupt(folder, Spilling(folder, text), signal);
    CHECK(folder.SpillIsEmpty());
    if (signal == SIGKILL) {
      CHECK(ended.signal == SIGKILL);
    } else {
      CHECK(ended.signal == 0);
      CHECK(ended.code == 130);
      const auto json = nlohmann::json::parse(Contents(folder / "out"));
      CHECK(json["stop"] == "interrupted");
    }
  }
}

TEST_CASE("a spill file that may not grow is refused before any work") {
  const DiskFolder folder;
  const std::string text = folder / "text.txt";
  std::ofstream(text) << Prose(900);
  std::string command = "ulimit -f 64; exec \"$0\" \"$@\"";
  const DappleOutcome outcome = RunDapple(folder, Spilling(folder, text),
                                          nullptr, {"/bin/sh", "-c", command});
  CAPTURE(outcome.err);
  CHECK(outcome.child.signal == 0);
  CHECK(outcome.child.exit_code == 1);
  CHECK(outcome.err.find(folder.spill() + ": cannot reserve") !=
        std::string::npos);
  CHECK(outcome.out.empty());
  CHECK(folder.SpillIsEmpty());
}

// Needs root, and a kernel that mounts files: else it is skipped.
TEST_CASE("a full disk is refused before any work") {
  const DiskFolder folder;
  const std::string text = folder / "text.txt";
  std::ofstream(text) << Prose(900);
  const std::string image = folder / "disk.img", mount = folder / "mount";
  std::filesystem::create_directories(mount);
  const std::string make = "(dd if=/dev/zero of='" + image +
                           "' bs=1k count=1024 && mkfs.ext2 -q "
                           "-F '" +
                           image + "' && mount -o loop '" + image + "' '" +
                           mount + "') >/dev/null 2>&1";
  if (geteuid() != 0 || std::system(make.c_str()) != 0) {
    MESSAGE("skipped: no file system can be mounted here");
    return;
  }
  auto arguments = Spilling(folder, text);
  for (std::string& argument : arguments)
    if (argument == folder.spill()) argument = mount;
  const DappleOutcome outcome = RunDapple(folder, arguments);
  CHECK(std::system(("umount '" + mount + "'").c_str()) == 0);
  CAPTURE(outcome.err);
  CHECK(outcome.child.exit_code == 1);
  CHECK(outcome.err.find("No space left on device") != std::string::npos);
  CHECK(outcome.err.find(mount) != std::string::npos);
  CHECK(outcome.out.empty());
}

}  // namespace
}  // namespace dapple::test
