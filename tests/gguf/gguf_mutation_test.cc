#include <doctest/doctest.h>

#include <random>
#include <string>

#include "dapple/model_info.h"
#include "gguf/gguf_file.h"
#include "test_files.h"

namespace dapple {
namespace {

using testing::RawGguf;
using testing::TempDir;
using testing::WriteBytes;

// Reads every byte that the file hands out, so that a sanitizer sees a span
// that leaves it, and asks every key for every type.
unsigned TouchAll(const GgufFile& file) {
  unsigned sum = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    sum += static_cast<unsigned>(tensor.elements());
    for (const std::byte byte : tensor.data)
      sum += std::to_integer<unsigned>(byte);
  }
  for (const auto& [key, value] : file.metadata()) {
    for (const std::byte byte : value.bytes)
      sum += std::to_integer<unsigned>(byte);
    sum += file.Uint(key).ok() + file.Float(key).ok() + file.Bool(key).ok();
    sum += file.String(key).ok() + file.Floats(key).ok() + file.Ints(key).ok();
    const auto strings = file.Strings(key);
    if (strings.ok() && strings->has_value())
      for (const std::string_view text : **strings)
        for (const char c : text) sum += static_cast<unsigned>(c);
  }
  return sum;
}

TEST_CASE("a file with random damage is read or refused, never trusted") {
  const TempDir folder;
  const std::string path = folder / "x.gguf";
  const std::string good = RawGguf().Bytes();
  std::mt19937 random(20240607);
  const auto below = [&random](size_t limit) { return random() % limit; };
  size_t opened = 0;
  size_t refused = 0;
  unsigned sum = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string bytes = good;
    for (size_t i = 0; i < 1 + below(4); ++i) {
      const size_t at = below(bytes.size());
      switch (below(5)) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        case 1:
          bytes[at] = static_cast<char>(random());
          break;
        case 2:  // a count or size becomes huge
          for (size_t j = at; j < std::min(at + 8, bytes.size()); ++j)
            bytes[j] = static_cast<char>(0xFF);
          break;
        case 3:
          bytes.erase(at, 1 + below(9));
          break;
        case 4: {
          // Two statements: argument order would differ between compilers.
          const size_t from = below(bytes.size());
          bytes.insert(at, bytes.substr(from, below(40)));
          break;
        }
      }
      if (bytes.empty()) bytes.push_back('G');
    }
    WriteBytes(path, bytes);
    const Result<GgufFile> file = GgufFile::Open(path);
    if (file.ok()) {
      ++opened;
      sum += TouchAll(*file);
    } else {
      ++refused;
      REQUIRE(file.status().message().starts_with(path + ": "));
    }
    const Result<ModelInfo> info = InspectModel(path);
    if (!file.ok()) REQUIRE_FALSE(info.ok());
  }
  // The damage must reach both ways out, or this test tests nothing.
  CHECK(opened > 100);
  CHECK(refused > 1000);
  CHECK(sum != 0);
}

}  // namespace
}  // namespace dapple
