#include "util/parallel.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <atomic>
#include <cstddef>
#include <initializer_list>
#include <vector>

#include "util/cpu_info.h"

namespace dapple {
namespace {

TEST_CASE("each item runs once, on a thread of the team") {
  for (int threads : {1, 2, 3, 8}) {
    const Parallel parallel(threads);
    CHECK(parallel.threads() == threads);
    for (size_t items : {0, 1, 2, 7, 1000}) {
      CAPTURE(threads);
      CAPTURE(items);
      std::vector<std::atomic<int>> runs(items);
      std::atomic<int> strangers{0};
      parallel.For(items, [&](size_t item, int thread) {
        runs[item].fetch_add(1);
        if (thread < 0 || thread >= threads) strangers.fetch_add(1);
      });
      size_t once = 0;
      for (const auto& count : runs) once += count.load() == 1;
      CHECK(once == items);
      CHECK(strangers.load() == 0);
    }
  }
}

TEST_CASE("no two items share a thread number at the same time") {
  const Parallel parallel(4);
  std::vector<std::atomic<int>> busy(4);
  std::atomic<int> clashes{0};
  parallel.For(500, [&](size_t, int thread) {
    const size_t slot = static_cast<size_t>(thread);
    if (busy[slot].fetch_add(1) != 0) clashes.fetch_add(1);
    for (volatile int spin = 0; spin < 200;) spin = spin + 1;
    busy[slot].fetch_sub(1);
  });
  CHECK(clashes.load() == 0);
}

TEST_CASE("what the threads wrote is seen after the loop") {
  const Parallel parallel(4);
  std::vector<size_t> squares(10007);
  parallel.For(squares.size(),
               [&](size_t item, int) { squares[item] = item * item; });
  size_t wrong = 0;
  for (size_t i = 0; i < squares.size(); ++i) wrong += squares[i] != i * i;
  CHECK(wrong == 0);
}

TEST_CASE("short loops of changing length, one after another, lose no item") {
  // A late thread must not mistake the next loop for the one it woke for.
  const Parallel parallel(2);
  std::atomic<size_t> ran{0};
  size_t expected = 0;
  parallel.Region([&] {
    for (size_t loop = 0; loop < 200000; ++loop) {
      const size_t items = loop % 2 == 0 ? 2 : 64;
      parallel.For(items, [&](size_t, int) {
        ran.fetch_add(1, std::memory_order_relaxed);
      });
      expected += items;
    }
  });
  CHECK(ran.load() == expected);
}

TEST_CASE("a thread that is held up leaves its other items to the rest") {
  // Whoever takes an item of the first half is held until all of the other
  // items have run; if it kept any to itself, this would not end.
  const Parallel parallel(3);
  const size_t items = 60;
  std::atomic<size_t> ran{0};
  std::atomic<bool> held{false};
  parallel.For(items, [&](size_t, int) {
    if (!held.exchange(true))
      while (ran.load() != items - 1) sched_yield();
    ran.fetch_add(1);
  });
  CHECK(ran.load() == items);
}

TEST_CASE("a pinned team runs each thread on a core of its own") {
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  const std::vector<int> cores = UsableCores();
  const int threads = static_cast<int>(cores.size());
  std::atomic<int> strangers{0};
  const Parallel parallel(threads, /*pin=*/true);
  parallel.For(100, [&](size_t, int thread) {
    if (sched_getcpu() != cores[static_cast<size_t>(thread)])
      strangers.fetch_add(1);
  });
  CHECK(strangers.load() == 0);
  // The runtime lends these threads to later teams: let them go again.
  std::vector<std::atomic<int>> freed(cores.size());
  parallel.For(cores.size(), [&](size_t, int thread) {
    sched_setaffinity(0, sizeof(before), &before);
    freed[static_cast<size_t>(thread)].store(1);
    // Nobody does two of these items.
    for (const auto& other : freed)
      while (other.load() == 0) sched_yield();
  });
  CHECK(parallel.threads() == threads);
}

TEST_CASE("zero threads means the usable physical cores, and heeds affinity") {
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  const int cores = UsablePhysicalCores();
  CHECK(cores >= 1);
  CHECK(cores <= CPU_COUNT(&before));
  CHECK(Parallel().threads() == cores);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  const int alone = UsablePhysicalCores();
  REQUIRE(sched_setaffinity(0, sizeof(before), &before) == 0);
  CHECK(alone == 1);
  CHECK_FALSE(CpuModelName().empty());
}

}  // namespace
}  // namespace dapple
