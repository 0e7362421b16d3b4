// The C interface, through the shared library: against the command's answers,
// and with every mistake a caller can make.
#include <dapple/dapple.h>
#include <doctest/doctest.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../emulated.h"

extern "C" size_t SizeInC(int which);

namespace {

std::string Root() { return std::getenv("DAPPLE_SOURCE_ROOT"); }
std::string ModelPath() { return Root() + "/models/dapple-40m-q8_0.gguf"; }

// A text with enough sentences: the project's own words.
std::string Document() {
  std::ifstream file(Root() + "/models/README.md");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const size_t at = text.find("## What it can");
  // Reading is most of what an emulator does here.
  const char* end = dapple::test::Emulated() ? "## How it was" : "## Sources";
  return text.substr(at, text.find(end) - at);
}

template <class T>
T Sized() {
  T made{};
  made.struct_size = sizeof(T);
  return made;
}

struct Run {
  int code = -1;
  std::string out;
};
Run Shell(const std::string& command) {
  Run run;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  size_t got = 0;
  while ((got = fread(buffer, 1, sizeof(buffer), pipe)) != 0)
    run.out.append(buffer, got);
  const int status = pclose(pipe);
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

struct TextFile {
  explicit TextFile(const std::string& text)
      : path("/tmp/dapple-capi-" + std::to_string(getpid()) + ".txt") {
    std::ofstream(path) << text;
  }
  ~TextFile() { unlink(path.c_str()); }
  std::string path;
};

struct OpenModel {
  OpenModel() {
    auto options = Sized<dapple_model_options>();
    const std::string path = ModelPath();
    options.path = path.c_str();
    options.threads = 2;
    REQUIRE_MESSAGE(dapple_open(&options, &model, &error) == DAPPLE_OK,
                    error.message);
  }
  ~OpenModel() { dapple_close(model); }

  std::vector<int32_t> Chat(const std::string& user) {
    auto chat = Sized<dapple_chat>();
    chat.user = user.c_str();
    size_t count = 0;
    REQUIRE(dapple_encode_chat(model, &chat, nullptr, 0, &count, &error) ==
            DAPPLE_OK);
    std::vector<int32_t> ids(count);
    REQUIRE(dapple_encode_chat(model, &chat, ids.data(), ids.size(), &count,
                               &error) == DAPPLE_OK);
    return ids;
  }

  dapple_session* Session(const std::vector<int32_t>& ids, size_t tokens,
                          const char* policy = nullptr,
                          const char* keep = nullptr) {
    auto options = Sized<dapple_session_options>();
    options.prompt_tokens = ids.size();
    options.max_new_tokens = tokens;
    options.policy = policy;
    options.keep = keep;
    dapple_session* session = nullptr;
    REQUIRE_MESSAGE(
        dapple_session_new(model, &options, &session, &error) == DAPPLE_OK,
        error.message);
    REQUIRE_MESSAGE(dapple_prefill(session, ids.data(), ids.size(), nullptr,
                                   nullptr, &error) == DAPPLE_OK,
                    error.message);
    return session;
  }

  dapple_model* model = nullptr;
  dapple_error error{};
};

std::string Answer(dapple_session* session, std::vector<int32_t>* ids) {
  auto token = Sized<dapple_token>();
  dapple_error error{};
  std::string text;
  dapple_code status = DAPPLE_OK;
  while (status == DAPPLE_OK) {
    status = dapple_next(session, &token, &error);
    if (token.bytes != 0) text.append(token.text, token.bytes);
    if (ids != nullptr && token.id >= 0) ids->push_back(token.id);
  }
  CHECK_MESSAGE(status == DAPPLE_END, error.message);
  return text;
}

}  // namespace

TEST_CASE("Structures of dapple.h have one size in C and C++") {
  CHECK(SizeInC(0) == sizeof(dapple_model_options));
  CHECK(SizeInC(1) == sizeof(dapple_session_options));
  CHECK(SizeInC(2) == sizeof(dapple_plan));
  CHECK(SizeInC(3) == sizeof(dapple_token));
  CHECK(SizeInC(4) == sizeof(dapple_report));
  CHECK(SizeInC(5) == sizeof(dapple_error));
}

TEST_CASE("The C interface answers as the command does") {
  OpenModel open;
  const std::string text = Document();
  for (const char* keep : {"auto", "64"}) {
    CAPTURE(keep);
    const std::vector<int32_t> ids =
        open.Chat(text + "\n\nWhat can the model do?");
    dapple_session* session = open.Session(ids, 24, "dapq", keep);
    const std::string answer = Answer(session, nullptr);
    auto report = Sized<dapple_report>();
    REQUIRE(dapple_session_report(session, &report, &open.error) == DAPPLE_OK);
    dapple_session_close(session);

    TextFile file(text + "\n\nWhat can the model do?");
    const Run run =
        Shell(std::string(std::getenv("DAPPLE_BINARY")) +
              " generate --json -t 2 -n 24 --keep " + keep + " -m " +
              ModelPath() + " -f " + file.path + " 2>/dev/null");
    REQUIRE(run.code == 0);
    const auto json = nlohmann::json::parse(run.out);
    if (json["prompt_tokens"] == ids.size()) {
      CHECK(answer == json["text"].get<std::string>());
      CHECK(report.kept_bytes == json["kept_bytes"].get<uint64_t>());
    } else {
      FAIL_CHECK("prompts differ: " << json["prompt_tokens"] << " and "
                                    << ids.size());
    }
    CHECK(report.prompt_tokens == ids.size());
    CHECK(report.generated_tokens <= 24);
    CHECK(report.peak_bytes > 0);
    CHECK(report.kept_share <= 1.0);
  }
}

TEST_CASE("A quoted answer consists of sentences of the text") {
  OpenModel open;
  const std::string text = Document();
  const auto ids = open.Chat(text + "\n\nSummarize the text above.");
  dapple_session* session = open.Session(ids, 400);
  REQUIRE(dapple_quote(session, text.data(), text.size(), 2, 3, &open.error) ==
          DAPPLE_OK);
  auto token = Sized<dapple_token>();
  size_t sentences = 0;
  dapple_code status = DAPPLE_OK;
  std::string joined = text;
  for (char& c : joined)
    if (c == '\n') c = ' ';
  while (status == DAPPLE_OK) {
    status = dapple_next(session, &token, &open.error);
    if (token.bytes == 0) continue;
    ++sentences;
    CHECK(token.paragraph > 0);
    CHECK(joined.find(std::string(token.text, token.bytes)) !=
          std::string::npos);
  }
  CHECK(status == DAPPLE_END);
  CHECK(sentences >= 2);
  CHECK(sentences <= 3);
  // Nothing comes after the end, however often it is asked for.
  CHECK(dapple_next(session, &token, &open.error) == DAPPLE_END);
  CHECK(token.bytes == 0);
  CHECK(token.id == -1);
  dapple_session_close(session);
}

TEST_CASE("Choosing the largest logit is what greedy decoding does") {
  OpenModel open;
  const auto ids = open.Chat("The cat sat on the mat. Who sat?");
  dapple_session* session = open.Session(ids, 12);
  std::vector<int32_t> greedy, chosen;
  Answer(session, &greedy);
  // The same session, started over.
  REQUIRE(dapple_prefill(session, ids.data(), ids.size(), nullptr, nullptr,
                         &open.error) == DAPPLE_OK);
  auto token = Sized<dapple_token>();
  const float* logits = nullptr;
  size_t vocab = 0;
  while (dapple_logits(session, &logits, &vocab, &open.error) == DAPPLE_OK) {
    size_t best = 0;
    for (size_t i = 1; i < vocab; ++i)
      if (logits[i] > logits[best]) best = i;
    if (dapple_accept(session, static_cast<int32_t>(best), &token,
                      &open.error) != DAPPLE_OK)
      break;
    chosen.push_back(token.id);
  }
  CHECK(!greedy.empty());
  CHECK(chosen == greedy);
  dapple_session_close(session);
}

TEST_CASE("Sampling repeats itself with one seed") {
  OpenModel open;
  const auto ids = open.Chat("Tell me a story.");
  dapple_session* session = open.Session(ids, 12);
  auto sampling = Sized<dapple_sampling>();
  sampling.temperature = 1.5f;
  sampling.seed = 7;
  std::vector<int32_t> runs[2];
  for (auto& run : runs) {
    REQUIRE(dapple_prefill(session, ids.data(), ids.size(), nullptr, nullptr,
                           &open.error) == DAPPLE_OK);
    REQUIRE(dapple_sample(session, &sampling, &open.error) == DAPPLE_OK);
    Answer(session, &run);
  }
  CHECK(runs[0] == runs[1]);
  sampling.top_p = 2;
  CHECK(dapple_sample(session, &sampling, &open.error) ==
        DAPPLE_INVALID_ARGUMENT);
  dapple_session_close(session);
}

TEST_CASE("A model may be closed before its session") {
  OpenModel open;
  const auto ids = open.Chat("Hello.");
  dapple_session* session = open.Session(ids, 4);
  dapple_close(open.model);
  open.model = nullptr;
  Answer(session, nullptr);
  dapple_session_close(session);
}

TEST_CASE("Progress comes, and can cancel") {
  OpenModel open;
  const auto ids = open.Chat(Document());
  auto options = Sized<dapple_session_options>();
  options.prompt_tokens = ids.size();
  dapple_session* session = nullptr;
  REQUIRE(dapple_session_new(open.model, &options, &session, &open.error) ==
          DAPPLE_OK);
  int calls = 0;
  const auto stop = [](void* user, uint64_t done, uint64_t total) {
    CHECK(done <= total);
    return ++*static_cast<int*>(user) == 3 ? 1 : 0;
  };
  CHECK(dapple_prefill(session, ids.data(), ids.size(), stop, &calls,
                       &open.error) == DAPPLE_CANCELLED);
  CHECK(calls >= 3);
  auto token = Sized<dapple_token>();
  CHECK(dapple_next(session, &token, &open.error) == DAPPLE_INVALID_ARGUMENT);
  CHECK(std::string(open.error.message).find("dapple_prefill") !=
        std::string::npos);
  dapple_session_close(session);
}

TEST_CASE("Plans are told, and refusals say what would fit") {
  OpenModel open;
  auto options = Sized<dapple_session_options>();
  options.prompt_tokens = 8000;
  options.ram_bytes = UINT64_MAX;
  auto plan = Sized<dapple_plan>();
  REQUIRE(dapple_plan_session(open.model, &options, &plan, &open.error) ==
          DAPPLE_OK);
  CHECK(plan.fits == 1);
  CHECK(plan.total_bytes > (uint64_t{40} << 20));
  CHECK(std::string(plan.schedule) == "exact");
  CHECK(plan.keep_tokens == 8000);
  const uint64_t free_bytes = plan.total_bytes;

  auto model = Sized<dapple_model_options>();
  const std::string path = ModelPath();
  model.path = path.c_str();
  REQUIRE(dapple_plan_file(&model, &options, &plan, &open.error) == DAPPLE_OK);
  CHECK(std::abs(static_cast<double>(plan.total_bytes) /
                     static_cast<double>(free_bytes) -
                 1) < 0.1);

  options.ram_bytes = 8 << 20;
  REQUIRE(dapple_plan_session(open.model, &options, &plan, &open.error) ==
          DAPPLE_OK);
  CHECK(plan.fits == 0);
  CHECK(plan.total_bytes == 0);
  CHECK(std::strlen(plan.text) > 20);
  dapple_session* session = nullptr;
  CHECK(dapple_session_new(open.model, &options, &session, &open.error) ==
        DAPPLE_DOES_NOT_FIT);
  CHECK(session == nullptr);
  CHECK(open.error.code == DAPPLE_DOES_NOT_FIT);
}

TEST_CASE("Callers' mistakes are named") {
  dapple_error error{};
  dapple_model* model = nullptr;
  const auto said = [&](const char* what) {
    return std::string(error.message).find(what) != std::string::npos;
  };
  CHECK(dapple_open(nullptr, &model, &error) == DAPPLE_INVALID_ARGUMENT);
  CHECK(said("dapple_model_options"));
  dapple_model_options options{};
  CHECK(dapple_open(&options, &model, &error) == DAPPLE_INVALID_ARGUMENT);
  CHECK(said("struct_size"));
  options.struct_size = sizeof(options) + 8;
  CHECK(dapple_open(&options, &model, &error) == DAPPLE_INVALID_ARGUMENT);
  CHECK(said("knows"));
  options.struct_size = sizeof(options);
  CHECK(dapple_open(&options, &model, &error) == DAPPLE_INVALID_ARGUMENT);
  CHECK(said("path"));
  options.path = "/nonexistent/model.gguf";
  CHECK(dapple_open(&options, &model, &error) == DAPPLE_NOT_FOUND);
  CHECK(said("/nonexistent/model.gguf"));
  // Without an error to fill, the code alone.
  CHECK(dapple_open(&options, &model, nullptr) == DAPPLE_NOT_FOUND);
  CHECK(model == nullptr);
  dapple_close(nullptr);
  dapple_session_close(nullptr);

  OpenModel open;
  int32_t id = 0;
  size_t count = 0;
  CHECK(dapple_encode(open.model, "a few words", 11, 0, &id, 1, &count,
                      &error) == DAPPLE_DOES_NOT_FIT);
  CHECK(count > 1);
  CHECK(dapple_encode(open.model, "a", 1, 64, &id, 1, &count, &error) ==
        DAPPLE_INVALID_ARGUMENT);
  CHECK(dapple_encode(open.model, "\xff", 1, 0, nullptr, 0, &count, &error) ==
        DAPPLE_INVALID_ARGUMENT);
  auto session = Sized<dapple_session_options>();
  dapple_session* made = nullptr;
  CHECK(dapple_session_new(open.model, &session, &made, &error) ==
        DAPPLE_INVALID_ARGUMENT);
  CHECK(said("prompt_tokens"));
  session.prompt_tokens = 16;
  session.policy = "nonsense";
  CHECK(dapple_session_new(open.model, &session, &made, &error) ==
        DAPPLE_INVALID_ARGUMENT);
  CHECK(said("nonsense"));
  session.policy = nullptr;
  session.keep = "many";
  CHECK(dapple_session_new(open.model, &session, &made, &error) ==
        DAPPLE_INVALID_ARGUMENT);
  CHECK(said("keep"));
  session.keep = nullptr;
  REQUIRE(dapple_session_new(open.model, &session, &made, &error) == DAPPLE_OK);
  const int32_t bad[] = {1, 1 << 30};
  CHECK(dapple_prefill(made, bad, 2, nullptr, nullptr, &error) ==
        DAPPLE_INVALID_ARGUMENT);
  CHECK(dapple_prefill(made, bad, 0, nullptr, nullptr, &error) ==
        DAPPLE_INVALID_ARGUMENT);
  dapple_session_close(made);
}

TEST_CASE("An older program's shorter structure is understood") {
  OpenModel open;
  dapple_model_info info{};
  info.struct_size = offsetof(dapple_model_info, vocab);
  info.vocab = 12345;
  REQUIRE(dapple_describe(open.model, &info, &open.error) == DAPPLE_OK);
  CHECK(info.context > 0);
  CHECK(info.vocab == 12345);
  CHECK(info.struct_size == offsetof(dapple_model_info, vocab));
}

TEST_CASE("The library shows the C interface and nothing else") {
  const char* nm = std::getenv("DAPPLE_NM");
  if (nm == nullptr) {
    MESSAGE("skipped: there is no nm here");
    return;
  }
  const Run run = Shell(nm + std::string(" -D --defined-only ") +
                        std::getenv("DAPPLE_LIBRARY") + " | awk '{print $3}'");
  REQUIRE(run.code == 0);
  size_t functions = 0;
  size_t begin = 0;
  while (begin < run.out.size()) {
    const size_t end = run.out.find('\n', begin);
    const std::string name = run.out.substr(begin, end - begin);
    begin = end + 1;
    if (name == "DAPPLE_0" || name == "DAPPLE_0@@DAPPLE_0") continue;
    CAPTURE(name);
    CHECK(name.rfind("dapple_", 0) == 0);
    CHECK(name.find("@@DAPPLE_0") != std::string::npos);
    ++functions;
  }
  CHECK(functions == 18);
}

TEST_CASE("The examples in C and Python summarize alike, within their cap") {
  const std::string example = std::getenv("DAPPLE_C_EXAMPLE");
  TextFile file(Document());
  const std::string arguments = " " + ModelPath() + " " + file.path + " 100";
  const Run c = Shell(example + arguments + " 2>/dev/null");
  CHECK(c.code == 0);
  CHECK(c.out.size() > 100);
  CHECK(Shell(example + " " + ModelPath() + " " + file.path + " 8 2>/dev/null")
            .code == 3);
  if (dapple::test::Emulated()) {
    MESSAGE("emulated: this machine's python3 does not run the library");
    return;
  }
  if (Shell("python3 -c 'import ctypes' 2>/dev/null").code != 0) {
    MESSAGE("python3 is missing: its example was not run");
    return;
  }
  const Run python =
      Shell("python3 " + Root() + "/examples/python/summarize.py" + arguments +
            " 2>/dev/null");
  CHECK(python.code == 0);
  CHECK(python.out == c.out);
}
