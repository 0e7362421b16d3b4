#include "util/atomic_file.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <utility>

#include "temporary_folder.h"

namespace dapple {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

size_t FilesIn(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    count += entry.exists();
  return count;
}

TEST_CASE("a file appears only once it is committed") {
  const TemporaryFolder folder;
  const std::string path = folder.Path("out");
  {
    auto created = AtomicFile::Create(path);
    REQUIRE(created.ok());
    CHECK(created->Write(Bytes("one ")).ok());
    AtomicFile file = std::move(created).value();
    CHECK(file.Write(Bytes("two")).ok());
    CHECK(file.size() == 7);
    CHECK_FALSE(fs::exists(path));
    CHECK(file.Commit().ok());
    CHECK(Contents(path) == "one two");
  }
  CHECK(Contents(path) == "one two");
  CHECK(FilesIn(folder.Path(".")) == 1);
}

TEST_CASE("a writer that gives up leaves the old file and nothing else") {
  const TemporaryFolder folder;
  const std::string path = folder.Write("out", "old");
  {
    auto created = AtomicFile::Create(path);
    REQUIRE(created.ok());
    CHECK(created->Write(Bytes("new and half-done")).ok());
  }
  CHECK(Contents(path) == "old");
  CHECK(FilesIn(folder.Path(".")) == 1);
}

TEST_CASE("a committed file replaces the target of a symbolic link") {
  const TemporaryFolder folder;
  const std::string target = folder.Write("target", "old");
  fs::create_symlink("target", folder.Path("link"));
  auto created = AtomicFile::Create(folder.Path("link"));
  REQUIRE(created.ok());
  CHECK(created->Write(Bytes("new")).ok());
  CHECK(created->Commit().ok());
  CHECK(fs::is_symlink(folder.Path("link")));
  CHECK(Contents(target) == "new");
}

TEST_CASE("places that cannot be written are refused, naming the path") {
  const TemporaryFolder folder;
  const std::string file = folder.Write("file", "x");
  const std::pair<std::string, StatusCode> cases[] = {
      {folder.Path("."), StatusCode::kInvalidArgument},
      {folder.Path("new/"), StatusCode::kInvalidArgument},
      {folder.Path("missing/out"), StatusCode::kNotFound},
      {file + "/out", StatusCode::kIo},
      {"/dev/full", StatusCode::kInvalidArgument},
  };
  for (const auto& [path, code] : cases) {
    CAPTURE(path);
    const auto refused = AtomicFile::Create(path);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.status().code() == code);
    CHECK(refused.status().message().rfind(path, 0) == 0);
  }
}

}  // namespace
}  // namespace dapple
