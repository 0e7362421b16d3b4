// Decode products and attention, beside the machine's own limits.
//
//   OMP_PROC_BIND=true build/bench/kernels_bench --benchmark_repetitions=9
//
// The last argument of every row is the number of threads. Matrix-vector rows
// give GB/s of weights; `cold` walks through copies that together exceed the
// caches, as a decode step does with a model. Attention rows give GFLOPS
// (prefill, probe_score) or GB/s of keys and values (decode). peak_f32 and
// dram_read are the limits: register-only multiply-adds, and summing 512 MiB.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/gemv.h"
#include "kernels/kv_rows.h"
#include "kernels/probe_score.h"
#include "kernels/targets.h"
#include "util/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Ten chains hide the latency of two multiply-add units. Returns flops done.
double MultiplyAdd(size_t iterations, float* sink) {
  const hn::ScalableTag<float> d;
  hn::Vec<decltype(d)> acc[10];
  HWY_UNROLL(10)
  for (size_t i = 0; i < 10; ++i)
    acc[i] = hn::Set(d, 1.0f + static_cast<float>(i));
  const auto a = hn::Set(d, *sink);
  const auto b = hn::Set(d, *sink * 0.5f);
  for (size_t t = 0; t < iterations; ++t) {
    HWY_UNROLL(10)
    for (size_t i = 0; i < 10; ++i) acc[i] = hn::MulAdd(acc[i], a, b);
  }
  HWY_UNROLL(10)
  for (size_t i = 1; i < 10; ++i) acc[0] = hn::Add(acc[0], acc[i]);
  *sink = hn::GetLane(acc[0]);
  return 20.0 * static_cast<double>(iterations * hn::Lanes(d));
}

float SumAll(const float* x, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t n = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  for (size_t i = 0; i + 2 * n <= count; i += 2 * n) {
    a = hn::Add(a, hn::LoadU(d, x + i));
    b = hn::Add(b, hn::LoadU(d, x + i + n));
  }
  return hn::ReduceSum(d, hn::Add(a, b));
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {
namespace {

HWY_EXPORT(MultiplyAdd);
HWY_EXPORT(SumAll);

using benchmark::Counter;

// Cheap pseudo-random bytes; floats from them are in [-1, 1).
uint32_t Next(uint32_t& state) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}
std::vector<float> Floats(size_t count) {
  uint32_t state = 1;
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(Next(state)) * 0x1p-23f - 1.0f;
  return values;
}

void PeakF32(benchmark::State& state) {
  const Parallel parallel(static_cast<int>(state.range(0)));
  const size_t threads = static_cast<size_t>(state.range(0));
  double flops = 0.0;
  for (auto _ : state) {
    std::vector<double> done(threads);
    parallel.For(threads, [&](size_t item, int) {
      float sink = 0.5f;
      done[item] = HWY_DYNAMIC_DISPATCH(MultiplyAdd)(2000000, &sink);
      benchmark::DoNotOptimize(sink);
    });
    for (double d : done) flops += d;
  }
  state.counters["GFLOPS"] = Counter(flops * 1e-9, Counter::kIsRate);
}

void DramRead(benchmark::State& state) {
  const Parallel parallel(static_cast<int>(state.range(0)));
  const std::vector<float> data(size_t{128} << 20, 1.0f);
  const size_t chunk = size_t{1} << 20;
  for (auto _ : state)
    parallel.For(data.size() / chunk, [&](size_t item, int) {
      benchmark::DoNotOptimize(
          HWY_DYNAMIC_DISPATCH(SumAll)(data.data() + item * chunk, chunk));
    });
  state.counters["GB/s"] = Counter(static_cast<double>(data.size() * 4) * 1e-9,
                                   Counter::kIsIterationInvariantRate);
}

void GemvBench(benchmark::State& state, TensorType type, bool cold) {
  const size_t n = static_cast<size_t>(state.range(0));
  const size_t k = static_cast<size_t>(state.range(1));
  const Parallel parallel(static_cast<int>(state.range(2)));
  const size_t row_bytes = RowBytes(type, k);
  const size_t bytes = n * row_bytes;
  const size_t copies = cold ? (size_t{256} << 20) / bytes + 1 : 1;
  std::vector<uint8_t> w(bytes * copies);
  uint32_t random = 7;
  for (uint8_t& b : w) b = static_cast<uint8_t>(Next(random));
  const F16 scale = ToF16(0.01f);
  const size_t block = InfoOf(type).block_bytes;
  if (block > 2)
    for (size_t at = 0; at < w.size(); at += block)
      std::memcpy(&w[at], &scale, 2);
  else
    for (uint8_t& b : w) b &= 0x3F;  // finite f16 and bf16
  const auto x = Floats(k);
  std::vector<BlockActivation> xq(k / 32);
  QuantizeActivations(x.data(), k, xq.data());
  std::vector<float> y(n);
  const size_t chunk = 64;
  size_t copy = 0;
  for (auto _ : state) {
    const uint8_t* matrix = w.data() + copy * bytes;
    copy = (copy + 1) % copies;
    parallel.For((n + chunk - 1) / chunk, [&](size_t item, int) {
      const size_t first = item * chunk;
      const size_t last = std::min(n, first + chunk);
      if (HasQuantizedGemv(type))
        GemvQuantized(type, matrix, row_bytes, k, first, last, xq.data(),
                      y.data());
      else
        Gemv(type, matrix, row_bytes, k, first, last, x.data(), y.data());
    });
    benchmark::ClobberMemory();
  }
  state.counters["GB/s"] = Counter(static_cast<double>(bytes) * 1e-9,
                                   Counter::kIsIterationInvariantRate);
}

// `heads` KV heads of `count` keys and as many values.
class Cache {
 public:
  Cache(KvType type, size_t heads, size_t count, size_t dim)
      : type_(type),
        dim_(dim),
        head_bytes_(count * KvRowBytes(type, dim)),
        keys_(heads * head_bytes_),
        values_(heads * head_bytes_) {
    auto floats = Floats(count * dim);
    for (std::vector<std::byte>* rows : {&keys_, &values_}) {
      for (size_t h = 0; h < heads; ++h)
        StoreKvRows(type, floats.data(), dim, count, dim,
                    rows->data() + h * head_bytes_);
      for (float& v : floats) v = -v;
    }
  }
  KvView Head(size_t head) const {
    return {type_, keys_.data() + head * head_bytes_,
            values_.data() + head * head_bytes_, dim_};
  }

 private:
  KvType type_;
  size_t dim_;
  size_t head_bytes_;
  std::vector<std::byte> keys_;
  std::vector<std::byte> values_;
};

void Prefill(benchmark::State& state) {
  const size_t dim = static_cast<size_t>(state.range(0));
  const size_t group = static_cast<size_t>(state.range(1));
  const size_t count = static_cast<size_t>(state.range(2));
  const Parallel parallel(static_cast<int>(state.range(3)));
  const size_t threads = static_cast<size_t>(state.range(3));
  const size_t rows = PrefillAttentionRows(group);
  const Cache cache(KvType::kF16, 1, count, dim);
  const KvView kv = cache.Head(0);
  const size_t width = group * dim;
  const auto q = Floats(rows * width);
  std::vector<float> out(threads * rows * width);
  const size_t scratch_size = PrefillAttentionScratch(rows, group, dim);
  std::vector<float> scratch(threads * scratch_size);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (auto _ : state)
    parallel.For(threads, [&](size_t item, int thread) {
      PrefillAttention(
          kv, q.data(), width, rows, group, count - rows, {scale},
          scratch.data() + static_cast<size_t>(thread) * scratch_size,
          out.data() + item * rows * width, width);
    });
  // Two products of 2 flops a (query, visible key, dimension).
  const double visible =
      static_cast<double>(count) - static_cast<double>(rows - 1) / 2.0;
  state.counters["GFLOPS"] =
      Counter(4e-9 * static_cast<double>(threads * rows * width) * visible,
              Counter::kIsIterationInvariantRate);
}

// One KV head a thread, its probe rows scoring every key but their own.
void ProbeScore(benchmark::State& state) {
  const size_t dim = static_cast<size_t>(state.range(0));
  const size_t group = static_cast<size_t>(state.range(1));
  const size_t rows = static_cast<size_t>(state.range(2));
  const size_t scored = static_cast<size_t>(state.range(3));
  const Parallel parallel(static_cast<int>(state.range(4)));
  const size_t threads = static_cast<size_t>(state.range(4));
  const Cache cache(KvType::kF16, 1, scored + rows, dim);
  const size_t width = group * dim;
  const auto q = Floats(rows * width);
  std::vector<float> scores(threads * scored);
  const size_t scratch_size = ProbeScoreScratch(rows, group, dim);
  std::vector<float> scratch(threads * scratch_size);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (auto _ : state)
    parallel.For(threads, [&](size_t item, int thread) {
      AddProbeScores(
          KvType::kF16, cache.Head(0).keys, dim, q.data(), width, rows, group,
          scored, scored, {scale}, 1.0f,
          scratch.data() + static_cast<size_t>(thread) * scratch_size,
          scores.data() + item * scored);
    });
  // Two passes of 2 flops a (query, scored key, dimension).
  state.counters["GFLOPS"] =
      Counter(4e-9 * static_cast<double>(threads * rows * width * scored),
              Counter::kIsIterationInvariantRate);
}

void Decode(benchmark::State& state, KvType type) {
  const size_t dim = static_cast<size_t>(state.range(0));
  const size_t group = static_cast<size_t>(state.range(1));
  const size_t count = static_cast<size_t>(state.range(2));
  const Parallel parallel(static_cast<int>(state.range(3)));
  const size_t threads = static_cast<size_t>(state.range(3));
  const size_t heads = 32;  // 128 MiB at dim 64: beyond the caches
  const Cache cache(type, heads, count, dim);
  const auto q = Floats(group * dim);
  std::vector<float> out(heads * group * dim);
  const size_t scratch_size = DecodeAttentionScratch(group, dim);
  std::vector<float> scratch(threads * scratch_size);
  const AttentionParams params{1.0f / std::sqrt(static_cast<float>(dim))};
  const size_t parts = DecodeParts(count, params);
  const size_t part_size = DecodePartFloats(group, dim);
  std::vector<float> outcomes(heads * parts * part_size);
  for (auto _ : state) {
    parallel.For(heads * parts, [&](size_t item, int thread) {
      const size_t h = item / parts;
      DecodeAttentionPart(
          cache.Head(h), q.data(), group, count, params, item % parts,
          scratch.data() + static_cast<size_t>(thread) * scratch_size,
          outcomes.data() + item * part_size);
    });
    for (size_t h = 0; h < heads; ++h)
      MergeDecodeParts(outcomes.data() + h * parts * part_size, parts, group,
                       dim, out.data() + h * group * dim);
  }
  state.counters["GB/s"] =
      Counter(2e-9 * static_cast<double>(heads * count * KvRowBytes(type, dim)),
              Counter::kIsIterationInvariantRate);
}

void Register() {
  const auto wall = [](benchmark::internal::Benchmark* b) {
    return b->UseRealTime()->Unit(benchmark::kMicrosecond);
  };
  wall(benchmark::RegisterBenchmark("peak_f32", PeakF32))->Arg(1)->Arg(2);
  wall(benchmark::RegisterBenchmark("dram_read", DramRead))->Arg(1)->Arg(2);
  for (TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0,
                          TensorType::kBF16, TensorType::kF16}) {
    for (bool cold : {false, true}) {
      const std::string name =
          "gemv_" + std::string(InfoOf(type).name) + (cold ? "/cold" : "/warm");
      auto* b = wall(benchmark::RegisterBenchmark(
          name.c_str(), [type, cold](benchmark::State& state) {
            GemvBench(state, type, cold);
          }));
      for (int threads : {1, 2}) {
        b->Args({896, 896, threads});
        b->Args({4864, 896, threads});
        b->Args({2048, 2048, threads});
        b->Args({2048, 8192, threads});
      }
    }
  }
  auto* prefill =
      wall(benchmark::RegisterBenchmark("prefill_attention", Prefill));
  const auto decode_of = [&](const char* name, KvType type) {
    return wall(benchmark::RegisterBenchmark(
        name, [type](benchmark::State& state) { Decode(state, type); }));
  };
  auto* decode = decode_of("decode_attention", KvType::kF16);
  auto* decode_q8 = decode_of("decode_attention_q8", KvType::kQ8);
  auto* probe = wall(benchmark::RegisterBenchmark("probe_score", ProbeScore));
  for (int threads : {1, 2}) {
    for (int group : {1, 4, 7})
      for (int dim : {64, 128}) probe->Args({dim, group, 32, 8192, threads});
    for (int group : {1, 2, 4, 7})
      for (int dim : {64, 128}) prefill->Args({dim, group, 4096, threads});
    for (int group : {1, 4, 7, 8})
      for (int dim : {64, 128})
        for (auto* b : {decode, decode_q8})
          b->Args({dim, group, 16384, threads});
  }
}

}  // namespace
}  // namespace dapple::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext(
      "target", dapple::kernels::TargetName(dapple::kernels::ActiveTarget()));
  dapple::kernels::Register();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
#endif  // HWY_ONCE
