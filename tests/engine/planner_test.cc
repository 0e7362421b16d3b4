// Plans under a cap: what is chosen, and what is said when nothing fits.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "dapple/engine.h"
#include "dapple/memory_plan.h"
#include "temporary_folder.h"
#include "tiny_model.h"
#include "util/huge_pages.h"

namespace dapple::test {
namespace {

EngineOptions Options(const TinyModel& model) {
  EngineOptions options;
  options.model_path = model.path();
  options.threads = 2;
  return options;
}

SessionOptions Wanted(size_t tokens, const char* policy, uint64_t ram) {
  SessionOptions options;
  options.prompt_tokens = tokens;
  options.max_new_tokens = 16;
  options.beyond_context = true;
  EvictionOptions eviction;
  eviction.policy = policy;
  options.eviction = {eviction};
  options.memory.ram_bytes = ram;
  return options;
}

PlanReport PlanFor(const TinyModel& model, const SessionOptions& options) {
  const auto report = PlanModel(Options(model), options);
  REQUIRE_MESSAGE(report.ok(), report.status().message());
  return *report;
}

}  // namespace

TEST_CASE("without a cap everything is kept in sixteen bits") {
  const TinyModel model(TinyShape{}, 61);
  const PlanReport report = PlanFor(model, Wanted(5000, "dapq", 0));
  REQUIRE(report.fits());
  CHECK(report.chosen == 0);
  CHECK(report.Chosen().schedule == Schedule::kExact);
  CHECK(report.Chosen().weights == Residency::kResident);
  CHECK(report.Chosen().keep_tokens == 5000);
  // A chunk's staging can be more than so small a model's weights.
  for (const PlannedSchedule& way : report.candidates)
    if (way.schedule != Schedule::kStreaming)
      CHECK(way.plan.TotalBytes() <= report.Chosen().plan.TotalBytes());
}

TEST_CASE("weights are copied into huge pages where room and tokens allow") {
  const uint64_t page = HugePageBytes();
  if (page == 0) {
    MESSAGE("skipped: no huge pages here");
    return;
  }
  const TinyModel model(TinyShape{}, 62);
  SessionOptions options = Wanted(1000, "full", 0);
  const auto chosen = [&] { return PlanFor(model, options).Chosen(); };
  CHECK_FALSE(chosen().huge_pages);
  options.max_new_tokens = 100;
  const PlannedSchedule copied = chosen();
  CHECK(copied.huge_pages);
  CHECK(copied.weights == Residency::kResident);
  const auto part = std::ranges::find(
      copied.plan.parts, "weights, in huge pages", &MemoryPart::name);
  REQUIRE(part != copied.plan.parts.end());
  CHECK(part->bytes() >= page);
  // Room for the plan, but not for the file's pages beside it.
  options.memory.ram_bytes = copied.plan.TotalBytes();
  CHECK(PlanFor(model, options).fits());
  CHECK_FALSE(chosen().huge_pages);
  options.memory.ram_bytes = 2 * copied.plan.TotalBytes();
  CHECK(chosen().huge_pages);
  options.memory.weights = Residency::kResident;
  CHECK_FALSE(chosen().huge_pages);
}

TEST_CASE("sessions with and without a copy of the weights take turns") {
  const TinyModel model(TinyShape{}, 63);
  const auto engine = Engine::Open(Options(model));
  REQUIRE(engine.ok());
  std::vector<std::unique_ptr<Session>> sessions;
  const std::vector<TokenId> ids = {1, 2, 3, 4, 5};
  std::vector<float> first;
  for (const bool copied : {true, false, true, true, false}) {
    SessionOptions options = Wanted(100, "full", 0);
    options.max_new_tokens = copied ? 64 : 8;
    auto session = (*engine)->NewSession(options);
    REQUIRE_MESSAGE(session.ok(), session.status().message());
    CHECK((*session)->planned().huge_pages == (copied && HugePageBytes() != 0));
    sessions.push_back(std::move(*session));
  }
  for (const auto& session : sessions) {
    REQUIRE(session->Prefill(ids, {}).ok());
    REQUIRE(session->Append(6).ok());
    const std::vector<float> logits(session->logits().begin(),
                                    session->logits().end());
    if (first.empty()) first = logits;
    CHECK(logits == first);
  }
}

TEST_CASE("the plan counts what a sampler of a large vocabulary holds") {
  TinyShape shape;
  shape.vocab = 50000;
  const TinyModel model(shape, 60);
  const MemoryPlan plan = PlanFor(model, Wanted(100, "full", 0)).Chosen().plan;
  const auto part = std::ranges::find(plan.parts, "sampler", &MemoryPart::name);
  REQUIRE(part != plan.parts.end());
  CHECK(part->prefill == 0);
  // A logit and an id each.
  CHECK(part->decode == 50000 * (sizeof(float) + sizeof(TokenId)));
}

TEST_CASE("the plan counts what the session's owner says it will take") {
  const TinyModel model(TinyShape{}, 59);
  SessionOptions options = Wanted(1000, "full", 0);
  const MemoryPlan without = PlanFor(model, options).Chosen().plan;
  CHECK(std::ranges::find(without.parts, "caller's ids and quotes",
                          &MemoryPart::name) == without.parts.end());
  options.memory.owner = {
      .per_token = 4, .decode_per_token = 50, .decode = 70000};
  const MemoryPlan plan = PlanFor(model, options).Chosen().plan;
  const auto part = std::ranges::find(plan.parts, "caller's ids and quotes",
                                      &MemoryPart::name);
  REQUIRE(part != plan.parts.end());
  CHECK(part->prefill == 4000);
  CHECK(part->decode == 124000);
  CHECK_FALSE(part->in_arena);
  CHECK(plan.PrefillBytes() >= without.PrefillBytes() + 4000);
  CHECK(plan.DecodeBytes() >= without.DecodeBytes() + 124000);
}

TEST_CASE("a tighter cap never keeps more, and a taken plan fits it") {
  const TinyModel model(TinyShape{}, 62);
  const uint64_t all =
      PlanFor(model, Wanted(60000, "dapq", 0)).Chosen().plan.TotalBytes();
  size_t refused = 0;
  for (uint64_t ram = all + (1 << 20); ram > (2 << 20); ram -= 1 << 20) {
    const PlanReport report = PlanFor(model, Wanted(60000, "dapq", ram));
    if (!report.fits()) {
      ++refused;
      CHECK_FALSE(report.suggestions.empty());
      const Status why = NothingFits(report);
      CHECK(why.code() == StatusCode::kDoesNotFit);
      CHECK(why.message().find("60000 tokens") != std::string::npos);
      continue;
    }
    CHECK(refused == 0);  // nothing fits below a cap that nothing fits
    CHECK(report.Chosen().plan.TotalBytes() <= ram);
    CHECK(report.longest_prompt >= 60000);
  }
  CHECK(refused > 0);
}

TEST_CASE("full attention under a cap is refused rather than thinned") {
  const TinyModel model(TinyShape{}, 63);
  const uint64_t all =
      PlanFor(model, Wanted(60000, "full", 0)).Chosen().plan.TotalBytes();
  const PlanReport roomy = PlanFor(model, Wanted(60000, "full", all));
  REQUIRE(roomy.fits());
  CHECK(roomy.Chosen().keep_tokens == 60000);
  const PlanReport tight =
      PlanFor(model, Wanted(60000, "full", all / 2 + (8 << 20)));
  if (tight.fits()) CHECK(tight.Chosen().keep_tokens == 60000);
}

TEST_CASE("the streaming schedule's memory does not grow with the prompt") {
  const TinyModel model(TinyShape{}, 64);
  SessionOptions options = Wanted(10000, "dapq", 0);
  options.memory.schedule = Schedule::kStreaming;
  options.eviction[0].keep.kind = KeepBudget::Kind::kTokens;
  options.eviction[0].keep.tokens = 256;
  const PlanReport small = PlanFor(model, options);
  options.prompt_tokens = 20000;
  const PlanReport large = PlanFor(model, options);
  REQUIRE(small.fits());
  // Only the text itself grows.
  CHECK(large.Chosen().plan.ArenaBytes() == small.Chosen().plan.ArenaBytes());
}

TEST_CASE("settings that contradict each other are refused by name") {
  const TinyModel model(TinyShape{}, 65);
  SessionOptions options = Wanted(100, "h2o", 0);
  options.eviction[0].keep.kind = KeepBudget::Kind::kTokens;
  options.eviction[0].keep.tokens = 10;
  options.memory.schedule = Schedule::kStreaming;
  const auto streamed = PlanModel(Options(model), options);
  CHECK(streamed.status().message().find("h2o") != std::string::npos);
  options.memory.schedule = Schedule::kExactSpill;
  const auto spilled = PlanModel(Options(model), options);
  CHECK(spilled.status().message().find("--spill") != std::string::npos);
}

TEST_CASE("sizes are read with their units") {
  CHECK(*ParseBytes("1") == 1);
  CHECK(*ParseBytes("512M") == 512u << 20);
  CHECK(*ParseBytes("512MiB") == 512u << 20);
  CHECK(*ParseBytes("1.5G") == 3u << 29);
  CHECK(*ParseBytes("2k") == 2048);
  for (const char* bad : {"", "M", "-1M", "0", "1X", "1MX", "nan", "1e30G"})
    CHECK_FALSE(ParseBytes(bad).ok());
  CHECK(BytesText(1536) == "1.5 KiB");
}

TEST_CASE("the tightest of machine and control groups counts") {
  const TemporaryFolder root;
  namespace fs = std::filesystem;
  for (const char* folder :
       {"proc/self", "sys/fs/cgroup/memory/a/b", "sys/fs/cgroup/slice/leaf"})
    fs::create_directories(root.Path(folder));
  root.Write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:  4096 kB\n");
  root.Write("proc/self/status", "VmRSS:\t  1024 kB\n");
  CHECK(FindAvailableMemory(root.Path("")).bytes == 5u << 20);
  CHECK(FindAvailableMemory(root.Path("")).source == "the machine");
  // Version 1: the group above is the tighter one.
  root.Write("proc/self/cgroup", "5:cpu,memory:/a/b\n3:cpu:/c\n");
  root.Write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "4000000\n");
  root.Write("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "0\n");
  root.Write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3000000\n");
  root.Write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1500000\n");
  root.Write("sys/fs/cgroup/memory/a/memory.stat",
             "cache 7\ntotal_inactive_file 500000\n");
  CHECK(FindAvailableMemory(root.Path("")).bytes == 2000000 + (1 << 20));
  CHECK(FindAvailableMemory(root.Path("")).source == "its control group");
  // Version 2, with "max" in the leaf.
  root.Write("proc/self/cgroup", "0::/slice/leaf\n");
  root.Write("sys/fs/cgroup/slice/leaf/memory.max", "max\n");
  root.Write("sys/fs/cgroup/slice/leaf/memory.current", "100\n");
  root.Write("sys/fs/cgroup/slice/memory.max", "1000000\n");
  root.Write("sys/fs/cgroup/slice/memory.current", "2000000\n");
  CHECK(FindAvailableMemory(root.Path("")).bytes == 1u << 20);
}

}  // namespace dapple::test
