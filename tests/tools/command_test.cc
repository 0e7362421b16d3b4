// The dapple command as its users run it: exit codes, messages, and answers of
// the embedded model. Runs the built program in a shell.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>

#include "../command_text.h"
#include "../emulated.h"
#include "gguf/gguf_file.h"
#include "gguf/gguf_writer.h"

namespace {

namespace fs = std::filesystem;

using dapple::test::Contents;
using dapple::test::Emulated;
using dapple::test::Env;
using dapple::test::Prose;

// A folder of this test's own, removed at the end.
class Folder {
 public:
  Folder()
      : path_(fs::temp_directory_path() /
              ("dapple-command-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string Write(const std::string& name, const std::string& text) const {
    const fs::path path = path_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  std::string operator/(const std::string& name) const { return path_ / name; }
  size_t Entries() const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(path_))
      count += entry.exists();
    return count;
  }

 private:
  fs::path path_;
};

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

// Runs `dapple ARGS` (as the shell splits them), stdin empty.
Outcome Dapple(const Folder& folder, const std::string& args) {
  const std::string out = folder / ".out", err = folder / ".err";
  const std::string command = "'" + Env("DAPPLE_BINARY") + "' " + args +
                              " </dev/null >'" + out + "' 2>'" + err + "'";
  const int status = std::system(command.c_str());
  Outcome outcome{WIFEXITED(status) ? WEXITSTATUS(status) : -1, Contents(out),
                  Contents(err)};
  fs::remove(out);
  fs::remove(err);
  return outcome;
}

// One clear line that names `what`, nothing on stdout.
void CheckRefused(const Outcome& outcome, int code, const std::string& what) {
  CAPTURE(outcome.err);
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.find(what) != std::string::npos);
  if (code != 2) CHECK(outcome.err.find('\n') == outcome.err.size() - 1);
}

TEST_CASE("bad input ends in one line that names it, and exit code 1") {
  const Folder folder;
  const std::string empty = folder.Write("empty.gguf", "");
  const std::string text = folder.Write("text.gguf", "hello");
  const std::string cut = folder.Write(
      "cut.gguf",
      Contents(Env("DAPPLE_SOURCE_ROOT") + "/models/dapple-40m-q8_0.gguf")
          .substr(0, 3000000));
  const std::string bytes = folder.Write("bytes.txt", "abc\xFF");
  const std::string blank = folder.Write("blank.txt", " \n\n");
  CheckRefused(Dapple(folder, "generate -m /nonexistent.gguf hi"), 1,
               "/nonexistent.gguf");
  for (const std::string& model : {empty, text, cut}) {
    CheckRefused(Dapple(folder, "generate -m " + model + " hi"), 1, model);
    CheckRefused(Dapple(folder, "inspect " + model), 1, model);
    CheckRefused(Dapple(folder, "tokenize -m " + model + " hi"), 1, model);
  }
  CheckRefused(Dapple(folder, "summarize /nonexistent.txt"), 1,
               "/nonexistent.txt");
  CheckRefused(Dapple(folder, "summarize " + bytes), 1, bytes);
  CheckRefused(Dapple(folder, "ask -q Why " + blank), 1, blank);
  CheckRefused(Dapple(folder, "generate ''"), 1, "prompt is empty");
  CheckRefused(Dapple(folder, "summarize"), 1, "standard input");
  CheckRefused(Dapple(folder, "eval logits " + (folder / "none")), 1,
               "reference.json");
  CheckRefused(Dapple(folder, "eval perplexity -f " + blank), 1, blank);
}

TEST_CASE("usage errors have exit code 2") {
  const Folder folder;
  for (const char* args :
       {"", "frobnicate", "generate hi --keep x", "generate hi --policy best",
        "generate hi --temperature -1", "generate hi --top-p 0", "ask file",
        "summarize --length tiny x", "generate hi --threads 0",
        "generate hi --no-such-flag", "bench", "eval"}) {
    CAPTURE(args);
    CHECK(Dapple(folder, args).code == 2);
  }
  CHECK(Dapple(folder, "--help").code == 0);
  CHECK(Dapple(folder, "summarize --help").code == 0);
  CHECK(Dapple(folder, "--version").out.find("dapple ") == 0);
}

TEST_CASE("plan says what fits, and what would where nothing does") {
  const Folder folder;
  const Outcome fits = Dapple(folder, "plan --tokens 8k --ram 512M");
  CHECK(fits.code == 0);
  CHECK(fits.out.find("* exact ") != std::string::npos);
  CHECK(fits.out.find("staging KV") == std::string::npos);  // all is kept
  const auto json =
      nlohmann::json::parse(Dapple(folder, "plan --tokens 8k --json").out);
  CHECK(json["fits"] == true);
  CHECK(json["schedules"][0]["schedule"] == "exact");
  const Outcome tight =
      Dapple(folder, "plan --tokens 8k --ram 100M --keep 100%");
  CHECK(tight.code == 0);
  CHECK(tight.out.find("does not fit") != std::string::npos);
  const Outcome none = Dapple(folder, "plan --tokens 8k --ram 8M");
  CHECK(none.code == 3);
  CHECK(none.err.find("more than the 8.0 MiB") != std::string::npos);
  CHECK(none.err.find("--ram ") != std::string::npos);
  CHECK(Dapple(folder, "plan --ram none").code == 2);
  CHECK(Dapple(folder, "plan --schedule fast").code == 2);
}

TEST_CASE("a run that cannot fit its cap stops before it reads") {
  const Folder folder;
  const std::string document = folder.Write("long.txt", Prose(4000));
  const Outcome none =
      Dapple(folder, "summarize --ram 20M --quiet " + document);
  CheckRefused(none, 3, "it may take");
}

TEST_CASE("a summary in sections quotes the document with its paragraphs") {
  const Folder folder;
  const std::string document =
      folder.Write("long.txt", Prose(Emulated() ? 250 : 900));
  const Outcome outcome =
      Dapple(folder,
             "summarize --strategy sections --json --length short " + document);
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json["sections"] == 1);
  CHECK(json["rounds"] == 1);
  CHECK(json["text"].get<std::string>().find("[\u00B6") != std::string::npos);
  CHECK(outcome.err.find("section 1 of 1") != std::string::npos);
}

TEST_CASE("a prompt beyond the trained context is refused with both numbers") {
  const Folder folder;
  const std::string model = folder / "model.gguf";
  const std::string data = Env("DAPPLE_TEST_DATA") + "/llama";
  REQUIRE(Dapple(folder, "convert " + data + " --type f32 -o " + model).code ==
          0);
  const std::string document =
      folder.Write("long.txt", Prose(Emulated() ? 2000 : 4000));
  const Outcome refused =
      Dapple(folder, "generate --raw -m " + model + " -f " + document);
  CheckRefused(refused, 3, "trained for 4096");
  CHECK(refused.err.find("the prompt has ") != std::string::npos);
  CHECK(Dapple(folder, "generate --raw --beyond-context -n 2 -m " + model +
                           " -f " + document)
            .code == 0);
}

TEST_CASE("converting leaves nothing half-written") {
  const Folder folder;
  CheckRefused(Dapple(folder, "convert " + (folder / "none") + " -o " +
                                  (folder / "x.gguf")),
               1, "none");
  const std::string data = Env("DAPPLE_TEST_DATA") + "/llama";
  CheckRefused(Dapple(folder, "convert " + data + " -o /nonexistent/x.gguf"), 1,
               "/nonexistent/x.gguf");
  CHECK(folder.Entries() == 0);
}

TEST_CASE("the fixtures' logits are within bounds on both paths") {
  const Folder folder;
  for (const char* name : {"llama", "llama3-rope", "mistral", "qwen2", "qwen3",
                           "gemma2", "gemma3", "phi3", "smollm3"}) {
    CAPTURE(std::string(name));
    const std::string data = Env("DAPPLE_TEST_DATA") + "/" + name;
    const std::string model = folder / (std::string(name) + ".gguf");
    REQUIRE(
        Dapple(folder, "convert " + data + " --type f32 -o " + model).code ==
        0);
    const Outcome outcome =
        Dapple(folder, "eval logits --json " + data + " -m " + model);
    CHECK(outcome.code == 0);
    const auto json = nlohmann::json::parse(outcome.out);
    CHECK(json["f32"]["max_abs_difference"].get<double>() <= 2e-3);
    CHECK(json["f32"]["greedy_equal"] == json["f32"]["greedy_length"]);
    CHECK(json["default"]["mean_kl"].get<double>() <= 2e-3);
  }
}

TEST_CASE("info lists what there is, and DAPPLE_TARGET picks one of it") {
  const Folder folder;
  const Outcome outcome = Dapple(folder, "info --json");
  REQUIRE(outcome.code == 0);
  const auto info = nlohmann::json::parse(outcome.out);
  CHECK(info["cores"] >= 1);
  REQUIRE(!info["targets"].empty());
  CHECK(info["kernels"].size() >= 4);
  CHECK(info["clocks"]["policies"].is_array());
  CHECK(info["clocks"]["held_back_by"].is_array());
  const std::string worst = info["targets"].back();
  setenv("DAPPLE_TARGET", worst.c_str(), 1);
  const auto forced = nlohmann::json::parse(Dapple(folder, "info --json").out);
  CHECK(forced["kernels"][0]["choice"] == worst);
  for (const std::string instructions : info["byte_instructions"]) {
    setenv("DAPPLE_TARGET", instructions.c_str(), 1);
    const auto bytes = nlohmann::json::parse(Dapple(folder, "info --json").out);
    CHECK(bytes["kernels"][0]["choice"] == instructions);
  }
  setenv("DAPPLE_TARGET", "avx9000", 1);
  const Outcome unknown = Dapple(folder, "info");
  CHECK(unknown.err.find(worst) != std::string::npos);
  CheckRefused(unknown, 2, "avx9000");
  unsetenv("DAPPLE_TARGET");
  const std::string text = Dapple(folder, "info").out;
  CHECK(text.find("features") != std::string::npos);
  CHECK(text.find("\nheld back by ") != std::string::npos);
}

TEST_CASE("eval logits fails when the model is not the reference's") {
  const Folder folder;
  const std::string data = Env("DAPPLE_TEST_DATA");
  const std::string model = folder / "llama.gguf";
  REQUIRE(Dapple(folder, "convert " + data + "/llama --type f32 -o " + model)
              .code == 0);
  CHECK(Dapple(folder, "eval logits " + data + "/mistral -m " + model).code ==
        1);
}

TEST_CASE("each sentence of a quoted summary is the document's, once") {
  const Folder folder;
  const std::string prose = Prose(Emulated() ? 250 : 700);
  const std::string document = folder.Write("prose.txt", prose);
  const Outcome outcome =
      Dapple(folder, "summarize --length short " + document);
  REQUIRE(outcome.code == 0);
  std::istringstream lines(outcome.out);
  std::string line;
  std::vector<std::string> seen;
  while (std::getline(lines, line)) {
    const size_t mark = line.find(" [\u00B6");
    REQUIRE(mark != std::string::npos);
    const std::string sentence = line.substr(0, mark);
    CHECK(prose.find(sentence) != std::string::npos);
    CHECK(std::find(seen.begin(), seen.end(), sentence) == seen.end());
    seen.push_back(sentence);
  }
  CHECK(seen.size() >= 2);
  CHECK(seen.size() <= 3);
}

TEST_CASE("a needle is found with everything kept, and with a tenth") {
  const Folder folder;
  const std::string needle =
      "One of the special magic numbers for lighthouse is: 4815162. ";
  const std::string prompt = folder.Write(
      "prompt.txt",
      "A special magic number is hidden within the following text. Make sure "
      "to memorize it. I will quiz you about the number afterwards.\n" +
          Prose(Emulated() ? 120 : 300) + needle +
          Prose(Emulated() ? 180 : 400) +
          "\nWhat is the special magic number for lighthouse mentioned in the "
          "provided text?");
  const std::string report = folder / "report.json";
  for (const char* keep : {"auto", "10%"}) {
    const Outcome outcome = Dapple(
        folder, "generate -n 12 --keep " + std::string(keep) + " -f " + prompt +
                    " --report " + report +
                    " --lead-in 'The special magic number for lighthouse "
                    "mentioned in the provided text is'");
    CHECK(outcome.code == 0);
    CHECK(outcome.out.find("4815162") != std::string::npos);
    CHECK(outcome.err.find("kept") != std::string::npos);
  }
  // One object a line: the second run was appended.
  std::istringstream lines(Contents(report));
  std::string line;
  std::vector<nlohmann::json> reports;
  while (std::getline(lines, line))
    reports.push_back(nlohmann::json::parse(line));
  REQUIRE(reports.size() == 2);
  CHECK(reports[0]["kept_share"].get<double>() == 1.0);
  CHECK(reports[1]["kept_share"].get<double>() < 0.11);
  CHECK(reports[1]["kept_tokens"].size() == 12);
  CHECK(reports[1]["coverage"].size() == 12);
  for (const auto& json : reports) {
    CHECK(json["prompt_tokens"].get<size_t>() > 500);
    CHECK(json["planned_bytes"].get<uint64_t>() >
          json["arena_bytes"].get<uint64_t>());
  }
}

TEST_CASE("standard input is a document, several files get a summary each") {
  const Folder folder;
  const std::string a = folder.Write("a.txt", Prose(60));
  const std::string b = folder.Write("b.txt", Prose(120));
  const Outcome both = Dapple(
      folder, "summarize --length short --json " + a + " /nonexistent " + b);
  CHECK(both.code == 1);  // one of three is missing; the others are done
  std::istringstream lines(both.out);
  std::string line;
  std::vector<std::string> files;
  while (std::getline(lines, line))
    files.push_back(nlohmann::json::parse(line)["file"]);
  CHECK(files == std::vector<std::string>{a, b});
  const std::string from_stdin = folder / "stdin.json";
  const std::string command = "'" + Env("DAPPLE_BINARY") +
                              "' summarize --length short --json - <" + a +
                              " >" + from_stdin + " 2>/dev/null";
  CHECK(std::system(command.c_str()) == 0);
  CHECK(nlohmann::json::parse(Contents(from_stdin))["file"] == "-");
}

// What `summarize` prints, without its paragraph marks.
std::string Unmarked(const std::string& text) {
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find(" [\u00B6", begin);
    if (end == std::string::npos) break;
    out += (out.empty() ? "" : " ") + text.substr(begin, end - begin);
    begin = text.find('\n', end) + 1;
  }
  return out;
}

TEST_CASE("eval summarize asks as summarize does, and goes on where it was") {
  const Folder folder;
  const std::string instruction = "Summarize the text above.";
  std::string lines;
  for (size_t words : {90u, 150u, 18000u}) {
    nlohmann::json json = {{"source", words > 100 ? "long" : "short"},
                           {"task", "summarize"},
                           {"document", Prose(words)},
                           {"question", instruction},
                           {"answer", "The miller repaired the gate."}};
    lines += json.dump() + "\n";
  }
  // Nothing of it can be quoted.
  lines += R"({"source": "short", "document": "No.", "question": "Why?", )"
           R"("answer": "So."})"
           "\n";
  const std::string file = folder.Write("documents.jsonl", lines);
  const std::string args = "eval summarize " + file +
                           " --policy dapq --keep 100%,10% --json -o " +
                           (folder / "out");
  const Outcome one = Dapple(folder, args + " --source short --documents 1");
  CAPTURE(one.err);
  REQUIRE(one.code == 0);
  auto results = nlohmann::json::parse(one.out);
  REQUIRE(results["cells"].size() == 3);
  CHECK(results["cells"][1]["same"] == 1.0);  // 100 % is everything
  CHECK(results["cells"][1]["kept_share"] == 1.0);
  CHECK(results["cells"][2]["kept_share"].get<double>() < 0.11);
  CHECK(!results["note"].get<std::string>().empty());

  const Outcome all = Dapple(folder, args);
  CAPTURE(all.err);
  REQUIRE(all.code == 0);
  CHECK(all.err.find("1 documents of earlier runs") != std::string::npos);
  results = nlohmann::json::parse(all.out);
  REQUIRE(results["cells"].size() == 6);
  CHECK(results["cells"][0]["source"] == "long");
  CHECK(results["cells"][0]["documents"] == 1);
  REQUIRE(results["left_out"].size() == 2);
  const std::string log = Contents((folder / "out") + "/documents.jsonl");
  CHECK(std::count(log.begin(), log.end(), '\n') == 3);  // with the settings
  for (const char* name : {"/results.csv", "/results.md", "/results.json"})
    CHECK(!Contents((folder / "out") + name).empty());

  // The answer with everything kept is the one that summarize gives.
  const std::string text = folder.Write("short.txt", Prose(90));
  const Outcome plain = Dapple(
      folder, "summarize --json --instruction '" + instruction + "' " + text);
  REQUIRE(plain.code == 0);
  std::istringstream stream(log);
  std::string line;
  std::getline(stream, line);
  std::getline(stream, line);
  const auto record = nlohmann::json::parse(line);
  CHECK(record["line"] == 1);
  CHECK(record["answers"][0]["text"] ==
        Unmarked(nlohmann::json::parse(plain.out)["text"]));

  const Outcome again = Dapple(folder, args);
  CHECK(again.out == all.out);
  CHECK(Contents((folder / "out") + "/documents.jsonl") == log);
  CheckRefused(Dapple(folder, args + " --length short"), 1, "other settings");
}

TEST_CASE("eval summarize names what is wrong with its documents") {
  const Folder folder;
  const std::string blank = folder.Write("blank.jsonl", "\n");
  const std::string broken = folder.Write("broken.jsonl", "{\n");
  const std::string partial = folder.Write(
      "partial.jsonl", R"({"document": "One.", "question": "Why?"})");
  CheckRefused(Dapple(folder, "eval summarize /nonexistent"), 1,
               "/nonexistent");
  CheckRefused(Dapple(folder, "eval summarize " + blank), 1, blank);
  CheckRefused(Dapple(folder, "eval summarize " + broken), 1,
               broken + ": line 1");
  CheckRefused(Dapple(folder, "eval summarize " + partial), 1, "\"answer\"");
  CHECK(Dapple(folder, "eval summarize").code == 2);
  CHECK(Dapple(folder, "eval summarize --length tiny " + blank).code == 2);
}

TEST_CASE("eval needle shows what its folder has without running") {
  const Folder folder;
  const std::string args =
      "eval needle --length 1k --keep 64,10% --progress none -o " +
      (folder / "out");
  const Outcome ran = Dapple(folder, args + " --samples 1");
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  const Outcome shown = Dapple(folder, args + " --samples 0");
  CHECK(shown.code == 0);
  CHECK(shown.out == ran.out);
  CHECK(Contents((folder / "out") + "/results.md").find("| full | all |") !=
        std::string::npos);
}

// The emulator does not start the program's own runs, and would be measured
// with them.
TEST_CASE("bench footprint measures runs, keeps them, and goes on" *
          doctest::skip(Emulated())) {
  const Folder folder;
  const std::string out = folder / "out";
  const std::string args =
      "bench footprint --length 128,256 --schedule full,streaming --keep 64 "
      "-n 4 -t 2 --json -o " +
      out;
  const Outcome ran = Dapple(folder, args + " --peer 'cat=cat {prompt_file}'");
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  const auto json = nlohmann::json::parse(ran.out);
  REQUIRE(json["runs"].size() == 6);
  size_t peers = 0;
  for (const auto& run : json["runs"]) {
    CHECK(run["outcome"] == "ok");
    CHECK(run["wall_s"].get<double>() > 0);
    const auto peak = run["peak_rss_bytes"].get<uint64_t>();
    CHECK(peak > 500000);
    if (run.contains("peer")) {
      ++peers;
      continue;
    }
    // The plan holds, and is no more than a tenth above.
    const auto planned = run["planned_bytes"].get<uint64_t>();
    CHECK(peak <= planned);
    CHECK(planned <= peak + peak / 10);
    CHECK(run["first_token_s"].get<double>() > 0);
    CHECK(run["decode_tokens_per_s"].get<double>() > 0);
  }
  CHECK(peers == 2);
  const std::string csv = Contents(out + "/results.csv");
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 7);
  CHECK(Contents(out + "/footprint.svg").find(">full KV<") !=
        std::string::npos);
  CHECK(!Contents(out + "/results.md").empty());
  const std::string log = Contents(out + "/runs.jsonl");
  const Outcome again =
      Dapple(folder, args + " --peer 'cat=cat {prompt_file}'");
  CHECK(again.code == 0);
  CHECK(again.out == ran.out);
  CHECK(Contents(out + "/runs.jsonl") == log);
  CheckRefused(Dapple(folder, args + " --chunk 512"), 1, "other settings");

  // A program that is not there costs no result, and is said once.
  const Outcome gone =
      Dapple(folder, args + " --peer 'gone=/nonexistent/prog {model}'");
  CHECK(gone.code == 1);
  const size_t first = gone.err.find("/nonexistent/prog");
  REQUIRE(first != std::string::npos);
  CHECK(gone.err.find("/nonexistent/prog", first + 1) == std::string::npos);
  CHECK(Contents(out + "/runs.jsonl") == log);
}

// Every figure lies within its own spread.
void CheckSpread(const nlohmann::json& spread, const char* middle) {
  const auto value = spread[middle].get<double>();
  CHECK(value > 0);
  CHECK(spread["min"].get<double>() <= value);
  CHECK(value <= spread["max"].get<double>());
}

TEST_CASE("where OpenMP pins threads, measurements still use every processor") {
  const Folder folder;
  const std::string args = "bench limits --json --repeat 1 --seconds 0.001";
  const Outcome free = Dapple(folder, args);
  REQUIRE(setenv("OMP_PROC_BIND", "true", 1) == 0);
  const Outcome bound = Dapple(folder, args);
  unsetenv("OMP_PROC_BIND");
  REQUIRE(free.code == 0);
  REQUIRE(bound.code == 0);
  CHECK(nlohmann::json::parse(bound.out)["cpus"] ==
        nlohmann::json::parse(free.out)["cpus"]);
}

TEST_CASE("bench limits prints each peak with its spread") {
  const Folder folder;
  const Outcome ran =
      Dapple(folder, "bench limits --json --repeat 2 --seconds 0.002 -t 2");
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  const auto json = nlohmann::json::parse(ran.out);
  CHECK(json["threads"] == 2);
  for (const char* key : {"int8_gops", "int16_gops", "bf16_gflops",
                          "f32_gflops", "read_gb_per_s"}) {
    CAPTURE(key);
    if (json[key].is_null()) {  // not on this processor
      CHECK((std::string(key) == "bf16_gflops" ||
             std::string(key) == "int16_gops"));
      continue;
    }
    CheckSpread(json[key]["one"], "median");
    CheckSpread(json[key]["all"], "median");
  }
  CHECK(json["caches"].is_array());
  const Outcome csv =
      Dapple(folder, "bench limits --csv --repeat 1 --seconds 0.002 -t 1");
  CHECK(csv.code == 0);
  CHECK(csv.out.find("limit,unit,threads,median,min,max\nint8 dot,GOPS,1,") ==
        0);
}

TEST_CASE("bench run measures prompts and tokens, with a policy in turn") {
  const Folder folder;
  const std::string trace = folder / "trace.json";
  const Outcome ran =
      Dapple(folder,
             "bench run --pp 32,100 --tg 3 --depth 0,64 --repeat 2 -t 2 --json "
             "--policy dapq --keep 16 --trace " +
                 trace);
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  const auto json = nlohmann::json::parse(ran.out);
  REQUIRE(json["pp"].size() == 4);  // two lengths, all and 16 kept
  REQUIRE(json["tg"].size() == 3);  // nothing to evict at depth 0
  for (const char* key : {"pp", "tg"})
    for (const auto& line : json[key]) {
      CheckSpread(line, "tokens_per_s");
      CHECK(line["share_of_limit"].get<double>() > 0);
    }
  CHECK(json["pp"][0]["n"] == 32);
  CHECK(json["pp"][1]["policy"] == "dapq");
  CHECK(json["tg"][1]["depth"] == 64);
  CHECK(json["tg"][1]["policy"] == "full");
  CHECK(json["tg"][2]["keep"] == "16");
  CHECK(json["limits"]["int8_gops"]["all"]["median"].get<double>() > 0);

  const auto events = nlohmann::json::parse(Contents(trace))["traceEvents"];
  size_t tokens = 0, prefills = 0;
  for (const auto& event : events) {
    CHECK(event["ph"] == "X");
    tokens += event["name"] == "token";
    prefills += event["name"] == "prefill";
  }
  // Rounds and one to warm up each; a policy brings a session of its own, but
  // at a depth the prompt is read once.
  CHECK(prefills == 4 * 3 + 2);
  CHECK(tokens == 3 * 3 * 3);
}

TEST_CASE("bench run and traces refuse what cannot be") {
  const Folder folder;
  CheckRefused(Dapple(folder, "bench run --pp 12x"), 1, "12x");
  CheckRefused(Dapple(folder, "bench run --trace /nonexistent/t.json"), 1,
               "/nonexistent/t.json");
  CheckRefused(
      Dapple(folder, "generate --raw hi -n 1 --quiet --trace /nonexistent/t"),
      1, "/nonexistent/t");
  CHECK(Dapple(folder, "bench run --json --csv").code == 2);
  CHECK(Dapple(folder, "bench limits --repeat 0").code == 2);
  const std::string trace = folder / "t.json";
  const Outcome ran =
      Dapple(folder, "generate --raw hello -n 2 --quiet --trace " + trace);
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  CHECK(nlohmann::json::parse(Contents(trace))["traceEvents"].size() > 100);
}

TEST_CASE("bench footprint tells runs that do not fit from others" *
          doctest::skip(Emulated())) {
  const Folder folder;
  const std::string args = "bench footprint --length 128 -n 2 -t 2 --json ";
  const Outcome small = Dapple(
      folder, args + "--schedule exact --ram 10M --peer 'dies=kill -9 $$'");
  CHECK(small.code == 1);
  const auto json = nlohmann::json::parse(small.out);
  REQUIRE(json["runs"].size() == 2);
  CHECK(json["runs"][0]["outcome"] == "does not fit");
  CHECK(json["runs"][0]["peak_rss_bytes"].is_null());
  CHECK(json["runs"][0]["message"].get<std::string>().find("10.0 MiB") !=
        std::string::npos);
  CHECK(json["runs"][1]["outcome"] == "failed");
  CHECK(json["runs"][1]["message"] == "ended by signal 9");
}

TEST_CASE("bench footprint refuses bad options by name") {
  const Folder folder;
  const std::string args = "bench footprint --length 128 -n 2 -t 2 --json ";
  CheckRefused(Dapple(folder, args + "--peer prog"), 1, "NAME=COMMAND");
  CheckRefused(Dapple(folder, args + "--peer 'a=b {file}'"), 1, "{file}");
  CheckRefused(Dapple(folder, args + "--schedule fast"), 1, "fast");
  CheckRefused(Dapple(folder, args + "--schedule exact-spill"), 1, "--spill");
  CheckRefused(Dapple(folder, args + "--length 0"), 1, "--length");
  const std::string text = folder.Write("short.txt", "Too short.");
  CheckRefused(Dapple(folder, args + "--haystack " + text), 1, text);
}

// The first tensors of a model in one file, the others in a second.
void SplitModel(const std::string& path, const std::string& prefix) {
  const auto opened = dapple::GgufFile::Open(path);
  REQUIRE(opened.ok());
  const size_t count = opened->tensors().size();
  for (uint32_t part = 0; part < 2; ++part) {
    auto writer = dapple::GgufWriter::Create(
        prefix + "-0000" + std::to_string(part + 1) + "-of-00002.gguf");
    REQUIRE(writer.ok());
    if (part == 0)
      for (const auto& [key, value] : opened->metadata())
        if (key != "general.alignment") writer->AddValue(key, value);
    writer->AddUint32("split.no", part);
    writer->AddUint32("split.count", 2);
    writer->AddUint32("split.tensors.count", static_cast<uint32_t>(count));
    const auto tensors =
        std::span(opened->tensors())
            .subspan(part == 0 ? 0 : 3, part == 0 ? 3 : count - 3);
    for (const dapple::GgufTensor& tensor : tensors)
      writer->AddTensor(tensor.name, tensor.type,
                        std::span(tensor.dims, tensor.dim_count));
    REQUIRE(writer->BeginData().ok());
    for (const dapple::GgufTensor& tensor : tensors)
      REQUIRE(writer->Append(tensor.data).ok());
    REQUIRE(writer->Finish().ok());
  }
}

TEST_CASE("models lists what is in the caches, and whether it would fit") {
  const Folder folder;
  const std::string home = folder / "home";
  const std::string cache = home + "/.cache/llama.cpp";
  fs::create_directories(cache);
  setenv("HOME", home.c_str(), 1);
  setenv("OLLAMA_MODELS", home.c_str(), 1);
  for (const char* name :
       {"XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE"})
    unsetenv(name);
  const Outcome none = Dapple(folder, "models");
  CHECK(none.code == 0);
  CHECK(none.out.find("No GGUF files") == 0);
  const std::string whole = cache + "/a.gguf";
  REQUIRE(Dapple(folder, "convert '" + Env("DAPPLE_TEST_DATA") +
                             "/qwen2' --type f16 -o " + whole)
              .code == 0);
  SplitModel(whole, cache + "/b");
  {
    auto writer = dapple::GgufWriter::Create(cache + "/c.gguf");
    REQUIRE(writer.ok());
    writer->AddString("general.architecture", "qwen2");
    writer->AddString("tokenizer.ggml.model", "gpt2");
    writer->AddString("tokenizer.ggml.pre", "mystery");
    REQUIRE(writer->BeginData().ok());
    REQUIRE(writer->Finish().ok());
  }
  std::ofstream(cache + "/d.gguf") << "not a model";
  const Outcome listed = Dapple(folder, "models --json --tokens 1k --ram 1G");
  CHECK(listed.code == 0);
  const auto json = nlohmann::json::parse(listed.out);
  REQUIRE(json.size() == 4);
  const auto size = fs::file_size(whole);
  CHECK(json[0]["name"] == "a.gguf");
  CHECK(json[0]["cache"] == "llama.cpp");
  CHECK(json[0]["bytes"] == size);
  CHECK(json[0]["architecture"] == "qwen2");
  CHECK(json[0]["problem"] == "");
  CHECK(json[0]["fits"] == true);
  CHECK(json[0]["planned_bytes"] > size);
  // Of a split model the first part alone is listed, as all of it.
  CHECK(json[1]["name"] == "b-00001-of-00002.gguf");
  CHECK(json[1]["bytes"] > size);
  CHECK(json[1]["bytes"] < size + 4096);
  CHECK(json[1]["fits"] == true);
  CHECK(json[1]["context"] == json[0]["context"]);
  CHECK(json[2]["fits"] == false);
  CHECK(json[2]["problem"] ==
        "pre-tokenizer 'mystery' (tokenizer.ggml.pre) is not supported");
  CHECK(json[3]["problem"].get<std::string>().find("GGUF") !=
        std::string::npos);

  const Outcome text = Dapple(folder, "models --tokens 1k --ram 1G");
  CHECK(text.code == 0);
  CHECK(text.out.find("cannot be run: pre-tokenizer 'mystery'") !=
        std::string::npos);
  CHECK(text.out.find("    fits: ") != std::string::npos);
  const Outcome tight = Dapple(folder, "models --tokens 1k --ram 1M");
  CHECK(tight.out.find("    does not fit") != std::string::npos);
  CHECK(tight.out.find("    fits: ") == std::string::npos);
  CheckRefused(Dapple(folder, "models --ram lots"), 1, "lots");

  // A part that is missing is said of the model.
  fs::remove(cache + "/b-00002-of-00002.gguf");
  const Outcome broken = Dapple(folder, "models --tokens 1k --ram 1G");
  CHECK(broken.out.find("part 2 of 2 is missing") != std::string::npos);
}

// An int32 as llama-perplexity writes it.
std::string Int32(int value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8)
    bytes += static_cast<char>(value >> shift & 255);
  return bytes;
}

TEST_CASE("a quantized file is compared with its original, window by window") {
  const Folder folder;
  const std::string original =
      Env("DAPPLE_SOURCE_ROOT") + "/models/dapple-40m-q8_0.gguf";
  const std::string small = folder / "small.gguf";
  const Outcome made =
      Dapple(folder, "quantize '" + original + "' " + small + " -t " +
                         (Emulated() ? "Q4_0" : "Q4_K_M"));
  CHECK(made.code == 0);
  CHECK(made.out.find("tensors") != std::string::npos);
  CheckRefused(Dapple(folder, "quantize " + small + " " + small), 1,
               "is the input itself");
  CheckRefused(
      Dapple(folder, "quantize -t q5_0 " + small + " " + (folder / "x.gguf")),
      1, "already");
  const std::string text = folder.Write("text.txt", Prose(200));
  const std::string eval =
      "eval perplexity --ctx 64 --windows 2 --json -f " + text;
  const auto kl = [&](const std::string& model, const std::string& base) {
    const Outcome outcome =
        Dapple(folder, eval + " -m '" + model + "' --kl '" + base + "'");
    CAPTURE(outcome.err);
    REQUIRE(outcome.code == 0);
    const auto json = nlohmann::json::parse(outcome.out);
    CHECK(json["scored_tokens"] == 62);
    return json["kl"];
  };
  const auto self = kl(original, original);
  CHECK(std::abs(self["mean"].get<double>()) < 1e-6);
  CHECK(self["top1_agreement"] == 1.0);
  const auto loss = kl(small, original);
  CHECK(loss["mean"] > 1e-4);
  CHECK(loss["mean"] < 0.3);
  CHECK(loss["median"] <= loss["percentile_99"]);
  CHECK(loss["percentile_99"] <= loss["most"]);
  CHECK(loss["top1_agreement"] > 0.5);

  // Stored log probabilities that are not of this text, or not whole.
  const auto stored = [&](const std::string& bytes) {
    return Dapple(folder, eval + " -m '" + original + "' --kl " +
                              folder.Write("base", bytes));
  };
  const std::string head = "_logits_" + Int32(64) + Int32(8192);
  CheckRefused(stored("_logits_" + Int32(64)), 1, "inside the header");
  CheckRefused(stored("_logits_" + Int32(32) + Int32(8192) + Int32(2)), 1,
               "--ctx 32");
  CheckRefused(stored("_logits_" + Int32(64) + Int32(7) + Int32(2)), 1,
               "a vocabulary of 7");
  CheckRefused(stored(head + Int32(1)), 1, "fewer than 2");
  CheckRefused(stored(head + Int32(2) + Int32(1)), 1, "inside the tokens");
  CheckRefused(stored(head + Int32(2) + std::string(512, '\1')), 1,
               "not those of this text");
  CheckRefused(stored("not a model"), 1, "base");
}

}  // namespace
