// Huge pages: when the system offers them, read from made-up /sys trees, and
// what is reserved.
#include "util/huge_pages.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>

#include "temporary_folder.h"

namespace dapple {
namespace {

uint64_t BytesWhere(const std::string& enabled, const std::string& size) {
  const TemporaryFolder folder;
  const std::string below = "sys/kernel/mm/transparent_hugepage/";
  std::filesystem::create_directories(folder.Path(below));
  folder.Write(below + "enabled", enabled);
  folder.Write(below + "hpage_pmd_size", size);
  return HugePageBytes(folder.Path(""));
}

TEST_CASE("huge pages are used where programs may ask for them") {
  CHECK(BytesWhere("[always] madvise never\n", "2097152\n") == 2 << 20);
  CHECK(BytesWhere("always [madvise] never\n", "2097152\n") == 2 << 20);
  CHECK(BytesWhere("always madvise [never]\n", "2097152\n") == 0);
  // As on ARM with pages of 64 KiB.
  CHECK(BytesWhere("[always] madvise never\n", "536870912\n") == 0);
  for (const char* rubbish : {"", "two", "0", "-1", "2097151"})
    CHECK(BytesWhere("[always] madvise never\n", rubbish) == 0);
  CHECK(BytesWhere("", "2097152\n") == 0);
  const TemporaryFolder empty;
  CHECK(HugePageBytes(empty.Path("")) == 0);
}

TEST_CASE("a reservation is whole huge pages, zeroed, and moves") {
  const uint64_t page = HugePageBytes();
  CHECK(HugePages::Reserve(0).bytes().empty());
  CHECK(
      HugePages::Reserve(std::numeric_limits<uint64_t>::max()).bytes().empty());
  HugePages pages = HugePages::Reserve(5);
  if (page == 0) {
    CHECK(pages.bytes().empty());
    MESSAGE("skipped: no huge pages here");
    return;
  }
  REQUIRE(pages.bytes().size() == page);
  CHECK(reinterpret_cast<uintptr_t>(pages.bytes().data()) % page == 0);
  {
    const AllowHugePages allowed;
    CHECK(pages.bytes().front() == std::byte{0});
    CHECK(pages.bytes().back() == std::byte{0});
    std::memset(pages.bytes().data(), 7, page);
  }
  HugePages other(std::move(pages));
  HugePages third;
  third = std::move(other);
  REQUIRE(third.bytes().size() == page);
  CHECK(third.bytes().back() == std::byte{7});
}

TEST_CASE(
    "asking for huge pages inside of memory that holds none is no error") {
  UseHugePages({});
  std::byte some[100];
  UseHugePages(some);
}

}  // namespace
}  // namespace dapple
