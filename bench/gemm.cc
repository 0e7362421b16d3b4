// Prefill GEMM as a share of the machine's own peak.
//
//   OMP_PROC_BIND=true build/bench/gemm_bench --benchmark_repetitions=9
//
// The peak is measured in the same process, with as many threads: bf16 dot
// products (where the CPU has them) or float multiply-adds on registers only.
// peak_bf16 and peak_f32 are separate rows; every product row carries GFLOPS
// and its share of the peak that its arithmetic has.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "gemm/gemm.h"
#include "kernels/targets.h"
#include "util/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Twelve chains hide the latency of two FMA units and fit 16 registers.
#define DAPPLE_BENCH_CHAINS(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
// Different starts, or the compiler would merge the chains into one.
#define DAPPLE_BENCH_DECLARE(i) auto sum##i = hn::Set(d, seed * (i + 1));
#define DAPPLE_BENCH_COLLECT(i) total = hn::Add(total, sum##i);

// Runs `steps` × 12 float multiply-adds; returns their operations.
double FloatSteps(size_t steps, float seed, float* out) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, seed);
  const auto b = hn::Set(d, seed * 0.5f);
  DAPPLE_BENCH_CHAINS(DAPPLE_BENCH_DECLARE)
  for (size_t i = 0; i < steps; ++i) {
#define DAPPLE_BENCH_STEP(i) sum##i = hn::MulAdd(a, sum##i, b);
    DAPPLE_BENCH_CHAINS(DAPPLE_BENCH_STEP)
#undef DAPPLE_BENCH_STEP
  }
  auto total = hn::Zero(d);
  DAPPLE_BENCH_CHAINS(DAPPLE_BENCH_COLLECT)
  *out = hn::ReduceSum(d, total);
  return 2.0 * 12 * static_cast<double>(hn::Lanes(d) * steps);
}

// The same with bf16 dot products; 0 where they are not in hardware.
double HalfSteps(size_t steps, float seed, float* out) {
#if HWY_NATIVE_DOT_BF16 && !HWY_TARGET_IS_SVE
  const hn::ScalableTag<float> d;
  const hn::Repartition<hwy::bfloat16_t, decltype(d)> db;
  const auto a = hn::BitCast(db, hn::Set(d, seed));
  auto unused = hn::Zero(d);
  DAPPLE_BENCH_CHAINS(DAPPLE_BENCH_DECLARE)
  for (size_t i = 0; i < steps; ++i) {
#define DAPPLE_BENCH_STEP(i) \
  sum##i = hn::ReorderWidenMulAccumulate(d, a, a, sum##i, unused);
    DAPPLE_BENCH_CHAINS(DAPPLE_BENCH_STEP)
#undef DAPPLE_BENCH_STEP
  }
  auto total = unused;
  DAPPLE_BENCH_CHAINS(DAPPLE_BENCH_COLLECT)
  *out = hn::ReduceSum(d, total);
  return 4.0 * 12 * static_cast<double>(hn::Lanes(d) * steps);
#else
  (void)steps;
  (void)seed;
  *out = 0;
  return 0;
#endif
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple {
namespace {

HWY_EXPORT(FloatSteps);
HWY_EXPORT(HalfSteps);

// The best GFLOPS of 20 runs of ~2 ms on `threads` threads at once.
double Peak(bool half, int threads) {
  static std::map<std::pair<bool, int>, double> known;
  double& best = known[{half, threads}];
  if (best > 0) return best;
  constexpr size_t kSteps = 200000;
  const Parallel parallel(threads);
  const auto count = static_cast<size_t>(threads);
  for (int run = 0; run < 20; ++run) {
    std::vector<double> work(count);
    const auto start = std::chrono::steady_clock::now();
    parallel.For(count, [&](size_t i, int) {
      float sink;
      work[i] = half ? HWY_DYNAMIC_DISPATCH(HalfSteps)(kSteps, 1e-3f, &sink)
                     : HWY_DYNAMIC_DISPATCH(FloatSteps)(kSteps, 1e-3f, &sink);
      benchmark::DoNotOptimize(sink);
    });
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    double total = 0;
    for (double w : work) total += w;
    best = std::max(best, total / seconds * 1e-9);
  }
  return best;
}

struct FreeBytes {
  void operator()(std::byte* p) const { std::free(p); }
};

std::unique_ptr<std::byte, FreeBytes> Bytes(size_t size) {
  auto* bytes =
      static_cast<std::byte*>(std::aligned_alloc(64, (size + 127) / 64 * 64));
  std::memset(bytes, 0, size);
  return std::unique_ptr<std::byte, FreeBytes>(bytes);
}

struct Case {
  GemmBackend backend;
  size_t n, k, rows;
  int threads;
  TensorType type = TensorType::kF32;  // of the weights
};

void Multiply(benchmark::State& state, Case c) {
  Gemm::Config config;
  config.backend = c.backend;
  config.shapes = {{c.n, c.k}};
  config.max_rows = c.rows;
  config.threads = c.threads;
  auto created = Gemm::Create(config);
  if (!created.ok()) {
    state.SkipWithError(created.status().message().c_str());
    return;
  }
  const Gemm& gemm = **created;
  const Parallel parallel(c.threads);
  std::vector<float> x(c.rows * c.k), y(c.rows * c.n);
  const size_t row_bytes = RowBytes(c.type, c.k);
  const auto weights = Bytes(c.n * row_bytes);
  // Any bytes do for quantized types; of floats, numbers.
  for (size_t i = 0; i < c.n * row_bytes; ++i)
    weights.get()[i] = static_cast<std::byte>(i % 61);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(i % 127) - 63.0f;
  const WeightMatrix w{c.type, weights.get(), row_bytes, c.n, c.k};
  const auto packed = Bytes(gemm.PackedBytes({c.n, c.k}));
  const auto scratch = Bytes(gemm.ScratchBytes());
  const std::span<std::byte> packed_span(packed.get(),
                                         gemm.PackedBytes({c.n, c.k}));
  gemm.Pack(w, packed_span, parallel);
  // One untimed product, so that the team of threads is up.
  const auto multiply = [&] {
    gemm.Multiply({c.n, c.k}, packed_span, x.data(), c.k, c.rows, y.data(), c.n,
                  {scratch.get(), gemm.ScratchBytes()}, parallel);
    benchmark::ClobberMemory();
  };
  multiply();
  double best = 1e30;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    multiply();
    best = std::min(best, std::chrono::duration<double>(
                              std::chrono::steady_clock::now() - start)
                              .count());
  }
  const double flops = 2.0 * static_cast<double>(c.n * c.k * c.rows);
  const bool half =
      c.backend != GemmBackend::kF32 && kernels::HasNativeBF16Dot();
  const double peak = Peak(half, c.threads) * 1e9;
  state.counters["GFLOPS"] = benchmark::Counter(
      flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(
      flops / peak, benchmark::Counter::kIsIterationInvariantRate);
  // On a busy machine the mean tells little: the best single product too.
  state.counters["best_of_peak"] = flops / best / peak;
}

void Pack(benchmark::State& state, GemmBackend backend, TensorType type,
          int threads) {
  constexpr size_t kN = 4864, kK = 896;
  Gemm::Config config;
  config.backend = backend;
  config.shapes = {{kN, kK}};
  config.max_rows = 32;
  config.threads = threads;
  auto created = Gemm::Create(config);
  if (!created.ok()) {
    state.SkipWithError(created.status().message().c_str());
    return;
  }
  const Gemm& gemm = **created;
  const size_t row_bytes = RowBytes(type, kK);
  const auto weights = Bytes(kN * row_bytes);
  const auto packed = Bytes(gemm.PackedBytes({kN, kK}));
  const Parallel parallel(threads);
  for (auto _ : state) {
    gemm.Pack({type, weights.get(), row_bytes, kN, kK},
              {packed.get(), gemm.PackedBytes({kN, kK})}, parallel);
    benchmark::ClobberMemory();
  }
  state.counters["weights"] =
      benchmark::Counter(static_cast<double>(kN * kK),
                         benchmark::Counter::kIsIterationInvariantRate);
}

void RegisterAll() {
  for (int threads : {1, 2}) {
    for (bool half : {true, false})
      benchmark::RegisterBenchmark(
          ("peak_" + std::string(half ? "bf16" : "f32") +
           "/threads:" + std::to_string(threads))
              .c_str(),
          [half, threads](benchmark::State& state) {
            double peak = 0;
            for (auto _ : state) peak = Peak(half, threads);
            state.counters["GFLOPS"] = peak;
          })
          ->Iterations(1);
    constexpr std::pair<GemmBackend, TensorType> kBackends[] = {
        {GemmBackend::kOneDnn, TensorType::kF32},
        {GemmBackend::kHighway, TensorType::kF32},
        {GemmBackend::kF32, TensorType::kF32},
        {GemmBackend::kInt8, TensorType::kQ4_0},
        {GemmBackend::kInt8, TensorType::kQ5_K},
        {GemmBackend::kInt8, TensorType::kQ8_0}};
    for (const auto& [backend, weights] : kBackends) {
      const std::string name = std::string(Gemm::BackendName(backend)) +
                               (backend == GemmBackend::kInt8
                                    ? "/" + std::string(InfoOf(weights).name)
                                    : "");
      constexpr GemmShape kShapes[] = {
          {512, 512}, {1536, 512}, {512, 1536}, {4864, 896}, {8192, 2048}};
      for (const GemmShape& shape : kShapes) {
        if (shape.k % InfoOf(weights).block_elements != 0) continue;
        const Case c{backend, shape.n, shape.k, 512, threads, weights};
        benchmark::RegisterBenchmark(
            ("multiply/" + name + "/n:" + std::to_string(c.n) + "/k:" +
             std::to_string(c.k) + "/threads:" + std::to_string(threads))
                .c_str(),
            [c](benchmark::State& state) { Multiply(state, c); })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
      for (const TensorTypeInfo& info : kTensorTypes) {
        if (backend == GemmBackend::kInt8 && weights != TensorType::kQ4_0)
          continue;  // once
        benchmark::RegisterBenchmark(
            ("pack/" + name + "/" + std::string(info.name) +
             "/threads:" + std::to_string(threads))
                .c_str(),
            [backend = backend, type = info.type,
             threads](benchmark::State& state) {
              Pack(state, backend, type, threads);
            })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
}

}  // namespace
}  // namespace dapple

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  // DAPPLE_TARGET=avx2 and the like measures another instruction set.
  if (const char* name = std::getenv("DAPPLE_TARGET")) {
    const int64_t target = dapple::kernels::FindTarget(name);
    if (target == 0) return 2;
    dapple::kernels::ForceTarget(target);
  }
  dapple::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
#endif  // HWY_ONCE
