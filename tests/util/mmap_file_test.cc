#include "util/mmap_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "temporary_folder.h"

namespace dapple {
namespace {

std::string_view Text(const MmapFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()),
          file.bytes().size()};
}

TEST_CASE("a mapped file shows its bytes, also after moves and advice") {
  const TemporaryFolder folder;
  std::string bytes(3 * 65536 + 17, '\0');
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(i * 31 + i / 256);
  const std::string path = folder.Write("some file", bytes);
  auto opened = MmapFile::Open(path);
  REQUIRE(opened.ok());
  MmapFile file = std::move(opened).value();
  CHECK(file.path() == path);
  CHECK(Text(file) == bytes);
  MmapFile moved(std::move(file));
  CHECK(file.bytes().empty());  // NOLINT: the moved-from state is defined
  // Advice at odd places must not change what is read.
  ReadAheadPages(moved.bytes().subspan(1, 170000));
  ExpectUse(moved.bytes().subspan(3, 90001), PageUse::kAnnounced);
  ExpectUse(moved.bytes().subspan(70000), PageUse::kAnnounced);
  ReleasePages(moved.bytes().subspan(5, 140001));
  ReleasePages(moved.bytes());
  ReadAheadPages({});
  ExpectUse({}, PageUse::kAnnounced);
  CHECK(Text(moved) == bytes);
  ExpectUse(moved.bytes(), PageUse::kNormal);
  CHECK(Text(moved) == bytes);
}

TEST_CASE("what cannot be mapped is refused, naming the path") {
  const TemporaryFolder folder;
  const std::string empty = folder.Write("empty", "");
  const std::string fifo = folder.Path("fifo");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  const std::pair<std::string, StatusCode> cases[] = {
      {folder.Path("missing"), StatusCode::kNotFound},
      {empty, StatusCode::kCorrupt},
      {folder.Path("."), StatusCode::kInvalidArgument},
      {fifo, StatusCode::kInvalidArgument},  // and does not wait for a writer
      {"/dev/null", StatusCode::kInvalidArgument},
      {empty + "/below", StatusCode::kIo},
  };
  for (const auto& [path, code] : cases) {
    CAPTURE(path);
    const auto refused = MmapFile::Open(path);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.status().code() == code);
    CHECK(refused.status().message().rfind(path, 0) == 0);
    CHECK(refused.status().message().find('\n') == std::string::npos);
  }
}

}  // namespace
}  // namespace dapple
