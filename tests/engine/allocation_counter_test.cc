#include "allocation_counter.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <memory>

namespace dapple::test {
namespace {

TEST_CASE("the allocation counter sees new, malloc and aligned memory") {
  if (!AllocationCounter::Works()) return;
  AllocationCounter counter;
  const auto number = std::make_unique<int>(3);
  void* volatile plain = std::malloc(10);
  void* volatile aligned = std::aligned_alloc(64, 128);
  const size_t seen = counter.Stop();
  std::free(plain);
  std::free(aligned);
  CHECK(*number == 3);
  CHECK(seen == 3);
}

}  // namespace
}  // namespace dapple::test
