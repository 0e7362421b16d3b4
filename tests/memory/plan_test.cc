// The plan holds: what a run measures is no more than what it planned, the
// plan no more than a tenth above, and a control group limited to the plan
// kills nothing and changes no answer. DAPPLE_MEMORY_SLOW=1: many more runs.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "dapple/memory_plan.h"
#include "dapple_run.h"

namespace dapple::test {
namespace {

struct Way {
  std::string schedule;  // "full": exact with everything kept
  std::string weights;
  std::string tokens = "8";  // of the answer
};

std::vector<std::string> Arguments(const DiskFolder& folder, const Way& way,
                                   const std::string& text,
                                   const std::string& keep) {
  const bool full = way.schedule == "full";
  return {"generate", "-m", folder / "model.gguf", "--raw", "--json", "--quiet",
          "--beyond-context", "-f", text, "-n", way.tokens, "-t", "2",
          "--schedule", full ? "exact" : way.schedule, "--weights", way.weights,
          "--policy", full ? "full" : "dapq", "--keep", full ? "auto" : keep,
          "--spill", folder.spill(), "--chunk", "512",
          // Not what the machine has free at the moment.
          "--ram", "1T"};
}

// False where no control group can be made.
bool CheckRun(const DiskFolder& folder, const Way& way, const std::string& text,
              const std::string& keep) {
  const auto arguments = Arguments(folder, way, text, keep);
  const DappleOutcome free_run = RunDapple(folder, arguments);
  REQUIRE_MESSAGE(free_run.child.exit_code == 0, free_run.err);
  const auto json = nlohmann::json::parse(free_run.out);
  const auto planned = json["planned_bytes"].get<uint64_t>();
  const auto measured = json["peak_rss_bytes"].get<uint64_t>();
  MESSAGE(way.schedule, ", weights ", way.weights, ", keep ", keep, ", ",
          json["prompt_tokens"].get<size_t>(), " tokens: planned ",
          BytesText(planned), ", measured ", BytesText(measured), ", ratio ",
          static_cast<double>(planned) / static_cast<double>(measured));
  CHECK(measured <= planned);
  CHECK(planned <= measured + measured / 10);
  CHECK(folder.SpillIsEmpty());

  const auto group = tool::MemoryGroup::Create(planned);
  if (!group.ok()) {
    MESSAGE("not run within its plan: ", group.status().message());
    return false;
  }
  // The model's pages are to count for this run.
  tool::DropCachedPages(folder / "model.gguf");
  const DappleOutcome capped = RunDapple(folder, arguments, group->get());
  CHECK((*group)->Kills() == 0);
  REQUIRE_MESSAGE(capped.child.exit_code == 0, capped.err);
  CHECK(nlohmann::json::parse(capped.out)["text"] == json["text"]);
  return true;
}

TEST_CASE("measured memory is within the plan, in a group limited to it too") {
  const DiskFolder folder;
  const bool slow = std::getenv("DAPPLE_MEMORY_SLOW") != nullptr;
  std::filesystem::copy_file(
      Env("DAPPLE_SOURCE_ROOT") + "/models/dapple-40m-q8_0.gguf",
      folder / "model.gguf");
  std::vector<Way> ways;
  for (const char* schedule :
       {"full", "exact", "exact-q8", "exact-spill", "streaming"})
    for (const char* weights : {"resident", "reread", "streamed"})
      // Every schedule and every treatment of the weights at least once.
      if (slow || weights == std::string("streamed") ||
          schedule == std::string("exact"))
        ways.push_back({schedule, weights});
  // Tokens enough for weights to be copied into huge pages.
  ways.push_back({"exact", "auto", "64"});
  const std::vector<size_t> lengths =
      slow ? std::vector<size_t>{700, 2000, 5000} : std::vector<size_t>{450};
  for (const size_t words : lengths) {
    const std::string text = folder / "text.txt";
    std::ofstream(text) << Prose(words);
    for (const Way& way : ways) CheckRun(folder, way, text, "128");
    if (slow) CheckRun(folder, {"exact", "resident"}, text, "auto");
  }
}

// What a container's or a service's limit does to a user who names none.
TEST_CASE("without --ram a control group's limit is the cap") {
  const DiskFolder folder;
  const std::string text = folder / "text.txt";
  std::ofstream(text) << Prose(450);
  const std::vector<std::string> arguments = {
      "generate",
      "-m",
      Env("DAPPLE_SOURCE_ROOT") + "/models/dapple-40m-q8_0.gguf",
      "--raw",
      "--json",
      "-f",
      text,
      "-n",
      "4",
      "-t",
      "2"};
  for (const uint64_t megabytes : {128u, 72u, 24u}) {
    const auto group = tool::MemoryGroup::Create(megabytes << 20);
    if (!group.ok()) {
      MESSAGE("skipped: ", group.status().message());
      return;
    }
    CAPTURE(megabytes);
    const DappleOutcome outcome = RunDapple(folder, arguments, group->get());
    CAPTURE(outcome.err);
    CHECK((*group)->Kills() == 0);
    if (megabytes == 24) {  // too little for any schedule
      CHECK(outcome.child.exit_code == 3);
      CHECK(outcome.out.empty());
      CHECK(outcome.err.find("would fit: ") != std::string::npos);
      continue;
    }
    REQUIRE(outcome.child.exit_code == 0);
    CHECK(outcome.err.find("its control group") != std::string::npos);
    const auto json = nlohmann::json::parse(outcome.out);
    CHECK(json["planned_bytes"].get<uint64_t>() < megabytes << 20);
    // At 72 MiB less a margin, all weights and all keys no longer fit.
    CHECK((json["weights"] == "resident") == (megabytes == 128));
  }
}

}  // namespace
}  // namespace dapple::test
