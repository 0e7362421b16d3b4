#include "util/arena.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>

namespace dapple {
namespace {

// Resident pages of this process, from the kernel.
uint64_t ResidentPages() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  REQUIRE(file != nullptr);
  unsigned long long size = 0, resident = 0;
  REQUIRE(std::fscanf(file, "%llu %llu", &size, &resident) == 2);
  std::fclose(file);
  return resident;
}

TEST_CASE("carved spans are aligned, zeroed, apart, and exactly as planned") {
  const uint64_t planned = Arena::CarvedBytes(7 * sizeof(float)) +
                           Arena::CarvedBytes(1) +
                           Arena::CarvedBytes(129 * sizeof(uint16_t));
  auto reserved = Arena::Reserve(planned);
  REQUIRE(reserved.ok());
  Arena arena = std::move(reserved).value();
  const auto floats = arena.Carve<float>(7);
  const auto byte = arena.Carve<uint8_t>(1);
  const auto halves = arena.Carve<uint16_t>(129);
  REQUIRE(floats.size() == 7);
  REQUIRE(byte.size() == 1);
  REQUIRE(halves.size() == 129);
  CHECK(arena.used() == planned);
  CHECK(arena.capacity() == planned);
  for (const void* data : {static_cast<const void*>(floats.data()),
                           static_cast<const void*>(byte.data()),
                           static_cast<const void*>(halves.data())})
    CHECK(reinterpret_cast<uintptr_t>(data) % Arena::kAlignment == 0);
  for (float value : floats) CHECK(value == 0.0f);
  for (uint16_t value : halves) CHECK(value == 0);
  // Filling one leaves its neighbours alone.
  std::memset(byte.data(), 0xFF, byte.size_bytes());
  CHECK(floats[6] == 0.0f);
  CHECK(halves[0] == 0);
  // The plan is used up: not one byte more.
  CHECK(arena.Carve<uint8_t>(1).empty());
  CHECK(arena.used() == planned);
}

TEST_CASE(
    "an exhausted or absurd request gives an empty span, no wrap-around") {
  auto reserved = Arena::Reserve(4096);
  REQUIRE(reserved.ok());
  Arena arena = std::move(reserved).value();
  constexpr size_t kMax = std::numeric_limits<size_t>::max();
  CHECK(arena.Carve<uint8_t>(4097).empty());
  CHECK(arena.Carve<uint8_t>(kMax).empty());
  // Sizes whose product with 8 wraps around to 8 and to 0.
  CHECK(arena.Carve<uint64_t>(kMax / 8 + 2).empty());
  CHECK(arena.Carve<uint64_t>(kMax / 8 + 1).empty());
  CHECK(arena.used() == 0);
  CHECK(arena.Carve<uint8_t>(4096).size() == 4096);
}

TEST_CASE("a reservation that cannot be had is refused with a reason") {
  const auto refused = Arena::Reserve(std::numeric_limits<uint64_t>::max());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.status().code() == StatusCode::kDoesNotFit);
  CHECK(refused.status().message().find("bytes") != std::string::npos);
  auto none = Arena::Reserve(0);
  REQUIRE(none.ok());
  CHECK(none->capacity() == 0);
  CHECK(none->Carve<uint8_t>(1).empty());
}

TEST_CASE("moving an arena moves its spans' owner") {
  auto reserved = Arena::Reserve(1 << 16);
  REQUIRE(reserved.ok());
  Arena first = std::move(reserved).value();
  const auto span = first.Carve<uint32_t>(100);
  span[99] = 42;
  Arena second(std::move(first));
  CHECK(second.used() == Arena::CarvedBytes(400));
  CHECK(span[99] == 42);
  CHECK(first.capacity() == 0);  // NOLINT: the moved-from state is defined
  Arena third;
  third = std::move(second);
  CHECK(span[99] == 42);
}

TEST_CASE("releasing returns whole pages inside, and only those") {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  constexpr size_t kPages = 512;
  auto reserved = Arena::Reserve((kPages + 2) * page);
  REQUIRE(reserved.ok());
  Arena arena = std::move(reserved).value();
  const auto all = arena.Carve<std::byte>((kPages + 2) * page);
  REQUIRE(!all.empty());
  std::memset(all.data(), 0x5A, all.size());
  const uint64_t before = ResidentPages();
  // From the middle of the first page to the middle of the last.
  Arena::Release(all.subspan(page / 2, (kPages + 1) * page));
  const uint64_t after = ResidentPages();
  CHECK(before >= after + kPages / 2);
  CHECK(all[0] == std::byte{0x5A});
  CHECK(all[page - 1] == std::byte{0x5A});
  CHECK(all[page] == std::byte{0});
  CHECK(all[(kPages + 1) * page - 1] == std::byte{0});
  CHECK(all[(kPages + 1) * page] == std::byte{0x5A});
  // Less than a page: nothing happens.
  Arena::Release(all.subspan(1, page / 2));
  CHECK(all[1] == std::byte{0x5A});
  Arena::Release({});
}

}  // namespace
}  // namespace dapple
