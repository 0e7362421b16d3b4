// dapple bench footprint: templates, tables, charts, and what it measures with.
#include "footprint.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "child_process.h"
#include "dapple/memory_plan.h"
#include "energy_meter.h"
#include "footprint_text.h"
#include "memory_group.h"
#include "word_tokenizer.h"

namespace dapple::tool {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder()
      : path_(fs::temp_directory_path() /
              ("dapple-footprint-test-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ / name; }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }

 private:
  fs::path path_;
};

FootprintRun Run(const char* schedule, size_t length, uint64_t peak) {
  FootprintRun run;
  run.series = {schedule, "auto", "256", "", ""};
  run.length = length;
  run.weights = "resident";
  run.kv = "f16";
  run.planned_bytes = peak + 1024;
  run.peak_bytes = peak;
  run.first_token_s = 1.25;
  run.decode_per_s = 40;
  run.wall_s = 2;
  run.outcome = "ok";
  return run;
}

TEST_CASE("a template's placeholders become quoted words of a shell") {
  const std::map<std::string, std::string> values = {
      {"model", "/a b/it's.gguf"}, {"n", "32"}};
  const auto text =
      ExpandTemplate("run -m {model} -n {n} '{{}}' {n}{n}", values);
  REQUIRE(text.ok());
  CHECK(*text == R"(run -m '/a b/it'\''s.gguf' -n '32' '{}' '32''32')");
  for (const char* bad : {"{unknown}", "{model", "model}", "{}"}) {
    CAPTURE(bad);
    CHECK_FALSE(ExpandTemplate(bad, values).ok());
  }
  CHECK(ExpandTemplate("{wrong}", values).status().message().find("{model}") !=
        std::string::npos);
}

TEST_CASE("a peer has a name and a command whose placeholders are known") {
  const auto peer = ParsePeer("other=prog -m {model} -f {prompt_file} a=b");
  REQUIRE(peer.ok());
  CHECK(peer->peer == "other");
  CHECK(peer->command == "prog -m {model} -f {prompt_file} a=b");
  CHECK(peer->Name() == "other");
  for (const char* bad : {"other", "=prog", "other=", "other=x {file}"})
    CHECK_FALSE(ParsePeer(bad).ok());
}

TEST_CASE("series are all combinations, full attention once") {
  const auto series = FootprintSeriesOf({"full", "exact", "streaming"},
                                        {"auto", "streamed"}, {"256", "3%"});
  REQUIRE(series.size() == 10);
  CHECK(series[0].Name() == "full KV");
  CHECK(series[1].Name() == "full KV, weights streamed");
  CHECK(series[2].Name() == "exact, keep 256");
  CHECK(series[9].Name() == "streaming, keep 3%, weights streamed");
}

TEST_CASE("a run's record survives being written and read") {
  FootprintRun run = Run("exact", 4096, 50 << 20);
  run.enforced = "same answer";
  FootprintRun peer;
  peer.series.peer = "other";
  peer.series.command = "prog {n}";
  peer.length = 10;
  peer.outcome = "failed";
  peer.message = "exit code 1: \"no\"";
  for (const FootprintRun& one : {run, peer}) {
    const FootprintRun back =
        FootprintRunFromJson(nlohmann::ordered_json::parse(ToJson(one).dump()));
    CHECK(back.series == one.series);
    CHECK(ToJson(back) == ToJson(one));
    CHECK(back.first_token_s == one.first_token_s);
  }
}

TEST_CASE("the CSV has a line a run, sorted, unknowns empty, names quoted") {
  FootprintRun peer;
  peer.series.peer = "a \"b\"";
  peer.length = 1024;
  peer.peak_bytes = 77;
  peer.outcome = "ok";
  const std::string csv =
      FootprintCsv({Run("exact", 4096, 2000), peer, Run("exact", 1024, 1000)});
  CHECK(csv ==
        "series,schedule,keep,weights,kv,prompt_tokens,planned_bytes,"
        "peak_rss_bytes,group_peak_bytes,first_token_s,decode_tokens_per_s,"
        "wall_s,joules,outcome,enforced\n"
        "\"exact, keep 256\",exact,256,resident,f16,1024,2024,1000,,1.2500,"
        "40.00,2.000,,ok,\n"
        "\"exact, keep 256\",exact,256,resident,f16,4096,3024,2000,,1.2500,"
        "40.00,2.000,,ok,\n"
        "\"a \"\"b\"\"\",,,,,1024,,77,,,,,,ok,\n");
  const TextTable table = FootprintTable({Run("exact", 4096, 50 << 20)});
  REQUIRE(table.size() == 2);
  CHECK(table[1].size() == table[0].size());
}

TEST_CASE("the chart has a line a series, the cap, and leaves out failures") {
  std::vector<FootprintRun> runs;
  for (const size_t length : {1024u, 2048u, 131072u}) {
    runs.push_back(Run("full", length, uint64_t{length} << 11));
    runs.push_back(Run("exact", length, uint64_t{length} << 10));
  }
  runs.push_back(Run("exact", 262144, 0));
  runs.back().outcome = "out of memory";
  const LineChart chart =
      FootprintChart(runs, "model.gguf", uint64_t{128} << 20, "a note");
  REQUIRE(chart.series.size() == 2);
  CHECK(chart.series[0].points.size() == 3);
  CHECK(chart.series[1].points.size() == 3);
  CHECK(chart.series[1].points[2] == std::pair<double, double>(131072, 128));
  CHECK(chart.limit == 128);
  const std::string svg = DrawLineChart(chart).Svg();
  for (const char* text :
       {">full KV<", ">exact, keep 256<", ">cap, 128.0 MiB<", ">1k<", ">64k<",
        ">128k<", ">prompt tokens<", ">model.gguf<", ">a note<",
        ">1 run is not shown: did not fit, or failed<"})
    CHECK_MESSAGE(svg.find(text) != std::string::npos, text);
#if defined(DAPPLE_HAVE_PNG)
  const auto png = DrawLineChart(chart).Png();
  REQUIRE(png.ok());
  CHECK(png->compare(1, 3, "PNG") == 0);
#endif
  // Nothing, one run, one length: still a picture.
  CHECK_FALSE(DrawLineChart(FootprintChart({}, "m", 0, "")).Svg().empty());
  CHECK_FALSE(
      DrawLineChart(FootprintChart({Run("exact", 1000, 5 << 20)}, "m", 0, ""))
          .Svg()
          .empty());
}

TEST_CASE("scale steps are round and reach the top") {
  CHECK(NiceStep(100, 10) == doctest::Approx(10));
  CHECK(NiceStep(101, 10) == doctest::Approx(20));
  CHECK(NiceStep(430, 8) == doctest::Approx(100));
  CHECK(NiceStep(2383, 8) == doctest::Approx(500));
  CHECK(NiceStep(0.07, 8) == doctest::Approx(0.01));
  CHECK(NiceStep(0, 8) == doctest::Approx(1));
  for (double most = 0.013; most < 1e7; most *= 1.37) {
    CHECK(NiceStep(most, 8) * 8 >= most * 0.999999);
    CHECK(NiceStep(most, 8) * 3 <= most);
  }
  CHECK(LengthName(512) == "512");
  CHECK(LengthName(131072) == "128k");
}

TEST_CASE("labels are moved apart and keep their order") {
  std::vector<int> places = {100, 101, 300, 99};
  SpreadApart(16, &places);
  CHECK(places == std::vector<int>{100, 116, 300, 84});
  std::vector<int> none;
  SpreadApart(16, &none);
  std::vector<int> far = {10, 100, 50};
  SpreadApart(16, &far);
  CHECK(far == std::vector<int>{10, 100, 50});
}

TEST_CASE("texts are cut to an exact number of tokens") {
  const WordTokenizer tokenizer;
  const auto prose = ProseOfTokens(tokenizer, 500, 3);
  REQUIRE(prose.ok());
  for (const size_t tokens : {1u, 7u, 100u, 500u}) {
    const auto text = TextOfTokens(tokenizer, *prose, tokens);
    REQUIRE_MESSAGE(text.ok(), text.status().message());
    CHECK(tokenizer.Encode(*text, {})->size() == tokens);
    CHECK(prose->starts_with(*text));
  }
  CHECK(TextOfTokens(tokenizer, "too short", 100).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("a child is measured: output, exit code, signal, peak, time") {
  const Folder folder;
  ChildCommand command;
  command.out = folder / "out";
  command.err = folder / "err";
  command.arguments = {"/bin/sh", "-c", "echo yes; echo no >&2; exit 3"};
  auto outcome = RunChild(command);
  REQUIRE(outcome.ok());
  CHECK(outcome->exit_code == 3);
  CHECK(outcome->peak_rss_bytes > 100000);
  std::string text;
  std::getline(std::ifstream(command.out) >> std::ws, text);
  CHECK(text == "yes");
  command.arguments = {"/bin/sh", "-c", "kill -9 $$"};
  outcome = RunChild(command);
  REQUIRE(outcome.ok());
  CHECK(outcome->signal == 9);
  command.arguments = {"/nonexistent/program"};
  CHECK(RunChild(command)->exit_code == 127);
  command.arguments = {"/bin/sleep", "30"};
  command.timeout_s = 0.05;
  outcome = RunChild(command);
  REQUIRE(outcome.ok());
  CHECK(outcome->timed_out);
  CHECK(outcome->wall_s < 20);
  const std::atomic<bool> cancel = true;
  command.timeout_s = 0;
  command.cancel = &cancel;
  outcome = RunChild(command);
  REQUIRE(outcome.ok());
  CHECK(outcome->signal == SIGTERM);
  command.out = "/nonexistent/out";
  CHECK_FALSE(RunChild(command).ok());
}

TEST_CASE("work in a copy of the process reports its status") {
  CHECK(RunForked([] { return Status::Ok(); }).ok());
  const Status failed = RunForked([] { return DoesNotFit("too long: x"); });
  CHECK(failed.code() == StatusCode::kDoesNotFit);
  CHECK(failed.message() == "too long: x");
  CHECK(RunForked([]() -> Status { _exit(77); }).code() != StatusCode::kOk);
}

TEST_CASE("a control group counts its processes and kills above its limit") {
  auto group = MemoryGroup::Create(uint64_t{24} << 20);
  if (!group.ok()) {
    MESSAGE("skipped: ", group.status().message());
    return;
  }
  const Folder folder;
  ChildCommand command;
  command.out = folder / "out";
  command.err = folder / "err";
  command.group = group->get();
  command.arguments = {"/bin/true"};
  CHECK(RunChild(command)->exit_code == 0);
  CHECK((*group)->Kills() == 0);
  CHECK((*group)->PeakBytes() > 0);
  CHECK((*group)->PeakBytes() < 24 << 20);
  // The shell holds 64 MiB in a variable.
  command.arguments = {"/bin/sh", "-c",
                       "x=$(head -c 67108864 /dev/zero | tr '\\0' a); echo "
                       "${#x}"};
  const auto outcome = RunChild(command);
  REQUIRE(outcome.ok());
  CHECK((*group)->Kills() > 0);
  const std::string folder_of_group =
      fs::path((*group)->entrance()).parent_path();
  group = Unsupported("gone");
  CHECK_FALSE(fs::exists(folder_of_group));
}

TEST_CASE("without a controller for memory the reason is said") {
  const Folder folder;
  const auto none = MemoryGroup::Create(0, folder / "");
  REQUIRE_FALSE(none.ok());
  CHECK(none.status().message().find("no memory control group") !=
        std::string::npos);
  // Version 2, whose top does not lend the controller to new groups.
  folder.Write("sys/fs/cgroup/cgroup.controllers", "cpu\n");
  const auto unlent = MemoryGroup::Create(0, folder / "");
  REQUIRE_FALSE(unlent.ok());
  CHECK(unlent.status().message().find("does not lend") != std::string::npos);
}

TEST_CASE("energy is the sum of the packages, across a wrapped counter") {
  const Folder folder;
  CHECK(EnergyMeter(folder / "none").Joules() == -1);
  const auto counter = [&](const char* zone, const char* value) {
    folder.Write(std::string(zone) + "/energy_uj", value);
    folder.Write(std::string(zone) + "/max_energy_range_uj", "10000000");
  };
  counter("intel-rapl:0", "1000000");
  counter("intel-rapl:0:0", "1000000");  // a part of package 0
  counter("intel-rapl:1", "9000000");
  const EnergyMeter meter(folder / "");
  counter("intel-rapl:0", "3000000");
  counter("intel-rapl:0:0", "2000000");
  counter("intel-rapl:1", "500000");
  CHECK(meter.Joules() == doctest::Approx(2 + 1.5));
}

}  // namespace
}  // namespace dapple::tool
