// What Gemm allocates, and when. Replaces operator new for the whole binary.
#include <doctest/doctest.h>
#include <malloc.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <thread>

#include "gemm_fixture.h"

namespace {

std::atomic<size_t> own_allocations{0};
std::atomic<size_t> library_allocations{0};

void* Allocate(size_t size, size_t alignment) {
  (dapple::Gemm::InsideLibrary() ? library_allocations : own_allocations)
      .fetch_add(1, std::memory_order_relaxed);
  void* p = alignment > alignof(std::max_align_t)
                ? std::aligned_alloc(alignment,
                                     (size + alignment - 1) & ~(alignment - 1))
                : std::malloc(size > 0 ? size : 1);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(size_t size) { return Allocate(size, 0); }
void* operator new[](size_t size) { return Allocate(size, 0); }
void* operator new(size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete[](void* p, size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace dapple {
namespace {

using gemm_test::Bench;
using gemm_test::MakeBench;
using gemm_test::RandomFloats;
using gemm_test::RandomWeights;
using gemm_test::Weights;

size_t HeapBytes() {
#if __GLIBC_PREREQ(2, 33)
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
#else
  return 0;
#endif
}

size_t Tasks() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  size_t count = 0;
  for (const auto& task : tasks) count += task.exists();
  return count;
}

// The same, once threads that another test has let go have ended.
size_t SettledTasks() {
  size_t count = Tasks();
  for (int same = 0; same < 10;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const size_t now = Tasks();
    same = now == count ? same + 1 : 0;
    count = now;
  }
  return count;
}

TEST_CASE("neither packing nor multiplying allocates") {
  constexpr size_t kN = 100, kK = 320, kRows = 77;
  const Weights w = RandomWeights(TensorType::kQ8_0, kN, kK, 1);
  const std::vector<float> x = RandomFloats(kRows * kK, 2);
  std::vector<float> y(kRows * kN);
  for (GemmBackend backend : {GemmBackend::kOneDnn, GemmBackend::kHighway,
                              GemmBackend::kF32, GemmBackend::kInt8}) {
    for (int threads : {1, 2}) {
      auto bench = MakeBench(backend, threads, kRows, w);
      if (bench == nullptr) continue;
      CAPTURE(Gemm::BackendName(backend));
      // OpenMP makes its team on first use.
      bench->Multiply(x.data(), kK, kRows, y.data(), kN);
      const size_t own = own_allocations;
      // What the library takes during a call it gives back, but for what it
      // keeps for each thread from the thread's first call: some round of
      // these must leave the heap as it was.
      bool steady = false;
      for (int round = 0; round < 5 && !steady; ++round) {
        const size_t heap = HeapBytes();
        for (size_t i = 0; i < 10; ++i) {
          bench->gemm->Pack(w.View(), bench->packed.span(), bench->parallel);
          bench->Multiply(x.data(), kK, kRows - i, y.data(), kN);
        }
        steady = HeapBytes() == heap;
      }
      CHECK(steady);
      CHECK(own_allocations == own);
      CHECK_FALSE(Gemm::InsideLibrary());
    }
  }
}

TEST_CASE("a Gemm for one thread starts no others") {
  constexpr size_t kN = 200, kK = 512, kRows = 100;
  const Weights w = RandomWeights(TensorType::kBF16, kN, kK, 1);
  const std::vector<float> x = RandomFloats(kRows * kK, 2);
  for (GemmBackend backend : {GemmBackend::kOneDnn, GemmBackend::kHighway}) {
    // libgomp's pool belongs to the thread that opened it: a fresh one has
    // none, so a team started behind our back would show.
    std::thread([&] {
      std::vector<float> y(kRows * kN, NAN);
      const size_t tasks = SettledTasks();
      auto bench = MakeBench(backend, 1, kRows, w);
      if (bench == nullptr) return;
      bench->Multiply(x.data(), kK, kRows, y.data(), kN);
      CHECK(SettledTasks() == tasks);
      CHECK(std::isfinite(y.back()));
    }).join();
  }
}

TEST_CASE("the memory that a backend holds is reported") {
  const Weights w = RandomWeights(TensorType::kBF16, 64, 64, 1);
  for (GemmBackend backend : {GemmBackend::kOneDnn, GemmBackend::kHighway,
                              GemmBackend::kF32, GemmBackend::kInt8}) {
    auto bench = MakeBench(backend, 2, 512, w);
    if (bench == nullptr) continue;
    CAPTURE(Gemm::BackendName(backend));
    MESSAGE(Gemm::BackendName(backend), ": own ", bench->gemm->OwnBytes(),
            " scratch ", bench->gemm->ScratchBytes());
    CHECK(bench->gemm->OwnBytes() > 0);
    CHECK(bench->gemm->OwnBytes() < (size_t{64} << 20));
    if (backend == GemmBackend::kOneDnn)
      CHECK(bench->gemm->OwnBytes() >= (size_t{64} << 10));
  }
}

}  // namespace
}  // namespace dapple
