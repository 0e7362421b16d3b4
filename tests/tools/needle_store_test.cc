#include "needle_store.h"

#include <doctest/doctest.h>

#include "../util/temporary_folder.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

NeedleRecord Record(const std::string& task, size_t sample,
                    const std::string& policy) {
  NeedleRecord record;
  record.task = task;
  record.length = 8192;
  record.sample = sample;
  record.policy = policy;
  record.keep = "3%";
  record.depth = 0.25;
  record.score = 0.75;
  record.expected = {"1234567", "a \"quoted\" one"};
  record.output = "line\nand \xC3\xA9";
  record.stop = "end";
  record.prompt_tokens = 8190;
  record.generated_tokens = 12;
  record.kept_share = 0.031;
  record.prefill_s = 1.5;
  record.decode_s = 0.25;
  return record;
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("a store opened again has all samples as they were") {
  const TemporaryFolder folder;
  const std::string path = folder.Path("new folder/inside");
  const Json settings = {{"seed", 0}, {"model", "m"}};
  {
    auto store = NeedleStore::Open(path, settings);
    REQUIRE_MESSAGE(store.ok(), store.status().message());
    CHECK((*store)->records().empty());
    REQUIRE((*store)->Append(Record("niah-1", 0, "dapq")).ok());
    NeedleRecord second = Record("vt", 1, "full");
    second.min_coverage = 0.5;
    second.median_coverage = 0.75;
    second.output = "half a character: \xC3";
    REQUIRE((*store)->Append(second).ok());
  }
  auto store = NeedleStore::Open(path, settings);
  REQUIRE_MESSAGE(store.ok(), store.status().message());
  REQUIRE((*store)->records().size() == 2);
  const NeedleRecord& first = (*store)->records()[0];
  CHECK(first.task == "niah-1");
  CHECK(first.length == 8192);
  CHECK(first.policy == "dapq");
  CHECK(first.keep == "3%");
  CHECK(first.depth == 0.25);
  CHECK(first.score == 0.75);
  CHECK(first.expected == Record("", 0, "").expected);
  CHECK(first.output == "line\nand \xC3\xA9");
  CHECK(first.prompt_tokens == 8190);
  CHECK(first.min_coverage == -1);
  CHECK((*store)->records()[1].median_coverage == 0.75);
  CHECK((*store)->Has("niah-1", 8192, 0, "dapq", "3%"));
  CHECK(!(*store)->Has("niah-1", 8192, 1, "dapq", "3%"));
  CHECK(!(*store)->Has("niah-1", 4096, 0, "dapq", "3%"));
  CHECK(!(*store)->Has("niah-1", 8192, 0, "dapq", "256"));
  CHECK(!(*store)->Has("niah-1", 8192, 0, "full", "3%"));
}

TEST_CASE("a line that a crash cut short is dropped and written anew") {
  const TemporaryFolder folder;
  const Json settings = {{"seed", 0}};
  {
    auto store = NeedleStore::Open(folder.Path("d"), settings);
    REQUIRE(store.ok());
    REQUIRE((*store)->Append(Record("niah-1", 0, "full")).ok());
    REQUIRE((*store)->Append(Record("niah-1", 1, "full")).ok());
  }
  const std::string path = folder.Path("d/samples.jsonl");
  const std::string whole = Bytes(path);
  const size_t second = whole.find('\n', whole.find('\n') + 1) + 1;
  for (size_t cut : {second + 1, second + 40, whole.size() - 1}) {
    std::ofstream(path, std::ios::binary) << whole.substr(0, cut);
    auto store = NeedleStore::Open(folder.Path("d"), settings);
    REQUIRE_MESSAGE(store.ok(), store.status().message());
    CHECK((*store)->records().size() == 1);
    REQUIRE((*store)->Append(Record("niah-1", 1, "full")).ok());
    store->reset();
    CHECK(Bytes(path) == whole);
  }
}

TEST_CASE("a folder of other settings is refused with the differences") {
  const TemporaryFolder folder;
  REQUIRE(NeedleStore::Open(folder.Path("d"), {{"seed", 0}, {"pool", 7}}).ok());
  const auto store =
      NeedleStore::Open(folder.Path("d"), {{"seed", 0}, {"pool", 1}});
  REQUIRE(!store.ok());
  CHECK(store.status().code() == StatusCode::kInvalidArgument);
  const std::string& message = store.status().message();
  CHECK(message.find("pool is 7 there, 1 now") != std::string::npos);
  CHECK(message.find("seed") == std::string::npos);
}

TEST_CASE("a file that makes no sense is refused with the line") {
  const TemporaryFolder folder;
  const Json settings = {{"seed", 0}};
  REQUIRE(NeedleStore::Open(folder.Path("d"), settings).ok());
  const std::string path = folder.Path("d/samples.jsonl");
  for (const char* line : {"{\"task\": \"niah-1\"}\n", "rubbish\n", "[]\n",
                           "{\"task\": 5, \"length\": \"x\"}\n", "\n"}) {
    std::ofstream(path, std::ios::binary)
        << Json{{"settings", settings}}.dump() << "\n"
        << line;
    const auto store = NeedleStore::Open(folder.Path("d"), settings);
    REQUIRE(!store.ok());
    CHECK(store.status().code() == StatusCode::kCorrupt);
    CHECK(store.status().message().find("line 2") != std::string::npos);
  }
  std::ofstream(path, std::ios::binary) << "{}\n";
  CHECK(!NeedleStore::Open(folder.Path("d"), settings).ok());
}

TEST_CASE("two runs cannot write to one folder") {
  const TemporaryFolder folder;
  const auto first = NeedleStore::Open(folder.Path("d"), {{"seed", 0}});
  REQUIRE(first.ok());
  const auto second = NeedleStore::Open(folder.Path("d"), {{"seed", 0}});
  REQUIRE(!second.ok());
  CHECK(second.status().message().find("another run") != std::string::npos);
}

TEST_CASE("a folder that cannot be made or written is named") {
  const TemporaryFolder folder;
  const std::string file = folder.Write("file", "x");
  const auto store = NeedleStore::Open(file + "/d", {{"seed", 0}});
  REQUIRE(!store.ok());
  CHECK(store.status().message().find(file) != std::string::npos);
  const Status written = ResultLog::WriteFile(folder.Path("none"), "a", "b");
  CHECK(written.code() == StatusCode::kIo);
  REQUIRE(ResultLog::WriteFile(folder.Path(""), "a", "bytes").ok());
  CHECK(Bytes(folder.Path("a")) == "bytes");
}

}  // namespace
}  // namespace dapple::tool
