// Rows of activations as the int8 GEMM rounds them.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "gemm_fixture.h"
#include "int8_kernels.h"

namespace dapple::gemm_test {
namespace {

constexpr size_t kN = 40, kGroups = 5, kK = kGroups * 32, kRows = 13;

// The largest error of products of weights that are zero but in group `group`,
// as a share of Σ|x·w|; x's other groups are `factor` times as large.
double ErrorBeside(size_t group, float factor) {
  std::vector<float> x = RandomFloats(kRows * kK, 3);
  Weights w = RandomWeights(TensorType::kF32, kN, kK, 4);
  for (size_t n = 0; n < kN; ++n)
    for (size_t i = 0; i < kK; ++i) {
      if (i / 32 == group) continue;
      std::memset(w.bytes.data() + n * w.row_bytes + i * sizeof(float), 0,
                  sizeof(float));
      w.values[n * kK + i] = 0.0;
    }
  for (size_t i = 0; i < x.size(); ++i)
    if (i % kK / 32 != group) x[i] *= factor;
  auto bench = MakeBench(GemmBackend::kInt8, 1, kRows, w);
  REQUIRE(bench);
  std::vector<float> y(kRows * kN, NAN);
  bench->Multiply(x.data(), kK, kRows, y.data(), kN);
  return LargestError(w, false, x.data(), kK, kRows, y.data(), kN);
}

// Its scale may be a multiple of the row's: then one of at least 40 here, so
// that a quant is up to a 40th larger, and of at least one at worst.
void CheckSmallGroups() {
  const double alone = ErrorBeside(2, 1.0f);
  CHECK(alone <= 0.03);
  CHECK(ErrorBeside(2, 100.0f) <= 1.1 * alone + 1e-3);
  CHECK(std::isfinite(ErrorBeside(2, 1e6f)));
  CHECK(ErrorBeside(2, 1e-3f) <= 1.1 * alone + 1e-3);
}

TEST_CASE("a group far smaller than its row's largest keeps its precision") {
  OnEveryInt8Kernel(CheckSmallGroups);
}

TEST_CASE("rows of zeros and of the smallest and largest numbers") {
  const Weights w = RandomWeights(TensorType::kQ4_0, kN, kK, 5);
  auto bench = MakeBench(GemmBackend::kInt8, 1, kRows, w);
  REQUIRE(bench);
  for (const float factor : {0.0f, 1e-44f, 1e-30f, 1e-20f, 1e20f, 1e34f}) {
    CAPTURE(factor);
    std::vector<float> x = RandomFloats(kRows * kK, 6);
    for (float& v : x) v *= factor;
    std::vector<float> y(kRows * kN, NAN);
    bench->Multiply(x.data(), kK, kRows, y.data(), kN);
    size_t bad = 0;
    for (const float v : y) bad += !std::isfinite(v);
    CHECK(bad == 0);
    if (factor >= 1e-20f)
      CHECK(LargestError(w, false, x.data(), kK, kRows, y.data(), kN) <= 0.03);
  }
}

// Zeros behind a row's end add nothing, so that rows of any number of groups
// are rounded as those of many.
void CheckTails(TensorType type) {
  constexpr size_t kLong = 24;
  Weights w = RandomWeights(type, kN, kLong * 32, 7);
  for (size_t groups = 1; groups < kLong; ++groups) {
    CAPTURE(groups);
    std::vector<float> x = RandomFloats(kRows * kLong * 32, 8);
    for (size_t i = 0; i < x.size(); ++i)
      if (i % w.k >= groups * 32) x[i] = 0.0f;
    std::vector<float> expected(kRows * kN), y(kRows * kN, NAN);
    auto all = MakeBench(GemmBackend::kInt8, 1, kRows, w);
    REQUIRE(all);
    all->Multiply(x.data(), w.k, kRows, expected.data(), kN);
    Weights shorter = w;
    shorter.k = groups * 32;
    auto bench = MakeBench(GemmBackend::kInt8, 1, kRows, shorter);
    REQUIRE(bench);
    bench->Multiply(x.data(), w.k, kRows, y.data(), kN);
    CHECK(y == expected);
  }
}

TEST_CASE("rows of any number of groups are rounded alike") {
  for (const TensorType type :
       {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0}) {
    CAPTURE(static_cast<int>(type));
    OnEveryInt8Kernel([type] { CheckTails(type); });
  }
}

}  // namespace
}  // namespace dapple::gemm_test
