// The parts of tools/'s scripts that compute something.
#include <doctest/doctest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "temporary_folder.h"

namespace dapple {
namespace {

namespace fs = std::filesystem;

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (char c : text)
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string Tool(const std::string& name) {
  const char* root = std::getenv("DAPPLE_SOURCE_ROOT");
  REQUIRE_MESSAGE(root != nullptr, "set DAPPLE_SOURCE_ROOT");
  return Quoted((fs::path(root) / "tools" / name).string());
}

struct Ran {
  int code = -1;
  std::string output;  // stdout and stderr
};

Ran Shell(const std::string& command) {
  Ran ran;
  FILE* pipe = popen((command + " </dev/null 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;)
    ran.output.append(buffer, got);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) ran.code = WEXITSTATUS(status);
  return ran;
}

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() &&
         text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// One test's part of meson's testlog.txt.
std::string LogPart(const std::string& name, const std::string& result,
                    const std::string& output) {
  return "=================== 1/2 ====================\n"
         "test:         " +
         name +
         "\nstart time:   10:00:00\nduration:     0.01s\nresult:       " +
         result + "\ncommand:      /somewhere/" + name +
         "\n----------------- stdout -----------------\n" + output +
         "==========================================\n\n";
}

Ran Count(const std::string& log, int status) {
  const TemporaryFolder folder;
  const std::string path = folder.Write("testlog.txt", log);
  return Shell("awk -v status=" + std::to_string(status) + " -f " +
               Tool("count_tests.awk") + " " + Quoted(path));
}

const char* const kGood =
    "[doctest] test cases:     12 |     12 passed | 0 failed | 3 skipped\n"
    "[doctest] assertions: 999 | 999 passed | 0 failed |\n";
const char* const kBad =
    "[doctest] test cases: 7 | 5 passed | 2 failed | 0 skipped\n";

TEST_CASE("check adds up the cases of all test binaries") {
  const Ran ran = Count(LogPart("one", "exit status 0", kGood) +
                            LogPart("two", "exit status 0", kGood),
                        0);
  CHECK(ran.code == 0);
  CHECK(EndsWith(ran.output, "\n24 passed, 0 failed\n"));
  // Cases that did not run are said, not counted.
  CHECK(ran.output.find("12 passed    0 failed    3 left out\n") !=
        std::string::npos);
}

TEST_CASE("check counts failures, in colour too") {
  const Ran ran =
      Count(LogPart("one", "exit status 0", kGood) +
                LogPart("two", "exit status 1",
                        std::string("\033[0;36m") + kBad + "\033[0m"),
            1);
  CHECK(ran.code == 1);
  CHECK(EndsWith(ran.output, "\n17 passed, 2 failed\n"));
}

TEST_CASE("check counts a crash, a time-out and an empty run as failures") {
  const Ran crash = Count(LogPart("one", "exit status 0", kGood) +
                              LogPart("two", "killed by signal 11 SIGSEGV", ""),
                          1);
  CHECK(crash.code == 1);
  CHECK(EndsWith(crash.output, "\n12 passed, 1 failed\n"));
  // A sanitizer that complains at exit, after a clean summary.
  const Ran leak = Count(LogPart("one", "exit status 23", kGood), 1);
  CHECK(leak.code == 1);
  CHECK(EndsWith(leak.output, "\n12 passed, 1 failed\n"));
  const Ran none = Count(
      LogPart("one", "exit status 0",
              "[doctest] test cases: 0 | 0 passed | 0 failed | 9 skipped\n"),
      0);
  CHECK(none.code == 1);
  CHECK(EndsWith(none.output, "0 passed, 1 failed\n"));
  CHECK(Count("", 0).code == 1);
  // meson knows of a failure that the log does not show.
  CHECK(Count(LogPart("one", "exit status 0", kGood), 1).code == 1);
}

TEST_CASE("a test's own output cannot pose as a result") {
  const Ran ran = Count(
      LogPart("one", "exit status 1", "test: other\nresult: exit status 0\n"),
      1);
  CHECK(ran.code == 1);
  CHECK(EndsWith(ran.output, "0 passed, 1 failed\n"));
}

TEST_CASE("tests without doctest count as one; skipped ones do not count") {
  const Ran ran = Count(LogPart("script", "exit status 0", "fine\n") +
                            LogPart("other", "exit status 77", ""),
                        0);
  CHECK(ran.code == 0);
  CHECK(EndsWith(ran.output, "\n1 passed, 0 failed\n"));
}

TEST_CASE("the text of a JSON report is unescaped") {
  const TemporaryFolder folder;
  const std::string report = folder.Write(
      "report.json",
      R"({"file":"a \"text\":\"x","text":"He \"said\" \\n ¶\nto\tme\u0007.",)"
      R"("prompt_tokens":7})"
      "\n");
  const Ran ran =
      Shell("awk -f " + Tool("json_text.awk") + " " + Quoted(report));
  CHECK(ran.code == 0);
  CHECK(ran.output == "He \"said\" \\n ¶\nto\tme.\n");
}

// What bootstrap makes of the apt configuration in `folder`, in its "out".
Ran RewriteSources(const TemporaryFolder& folder, const std::string& from,
                   const std::string& to, const std::string& type) {
  return Shell("DAPPLE_APT_ETC=" + Quoted(folder.Path(".")) + " " +
               Tool("bootstrap") + " --rewrite-sources " + from + " " + to +
               " " + Quoted(folder.Path("out")) + " " + type);
}

TEST_CASE("bootstrap moves this release's sources to the next, and no others") {
  const TemporaryFolder folder;
  fs::create_directory(folder.Path("sources.list.d"));
  fs::create_directory(folder.Path("out"));
  folder.Write("sources.list",
               "# deb http://mirror.test/x bookworm main\n"
               "deb http://mirror.test/a bookworm main contrib # a comment\n"
               "deb [ arch=amd64 signed-by=/k.gpg ] http://mirror.test/b "
               "bookworm main\n"
               "deb-src http://mirror.test/a bookworm main\n"
               "deb http://mirror.test/a bookworm-updates main\n"
               "deb http://mirror.test/sec bookworm-security main\n"
               "deb http://flat.test/ ./\n");
  folder.Write("sources.list.d/debian.sources",
               "# comment\n"
               "Types: deb deb-src\n"
               "URIs: http://mirror.test/debian\n"
               "Suites: bookworm bookworm-updates\n"
               "Components: main\n"
               "Signed-By: /usr/share/keyrings/some.gpg\n"
               "\n"
               "Types: deb\nURIs: http://mirror.test/security\n"
               "Suites: bookworm-security\nComponents: main\n"
               "\n"
               "Enabled: no\nTypes: deb\nURIs: http://off.test/\n"
               "Suites: bookworm\nComponents: main\n"
               "\n"
               "Types: deb-src\nURIs: http://source.test/\n"
               "Suites: bookworm\nComponents: main\n"
               "\n"
               "Types: deb\nURIs: http://key.test/\n"
               "Suites:\n bookworm\nComponents: main\n"
               "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n");
  const Ran ran = RewriteSources(folder, "bookworm", "trixie", "deb");
  CAPTURE(ran.output);
  CHECK(ran.code == 0);
  CHECK(Contents(folder.Path("out/sources.list")) ==
        "deb http://mirror.test/a trixie main contrib\n"
        "deb [ arch=amd64 signed-by=/k.gpg ] http://mirror.test/b trixie "
        "main\n");
  CHECK(Contents(folder.Path("out/debian.sources")) ==
        "URIs: http://mirror.test/debian\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/some.gpg\n"
        "Types: deb\nSuites: trixie\n\n"
        "URIs: http://key.test/\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
        "Types: deb\nSuites: trixie\n\n");
}

TEST_CASE("bootstrap finds source packages where the binary ones are") {
  const TemporaryFolder folder;
  fs::create_directory(folder.Path("sources.list.d"));
  fs::create_directory(folder.Path("out"));
  folder.Write("sources.list",
               "deb [arch=amd64] http://mirror.test/a bookworm main\n"
               "deb-src http://elsewhere.test/a bookworm main\n");
  folder.Write("sources.list.d/debian.sources",
               "Types: deb\nURIs: http://mirror.test/debian\n"
               "Suites: bookworm bookworm-updates\nComponents: main\n");
  const Ran ran = RewriteSources(folder, "bookworm", "bookworm", "deb-src");
  CAPTURE(ran.output);
  CHECK(ran.code == 0);
  CHECK(Contents(folder.Path("out/sources.list")) ==
        "deb-src [arch=amd64] http://mirror.test/a bookworm main\n");
  CHECK(Contents(folder.Path("out/debian.sources")) ==
        "URIs: http://mirror.test/debian\nComponents: main\n"
        "Types: deb-src\nSuites: bookworm\n\n");
}

TEST_CASE("bootstrap --check misses archives for a static command") {
  // A checkout without .deps: the script looks beside itself.
  const TemporaryFolder folder;
  fs::create_directory(folder.Path("tools"));
  const std::string script = folder.Path("tools/bootstrap");
  fs::copy_file(fs::path(std::getenv("DAPPLE_SOURCE_ROOT")) / "tools/bootstrap",
                script);
  const Ran ran = Shell(Quoted(script) + " --check --static");
  CAPTURE(ran.output);
  CHECK(ran.code == 1);
  CHECK(ran.output.find("missing: .deps/static-") != std::string::npos);
  CHECK(!fs::exists(folder.Path(".deps")));
}

TEST_CASE("an apt configuration of another release yields no sources") {
  const TemporaryFolder folder;
  fs::create_directory(folder.Path("out"));
  folder.Write("sources.list", "deb http://mirror.test/a jammy main\n");
  const Ran ran = RewriteSources(folder, "noble", "resolute", "deb");
  CHECK(ran.code != 0);
  CHECK(fs::is_empty(folder.Path("out")));
}

TEST_CASE("the scripts explain themselves and refuse unknown options") {
  for (const char* name : {"bootstrap", "check", "quickstart"}) {
    CAPTURE(name);
    const Ran help = Shell(Tool(name) + " --help");
    CHECK(help.code == 0);
    CHECK(help.output.find(std::string("tools/") + name) != std::string::npos);
    CHECK(help.output.find("set -") == std::string::npos);
    const Ran unknown = Shell(Tool(name) + " --frobnicate");
    CHECK(unknown.code == 2);
    CHECK(unknown.output.find("--frobnicate") != std::string::npos);
  }
  for (const char* name : {"../package/deb/build", "../package/deb/try"}) {
    CAPTURE(name);
    const Ran help = Shell(Tool(name) + " --help");
    CHECK(help.code == 0);
    CHECK(help.output.find(name + 3) != std::string::npos);
    CHECK(help.output.find("set -") == std::string::npos);
    const Ran unknown = Shell(Tool(name) + " --frobnicate");
    CHECK(unknown.code == 1);
    CHECK(unknown.output.find("--frobnicate") != std::string::npos);
  }
  for (const char* name : {"bootstrap", "check"}) {
    const Ran target = Shell(Tool(name) + " --target z80");
    CHECK(target.code == 2);
    CHECK(target.output.find("aarch64 and x86_64") != std::string::npos);
    CHECK(Shell(Tool(name) + " --target").code == 2);
  }
  const Ran missing = Shell(Tool("quickstart") + " /nowhere/at/all");
  CHECK(missing.code == 1);
  CHECK(missing.output.find("/nowhere/at/all") != std::string::npos);
}

// Stand-ins for the three programs of bench/peers/compare.
std::string FakeProgram(const TemporaryFolder& folder, const std::string& name,
                        const std::string& body) {
  const std::string path = folder.Write(name, "#!/bin/sh\n" + body);
  fs::permissions(path, fs::perms::owner_all);
  return path;
}

TEST_CASE("the comparison takes ratios within a round, and goes on") {
  if (Shell("python3 --version").code != 0) {
    MESSAGE("no python3: not run");
    return;
  }
  const TemporaryFolder folder;
  const std::string model = folder.Write("model.gguf", "");
  const std::string results = folder.Write("results.jsonl", "");
  const std::string tables = folder.Write("tables.json", "");
  const std::string calls = folder.Write("calls", "");
  // Faster each time it is called: 100, 200, … tokens a second.
  const std::string dapple = FakeProgram(
      folder, "dapple",
      "echo x >>" + Quoted(calls) + "\nn=$(($(wc -l <" + Quoted(calls) +
          ") * 100))\necho '{\"pp\": [{\"policy\": \"full\", "
          "\"tokens_per_s\": '$n'}], \"tg\": []}'\n");
  const std::string peer = FakeProgram(
      folder, "llama-bench", "echo 'noise'; echo '[{\"avg_ts\": 50.0}]'\n");
  const std::string broken =
      FakeProgram(folder, "ik-bench", "echo 'no such model' >&2; exit 3\n");
  const std::string command =
      "python3 " +
      Quoted(
          (fs::path(std::getenv("DAPPLE_SOURCE_ROOT")) / "bench/peers/compare")
              .string()) +
      " -m " + Quoted(model) + " --dapple " + Quoted(dapple) +
      " --llama-bench " + Quoted(peer) + " --ik-bench " + Quoted(broken) +
      " --pp 512 --tg 0 -o " + Quoted(results) + " --json " + Quoted(tables);
  const Ran ran = Shell(command + " --rounds 2");
  CAPTURE(ran.output);
  CHECK(ran.code == 0);
  CHECK(ran.output.find("ik_llama.cpp: exit code 3: no such model") !=
        std::string::npos);
  CHECK(ran.output.find("| pp512 | 150.0 (100.0–200.0) | 50.0 (50.0–50.0) | – "
                        "| 3.00 (2.00–4.00) | – |") != std::string::npos);
  // A third round: the first two are not run again.
  const Ran more = Shell(command + " --rounds 3");
  CAPTURE(more.output);
  CHECK(more.code == 0);
  CHECK(Contents(calls) == "x\nx\nx\n");
  CHECK(more.output.find("200.0 (100.0–300.0)") != std::string::npos);
  CHECK(Contents(tables).find("\"dapple / llama.cpp\"") != std::string::npos);
  CHECK(Shell(command + " --llama-batched /nonexistent/x").code == 1);
}

}  // namespace
}  // namespace dapple
