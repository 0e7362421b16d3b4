// Memory that runs out anywhere: one clear message, an exit code, nothing
// left behind. DAPPLE_MEMORY_SLOW=1: at many more places.
#include <algorithm>
#include <cstring>

#include "dapple_run.h"

namespace dapple::test {
namespace {

struct Failing {
  std::string name;
  std::vector<std::string> arguments;
};

// Fails the allocation with that number; all later ones too if `onward`.
DappleOutcome RunFailing(const DiskFolder& folder,
                         const std::vector<std::string>& arguments, long at,
                         bool onward) {
  std::vector<std::string> before = {"/usr/bin/env",
                                     "LD_PRELOAD=" + Env("DAPPLE_FAIL_ALLOC"),
                                     "FAIL_ALLOC_COUNT=" + (folder / "count"),
                                     "FAIL_ALLOC_AT=" + std::to_string(at)};
  if (onward) before.push_back("FAIL_ALLOC_ONWARD=1");
  return RunDapple(folder, arguments, nullptr, before, 120);
}

long Count(const DiskFolder& folder,
           const std::vector<std::string>& arguments) {
  const DappleOutcome outcome = RunFailing(folder, arguments, 0, false);
  CAPTURE(outcome.err);
  REQUIRE(outcome.child.exit_code == 0);
  return std::atol(Contents(folder / "count").c_str());
}

// Points dense at the start, where libraries are set up, then evenly.
std::vector<long> Points(long count, size_t spread) {
  std::vector<long> points = {1, 2, 3, 10, 50, 200, 1000, count - 2, count};
  for (size_t i = 1; i < spread; ++i)
    points.push_back(count * static_cast<long>(i) / static_cast<long>(spread));
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  std::erase_if(points, [&](long at) { return at < 1 || at > count; });
  return points;
}

TEST_CASE("an allocation that fails ends in one message or none at all") {
  const DiskFolder folder;
  const std::string text = folder / "text.txt";
  std::ofstream(text) << Prose(60);
  const bool slow = std::getenv("DAPPLE_MEMORY_SLOW") != nullptr;
  const Failing commands[] = {
      {"summarize",
       {"summarize", "--quiet", "--length", "short", "-t", "2", "--ram", "1T",
        "--schedule", "exact-spill", "--weights", "streamed", "--spill",
        folder.spill(), text}},
      {"plan", {"plan", "--tokens", "2k", "--ram", "1T"}}};
  for (const Failing& command : commands) {
    const DappleOutcome good = RunDapple(folder, command.arguments);
    REQUIRE(good.child.exit_code == 0);
    const long count = Count(folder, command.arguments);
    REQUIRE(count > 1000);
    size_t refused = 0;
    for (const bool onward : {false, true}) {
      for (const long at : Points(count, slow ? 200 : 8)) {
        const DappleOutcome outcome =
            RunFailing(folder, command.arguments, at, onward);
        CAPTURE(command.name);
        CAPTURE(at);
        CAPTURE(onward);
        CAPTURE(outcome.err);
        CAPTURE(outcome.child.signal);
        CHECK_FALSE(outcome.child.timed_out);
        CHECK(folder.SpillIsEmpty());
        if (outcome.child.exit_code == 0) {
          // Something could do without it; then nothing else may differ.
          // (A plan holds what is resident at the moment.)
          if (command.name != "plan") CHECK(outcome.out == good.out);
          continue;
        }
        ++refused;
        CHECK(outcome.child.signal == 0);
        CHECK((outcome.child.exit_code == 1 || outcome.child.exit_code == 3));
        CHECK(outcome.ErrorLines() == 1);
      }
    }
    CHECK(refused > 5);
  }
}

}  // namespace
}  // namespace dapple::test
