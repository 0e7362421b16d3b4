#include "convert/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "test_files.h"

namespace dapple {
namespace {

using testing::ReadBytes;
using testing::TempDir;
using testing::TestData;
using testing::U64;
using testing::WriteBytes;

std::string File(const std::string& header, size_t data_bytes) {
  std::string out = U64(header.size()) + header;
  for (size_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i + 1);
  return out;
}

std::string Entry(const std::string& name, const std::string& dtype,
                  const std::string& shape, const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape +
         R"(,"data_offsets":)" + offsets + "}";
}

TEST_CASE("a safetensors file gives names, shapes and bytes") {
  const TempDir folder;
  const std::string header = R"({"__metadata__":{"format":"pt"},)" +
                             Entry("b", "F32", "[3]", "[12,24]") + "," +
                             Entry("a", "BF16", "[2,3]", "[0,12]") + "," +
                             Entry("scalar", "U8", "[]", "[24,25]") + "," +
                             Entry("none", "F32", "[0,4]", "[12,12]") + "}   ";
  const auto file =
      SafetensorsFile::Open(WriteBytes(folder / "x", File(header, 25)));
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  REQUIRE(file->tensors().size() == 4);
  const SafeTensor& a = file->tensors()[0];
  CHECK(a.name == "a");
  CHECK(a.dtype == "BF16");
  CHECK(a.shape == std::vector<uint64_t>{2, 3});
  CHECK(a.data.size() == 12);
  CHECK(file->tensors()[1].name == "none");
  CHECK(std::to_integer<int>(file->tensors()[2].data[0]) == 13);
  CHECK(file->tensors()[3].shape.empty());
}

TEST_CASE("lying safetensors headers are refused") {
  struct Lie {
    const char* says;
    std::string bytes;
  };
  const std::string good = Entry("a", "F32", "[2]", "[0,8]");
  const std::vector<Lie> lies = {
      {"not a safetensors file", "abc"},
      {"does not fit the file", U64(1000) + "{}"},
      {"does not fit the file", U64(UINT64_MAX) + "{}"},
      {"not valid JSON", File("{", 8)},
      {"not valid JSON", File("", 8)},
      {"not valid JSON", File("{\"a\xFF\":1}", 8)},
      {"not valid JSON", File("{\"a\":1e99999}", 8)},
      {"not a JSON object", File("[1]", 8)},
      {"'a' occurs twice", File("{" + good + "," + good + "}", 8)},
      {"not described", File(R"({"a":7})", 8)},
      {"lacks a dtype", File(R"({"a":{"dtype":"F32"}})", 8)},
      {"'dtype' is not a string",
       File(R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})", 8)},
      {"unknown dtype 'F31'",
       File("{" + Entry("a", "F31", "[2]", "[0,8]") + "}", 8)},
      {"lacks a dtype",
       File("{" + Entry("a", "F32", "[-2]", "[0,8]") + "}", 8)},
      {"lacks a dtype",
       File("{" + Entry("a", "F32", "[2.0]", "[0,8]") + "}", 8)},
      {"lacks a dtype",
       File("{" + Entry("a", "F32", "[2]", "[0,8,9]") + "}", 8)},
      {"lacks a dtype",
       File("{" + Entry("a", "F32", "[2]", "[0,\"8\"]") + "}", 8)},
      {"beyond 64 bits",
       File("{" + Entry("a", "F32", "[4294967296,4294967296]", "[0,0]") + "}",
            8)},
      {"beyond the end", File("{" + good + "}", 7)},
      {"beyond the end",
       File("{" + Entry("a", "F32", "[2]", "[8,0]") + "}", 8)},
      {"beyond the end",
       File("{" + Entry("a", "F32", "[2]", "[0,18446744073709551615]") + "}",
            8)},
      {"has 4 bytes where its shape needs 8",
       File("{" + Entry("a", "F32", "[2]", "[0,4]") + "}", 8)},
      {"'a' and 'b' overlap",
       File("{" + good + "," + Entry("b", "F32", "[1]", "[4,8]") + "}", 8)},
      {"overlap",
       File("{" + good + "," + Entry("b", "F32", "[2]", "[0,8]") + "}", 8)},
  };
  const TempDir folder;
  for (const Lie& lie : lies) {
    CAPTURE(std::string(lie.says));
    const std::string path = WriteBytes(folder / "x", lie.bytes);
    const auto file = SafetensorsFile::Open(path);
    REQUIRE_FALSE(file.ok());
    CAPTURE(file.status().message());
    CHECK(file.status().message().starts_with(path + ": "));
    CHECK(file.status().message().find(lie.says) != std::string::npos);
  }
}

TEST_CASE("a safetensors file with random damage is read or refused") {
  const TempDir folder;
  const std::string good = File("{" + Entry("a", "F32", "[2]", "[0,8]") + "," +
                                    Entry("b", "BF16", "[2,1]", "[8,12]") + "}",
                                12);
  for (size_t size = 0; size < good.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(
        SafetensorsFile::Open(WriteBytes(folder / "x", good.substr(0, size)))
            .ok());
  }
  std::mt19937 random(7);
  unsigned sum = 0;
  size_t opened = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = good;
    for (size_t i = 0; i < 1 + random() % 3; ++i) {
      const size_t at = random() % bytes.size();
      static constexpr char kTokens[] = "0123456789[]{},:\"-e.";
      bytes[at] = random() % 2 == 0 ? kTokens[random() % 20]
                                    : static_cast<char>(random());
    }
    const auto file = SafetensorsFile::Open(WriteBytes(folder / "x", bytes));
    if (!file.ok()) continue;
    ++opened;
    for (const SafeTensor& tensor : file->tensors())
      for (const std::byte byte : tensor.data)
        sum += std::to_integer<unsigned>(byte);
  }
  CHECK(opened > 20);
  CHECK(sum != 0);
}

// Two shards with one tensor each, and an index of what `map` says.
void WriteShards(const TempDir& folder, const std::string& map) {
  WriteBytes(folder / "model-1.safetensors",
             File("{" + Entry("a", "F32", "[2]", "[0,8]") + "}", 8));
  WriteBytes(folder / "model-2.safetensors",
             File("{" + Entry("b", "F32", "[1]", "[0,4]") + "}", 4));
  WriteBytes(folder / "model.safetensors.index.json",
             R"({"metadata":{},"weight_map":)" + map + "}");
}

TEST_CASE("shards are joined through their index") {
  const TempDir folder;
  WriteShards(folder,
              R"({"a":"model-1.safetensors","b":"model-2.safetensors"})");
  const auto checkpoint = Checkpoint::Open(folder.path());
  REQUIRE_MESSAGE(checkpoint.ok(), checkpoint.status().message());
  CHECK(checkpoint->entries().size() == 2);
  REQUIRE(checkpoint->Find("b") != nullptr);
  CHECK(checkpoint->Find("b")->file->path() == folder / "model-2.safetensors");
  CHECK(checkpoint->Find("b")->tensor->data.size() == 4);
  CHECK(checkpoint->Find("c") == nullptr);
}

TEST_CASE("an index that lies is refused") {
  struct Lie {
    const char* says;
    const char* map;
  };
  const Lie lies[] = {
      {"'b' is missing",
       R"({"a":"model-1.safetensors","b":"model-1.safetensors"})"},
      {"'c' is missing", R"({"c":"model-1.safetensors"})"},
      {"No such file", R"({"a":"model-3.safetensors"})"},
      {"no usable file name", R"({"a":"../model-1.safetensors"})"},
      {"no usable file name", R"({"a":"/etc/passwd"})"},
      {"no usable file name", R"({"a":".."})"},
      {"no usable file name", R"({"a":7})"},
      {"no usable file name", R"({"a":""})"},
      {"no weight_map", "[]"},
      {"not valid JSON", "{"},
  };
  for (const Lie& lie : lies) {
    CAPTURE(std::string(lie.says));
    const TempDir folder;
    WriteShards(folder, lie.map);
    const auto checkpoint = Checkpoint::Open(folder.path());
    REQUIRE_FALSE(checkpoint.ok());
    CAPTURE(checkpoint.status().message());
    CHECK(checkpoint.status().message().find(lie.says) != std::string::npos);
  }
}

TEST_CASE("a tensor in two shards is refused") {
  const TempDir folder;
  WriteShards(folder,
              R"({"a":"model-1.safetensors","b":"model-2.safetensors"})");
  WriteBytes(folder / "model-2.safetensors",
             File("{" + Entry("a", "F32", "[1]", "[0,4]") + "}", 4));
  const auto checkpoint = Checkpoint::Open(folder.path());
  REQUIRE_FALSE(checkpoint.ok());
  CHECK(checkpoint.status().message().find("'a' is also in") !=
        std::string::npos);
}

TEST_CASE("a folder without tensors is refused by the file's name") {
  const TempDir folder;
  const auto checkpoint = Checkpoint::Open(folder.path());
  REQUIRE_FALSE(checkpoint.ok());
  CHECK(checkpoint.status().code() == StatusCode::kNotFound);
  CHECK(
      checkpoint.status().message().starts_with(folder / "model.safetensors"));
}

}  // namespace
}  // namespace dapple
