#include "gemm/gemm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "gemm/int8_gemm.h"
#include "gemm_fixture.h"
#include "int8_kernels.h"
#include "int8_rounding.h"
#include "kernels/byte_dot.h"
#include "kernels/gemv.h"
#include "kernels/reference.h"
#include "kernels/targets.h"
#include "util/cpu_features.h"

namespace dapple {
namespace {

using gemm_test::Bench;
using gemm_test::LargestError;
using gemm_test::MakeBench;
using gemm_test::OnEveryInt8Kernel;
using gemm_test::RandomFloats;
using gemm_test::RandomWeights;
using gemm_test::RoundGroups;
using gemm_test::RoundRows;
using gemm_test::Weights;

constexpr GemmBackend kBackends[] = {GemmBackend::kOneDnn,
                                     GemmBackend::kHighway, GemmBackend::kF32,
                                     GemmBackend::kInt8};
// Sums of a few thousand floats, relative to the sum of magnitudes.
constexpr double kFloatSums = 1e-6;
// The same after each activation was rounded to 8 bits: off by 2^-8 at most.
constexpr double kRoundedRows = 0x1p-8 + kFloatSums;

std::string Name(GemmBackend backend) {
  return std::string(Gemm::BackendName(backend));
}

bool Available(GemmBackend backend) {
  Gemm::Config config;
  config.backend = backend;
  config.max_rows = 1;
  return backend != GemmBackend::kOneDnn || Gemm::Create(config).ok();
}

// x rounded to bf16: then no backend may lose anything but in its sums.
void RoundToBF16(std::vector<float>* x) {
  for (float& v : *x) v = ToFloat(ToBF16(v));
}

// Whether the int8 backend takes weights of a type as they are.
bool ExactInInt8(TensorType type) {
  switch (type) {
    case TensorType::kQ8_0:
    case TensorType::kQ4_0:
    case TensorType::kQ5_0:
    case TensorType::kIQ4_NL:
    case TensorType::kIQ4_XS:
    case TensorType::kMXFP4:
      return true;
    case TensorType::kQ4_1:
    case TensorType::kQ5_1:
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
      return int8_gemm::ActiveKernel().minima;
    default:
      return false;
  }
}

void CheckInt8Product(Bench& bench, const Weights& weights, size_t rows) {
  Weights w = weights;
  if (!ExactInInt8(w.type)) RoundGroups(w.n, w.k, &w.values);
  std::vector<float> x = RandomFloats(rows * w.k, 8);
  std::vector<float> y(rows * w.n, NAN);
  bench.Multiply(x.data(), w.k, rows, y.data(), w.n);
  // An activation is off by half of its group's scale, a 254th of the largest.
  CHECK(LargestError(weights, false, x.data(), w.k, rows, y.data(), w.n) <=
        0.03);
  if (int8_gemm::ActiveKernel().minima)
    RoundRows(rows, w.k, &x);
  else
    RoundGroups(rows, w.k, &x);
  bench.Multiply(x.data(), w.k, rows, y.data(), w.n);
  CHECK(LargestError(w, false, x.data(), w.k, rows, y.data(), w.n) <=
        kFloatSums);
}

void CheckProduct(GemmBackend backend, TensorType type, size_t n, size_t k,
                  size_t rows, int threads) {
  CAPTURE(Name(backend));
  CAPTURE(InfoOf(type).name);
  CAPTURE(n);
  CAPTURE(k);
  CAPTURE(rows);
  const Weights w = RandomWeights(type, n, k, 7);
  auto bench = MakeBench(backend, threads, rows, w);
  REQUIRE(bench);
  REQUIRE(bench->gemm->backend() == backend);
  if (backend == GemmBackend::kInt8) {
    CheckInt8Product(*bench, w, rows);
    return;
  }
  const bool round = backend != GemmBackend::kF32;
  std::vector<float> x = RandomFloats(rows * k, 8);
  std::vector<float> y(rows * n, NAN);
  bench->Multiply(x.data(), k, rows, y.data(), n);
  CHECK(LargestError(w, round, x.data(), k, rows, y.data(), n) <=
        (round ? kRoundedRows : kFloatSums));
  RoundToBF16(&x);
  bench->Multiply(x.data(), k, rows, y.data(), n);
  CHECK(LargestError(w, round, x.data(), k, rows, y.data(), n) <= kFloatSums);
}

TEST_CASE("every backend multiplies every weight type") {
  for (GemmBackend backend : kBackends) {
    if (!Available(backend)) continue;
    for (const TensorTypeInfo& info : kTensorTypes) {
      const size_t unit = info.block_elements == 256 ? 256 : 32;
      CheckProduct(backend, info.type, 96, 2 * unit, 33, 2);
      CheckProduct(backend, info.type, 100, unit == 256 ? 768 : 544, 70, 2);
    }
  }
}

TEST_CASE("odd shapes and every number of rows give the right product") {
  for (GemmBackend backend : kBackends) {
    if (!Available(backend)) continue;
    for (size_t k : {1, 7, 31, 256, 257, 513})
      CheckProduct(backend, TensorType::kF32, 37, k, 13, 1);
    for (size_t n : {1, 2, 15, 16, 17, 31, 32, 33, 63, 65, 130, 1000})
      CheckProduct(backend, TensorType::kF32, n, 72, 14, 2);
    for (size_t rows : {1, 2, 5, 6, 7, 11, 12, 31, 32, 191, 192, 193, 600})
      CheckProduct(backend, TensorType::kBF16, 40, 96, rows, 2);
    CheckProduct(backend, TensorType::kQ8_0, 24, 4864, 9, 2);
  }
}

TEST_CASE("the Highway backends agree with the reference on every target") {
  for (int64_t target : kernels::SupportedTargets()) {
    kernels::ForceTarget(target);
    CAPTURE(kernels::TargetName(target));
    REQUIRE(kernels::ActiveTarget() == target);
    for (GemmBackend backend :
         {GemmBackend::kHighway, GemmBackend::kF32, GemmBackend::kInt8}) {
      CheckProduct(backend, TensorType::kQ8_0, 100, 544, 25, 1);
      CheckProduct(backend, TensorType::kQ4_0, 33, 64, 3, 1);
      CheckProduct(backend, TensorType::kQ5_K, 35, 512, 4, 1);
      CheckProduct(backend, TensorType::kQ4_K, 33, 512, 13, 1);
      CheckProduct(backend, TensorType::kMXFP4, 40, 96, 7, 1);
      CheckProduct(backend, TensorType::kQ6_K, 9, 256, 5, 1);
      CheckProduct(backend, TensorType::kF32, 70, 259, 200, 1);
      CheckProduct(backend, TensorType::kF16, 17, 5, 12, 1);
    }
  }
  kernels::ForceTarget(0);
}

TEST_CASE(
    "the int8 products of every instruction set agree with the reference") {
  for (kernels::ByteDot dot : kernels::SupportedByteDots()) {
    kernels::ForceByteDot(dot);
    CAPTURE(kernels::ByteDotName(dot));
    if (dot != kernels::ByteDot::kHighway)
      CHECK(Int8KernelName() == kernels::ByteDotName(dot));
    for (TensorType type :
         {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_K}) {
      const size_t unit = InfoOf(type).block_elements;
      CheckProduct(GemmBackend::kInt8, type, 100, 3 * unit, 25, 2);
      CheckProduct(GemmBackend::kInt8, type, 33, 544 / unit * unit, 193, 2);
    }
    CheckProduct(GemmBackend::kInt8, TensorType::kF32, 70, 259, 13, 1);
    CheckProduct(GemmBackend::kInt8, TensorType::kF16, 17, 5, 3, 1);
  }
  kernels::ResetByteDot();
}

#if defined(__x86_64__)
// Bit for bit what the Highway kernel computes: the same sums in the same
// order.
TEST_CASE(
    "256-bit vpdpbusd in either encoding agrees with the Highway kernel") {
  std::vector<int8_gemm::Kernel> tested;
  if (ThisCpu().avx_vnni) tested.push_back(int8_gemm::kAvxVnniKernel);
  if (ThisCpu().avx512_vnni) tested.push_back(int8_gemm::kAvx512Vnni256Kernel);
  kernels::ForceByteDot(kernels::ByteDot::kHighway);
  for (const int8_gemm::Kernel& kernel : tested)
    for (size_t rows : {1, 3, 25, 193}) {
      const Weights w = RandomWeights(TensorType::kQ8_0, 100, 544, 3);
      Gemm::Config config;
      config.backend = GemmBackend::kInt8;
      config.max_rows = rows;
      config.shapes = {{w.n, w.k}};
      Bench bench(int8_gemm::CreateGemm(config, kernel), 1, w);
      auto expected = MakeBench(GemmBackend::kInt8, 1, rows, w);
      REQUIRE(expected);
      const std::vector<float> x = RandomFloats(rows * w.k, 8);
      std::vector<float> y(rows * w.n, NAN), z(rows * w.n, NAN);
      bench.Multiply(x.data(), w.k, rows, y.data(), w.n);
      expected->Multiply(x.data(), w.k, rows, z.data(), w.n);
      CHECK(y == z);
    }
  kernels::ResetByteDot();
}
#endif

// How kernels with unsigned rows pack, which only processors with vpdpbusd use
// otherwise.
TEST_CASE("the generic int8 kernel agrees with the reference on every target") {
  for (int64_t target : kernels::SupportedTargets()) {
    kernels::ForceTarget(target);
    CAPTURE(kernels::TargetName(target));
    for (TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0})
      for (size_t n : {1, 7, 8, 33, 100}) {
        const Weights w = RandomWeights(type, n, 544, 3);
        Gemm::Config config;
        config.backend = GemmBackend::kInt8;
        config.max_rows = 25;
        config.shapes = {{w.n, w.k}};
        Bench bench(int8_gemm::CreateGemm(config, int8_gemm::GenericKernel()),
                    1, w);
        CheckInt8Product(bench, w, 25);
      }
  }
  kernels::ForceTarget(0);
}

// y of a matrix whose blocks are all `block`, rows of x all `activation`.
template <class Block>
void CheckLargest(TensorType type, const Block& block, float weight,
                  float activation) {
  constexpr size_t kN = 9, kK = 64;
  CAPTURE(InfoOf(type).name);
  CAPTURE(weight);
  CAPTURE(activation);
  Weights w = RandomWeights(type, kN, kK, 1);
  for (size_t r = 0; r < kN; ++r)
    for (size_t b = 0; b < kK / 32; ++b)
      std::memcpy(w.bytes.data() + r * w.row_bytes + b * sizeof(block), &block,
                  sizeof(block));
  auto bench = MakeBench(GemmBackend::kInt8, 1, 5, w);
  REQUIRE(bench);
  const std::vector<float> x(5 * kK, activation);
  std::vector<float> y(5 * kN, NAN);
  bench->Multiply(x.data(), kK, 5, y.data(), kN);
  for (float v : y) CHECK(v == activation * weight * kK);
}

void CheckLargestOfAllTypes() {
  for (float sign : {1.0f, -1.0f}) {
    const float activation = sign * 127.0f;
    for (int weight : {-128, 127}) {
      BlockQ8_0 block{ToF16(1.0f), {}};
      std::fill_n(block.quants, 32, static_cast<int8_t>(weight));
      CheckLargest(TensorType::kQ8_0, block, static_cast<float>(weight),
                   activation);
    }
    for (uint8_t nibbles : {uint8_t{0x00}, uint8_t{0xFF}}) {
      const float low = nibbles == 0 ? 0.0f : 15.0f;
      BlockQ4_0 q4{ToF16(1.0f), {}};
      std::fill_n(q4.nibbles, 16, nibbles);
      CheckLargest(TensorType::kQ4_0, q4, low - 8.0f, activation);
      BlockQ5_0 q5{ToF16(1.0f), {}, {}};
      std::fill_n(q5.nibbles, 16, nibbles);
      std::fill_n(q5.high, 4, nibbles);
      CheckLargest(TensorType::kQ5_0, q5, nibbles == 0 ? -16.0f : 15.0f,
                   activation);
    }
  }
}

// Sums of a group at the ends of their range, where 16 bits would overflow.
TEST_CASE("int8 products of the largest quants are exact") {
  OnEveryInt8Kernel(CheckLargestOfAllTypes);
}

TEST_CASE("several matrices at once give what each gives alone") {
  constexpr size_t kRows = 45, kK = 64;
  const std::vector<float> x = RandomFloats(kRows * kK, 4);
  for (GemmBackend backend : kBackends) {
    if (!Available(backend)) continue;
    CAPTURE(Name(backend));
    const Weights ws[] = {RandomWeights(TensorType::kQ8_0, 70, kK, 1),
                          RandomWeights(TensorType::kQ4_0, 5, kK, 2),
                          RandomWeights(TensorType::kQ5_1, 130, kK, 3)};
    std::vector<std::unique_ptr<Bench>> alone;
    std::vector<std::vector<float>> expected, results;
    std::vector<GemmProduct> products;
    Gemm::Config config;
    config.backend = backend;
    config.threads = 2;
    config.max_rows = kRows;
    for (const Weights& w : ws) config.shapes.push_back({w.n, w.k});
    auto gemm = Gemm::Create(config);
    REQUIRE(gemm.ok());
    for (const Weights& w : ws) {
      alone.push_back(MakeBench(backend, 2, kRows, w));
      expected.emplace_back(kRows * w.n, NAN);
      results.emplace_back(kRows * w.n, NAN);
      alone.back()->Multiply(x.data(), kK, kRows, expected.back().data(), w.n);
      products.push_back({{w.n, w.k},
                          alone.back()->packed.span(),
                          results.back().data(),
                          w.n});
    }
    gemm_test::AlignedBytes scratch((*gemm)->ScratchBytes());
    (*gemm)->MultiplyAll(products, x.data(), kK, kRows, scratch.span(),
                         Parallel(2));
    CHECK(results == expected);
  }
}

TEST_CASE("only rows of k are read and only rows of n are written") {
  constexpr size_t kN = 45, kK = 70, kMaxRows = 50;
  constexpr size_t kXStride = 83, kYStride = 59;
  const Weights w = RandomWeights(TensorType::kBF16, kN, kK, 1);
  for (GemmBackend backend : kBackends) {
    if (!Available(backend)) continue;
    CAPTURE(Name(backend));
    auto bench = MakeBench(backend, 2, kMaxRows, w);
    REQUIRE(bench);
    const std::vector<float> dense = RandomFloats(kMaxRows * kK, 2);
    std::vector<float> x(kMaxRows * kXStride, NAN);
    for (size_t r = 0; r < kMaxRows; ++r)
      std::copy_n(dense.data() + r * kK, kK, x.data() + r * kXStride);
    for (size_t rows : {kMaxRows, size_t{17}}) {
      std::vector<float> expected(rows * kN, NAN);
      bench->Multiply(dense.data(), kK, rows, expected.data(), kN);
      std::vector<float> y(kMaxRows * kYStride, -7.0f);
      bench->Multiply(x.data(), kXStride, rows, y.data(), kYStride);
      size_t wrong = 0;
      for (size_t r = 0; r < kMaxRows; ++r)
        for (size_t c = 0; c < kYStride; ++c) {
          const bool inside = r < rows && c < kN;
          wrong +=
              y[r * kYStride + c] != (inside ? expected[r * kN + c] : -7.0f);
        }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("neither threads nor tiles change a single bit") {
  constexpr size_t kRows = 420;
  constexpr GemmShape kShapes[] = {{200, 512}, {33, 1100}, {1000, 72}};
  for (GemmBackend backend : kBackends) {
    if (!Available(backend)) continue;
    CAPTURE(Name(backend));
    for (const GemmShape& shape : kShapes) {
      const auto [n, k] = shape;
      const Weights w = RandomWeights(TensorType::kBF16, n, k, 3);
      const std::vector<float> x = RandomFloats(kRows * k, 4);
      std::vector<float> expected(kRows * n, NAN);
      auto one = MakeBench(backend, 1, kRows, w);
      REQUIRE(one);
      one->Multiply(x.data(), k, kRows, expected.data(), n);
      for (int threads : {1, 2, 3}) {
        CAPTURE(threads);
        for (size_t max_rows : {size_t{1}, size_t{7}, size_t{32}, size_t{45},
                                size_t{200}, kRows}) {
          if (max_rows == 1 && threads > 1) continue;  // covered by 7
          CAPTURE(max_rows);
          auto bench = MakeBench(backend, threads, max_rows, w);
          REQUIRE(bench);
          std::vector<float> y(kRows * n, NAN);
          for (size_t r = 0; r < kRows; r += max_rows)
            bench->Multiply(x.data() + r * k, k, std::min(max_rows, kRows - r),
                            y.data() + r * n, n);
          CHECK(y == expected);
        }
      }
    }
  }
}

TEST_CASE("a NaN or an infinity stays in its own row") {
  constexpr size_t kN = 70, kK = 64, kRows = 40;
  const Weights w = RandomWeights(TensorType::kQ8_0, kN, kK, 5);
  for (GemmBackend backend : kBackends) {
    if (!Available(backend)) continue;
    CAPTURE(Name(backend));
    auto bench = MakeBench(backend, 2, kRows, w);
    REQUIRE(bench);
    std::vector<float> x = RandomFloats(kRows * kK, 6);
    std::vector<float> before(kRows * kN), after(kRows * kN);
    bench->Multiply(x.data(), kK, kRows, before.data(), kN);
    x[17 * kK + 3] = NAN;
    x[30 * kK] = INFINITY;
    bench->Multiply(x.data(), kK, kRows, after.data(), kN);
    size_t wrong = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      const size_t row = i / kN;
      if (row == 17)
        wrong += !std::isnan(after[i]);
      else if (row == 30)
        wrong += std::isfinite(after[i]);
      else
        wrong += after[i] != before[i];
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("the automatic choice is a backend that works here") {
  Gemm::Config config;
  config.shapes = {{64, 64}, {128, 64}, {64, 96}};
  config.max_rows = 100;
  config.threads = 2;
  CHECK(Gemm::Choose(false) != GemmBackend::kInt8);
  for (bool quantized : {false, true}) {
    config.quantized_weights = quantized;
    auto gemm = Gemm::Create(config);
    REQUIRE(gemm.ok());
    CHECK((*gemm)->backend() == Gemm::Choose(quantized));
    CHECK(Gemm::Choose(quantized) != GemmBackend::kF32);
    for (const GemmShape& shape : config.shapes) {
      CHECK((*gemm)->PackedBytes(shape) >= shape.n * shape.k);
      CHECK((*gemm)->PackedBytes(shape) % 64 == 0);
    }
  }
}

TEST_CASE("nonsense configurations are refused with a reason") {
  Gemm::Config config;
  config.max_rows = 8;
  config.shapes = {{64, 64}};
  config.threads = 0;
  CHECK(Gemm::Create(config).status().code() == StatusCode::kInvalidArgument);
  config.threads = 1;
  config.shapes.push_back({0, 64});
  CHECK(Gemm::Create(config).status().code() == StatusCode::kInvalidArgument);
  config.shapes.back() = {64, 0};
  CHECK(Gemm::Create(config).status().code() == StatusCode::kInvalidArgument);
  config.shapes.pop_back();
  config.backend = GemmBackend::kOneDnn;
  const Status status = Gemm::Create(config).status();
  if (!status.ok()) {  // not built in, or not for this CPU
    CHECK(status.code() == StatusCode::kUnsupported);
    CHECK_FALSE(status.message().empty());
  }
}

}  // namespace
}  // namespace dapple
