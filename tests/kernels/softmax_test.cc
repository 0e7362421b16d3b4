#include "kernels/softmax.h"

#include <limits>

#include "kernel_test.h"
#include "kernels/reference.h"

namespace dapple::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const size_t kCounts[] = {1, 2, 5, 8, 16, 19, 64, 100, 1023, 1025, 5000};

// Of the difference and of the exponential (<= 4 ulp), the largest argument
// being `range`.
float ExpBound(float range) { return 0x1p-23f * (4.0f + 2.0f * range); }

TEST_CASE("softmax agrees with the reference, huge and tiny logits included") {
  ForEachTarget([] {
    Random random(1);
    for (size_t count : kCounts) {
      for (float deviation : {0.0f, 0.1f, 5.0f, 40.0f}) {
        for (float scale : {1.0f, 0.25f}) {
          const auto x = random.Normals(count, deviation);
          auto want = x;
          reference::Softmax(want.data(), count, scale);
          Guarded<float> got(count);
          got.Assign(x);
          Softmax(got.data(), count, scale);
          got.Check();
          double sum = 0.0;
          for (size_t i = 0; i < count; ++i) {
            sum += static_cast<double>(got[i]);
            // Entries under e^-87 of the largest may be flushed to 0.
            REQUIRE(std::fabs(got[i] - want[i]) <=
                    want[i] * ExpBound(8.0f * deviation) + 2e-38f);
          }
          REQUIRE(std::fabs(sum - 1.0) <= 1e-5);
        }
      }
    }
  });
}

TEST_CASE("soft caps are within 8 ulp, and keep sign, infinity and NaN") {
  ForEachTarget([] {
    for (float cap : {1.0f, 30.0f}) {
      std::vector<float> x = {0.0f,  -0.0f,  1e-30f, -1e-20f,
                              1e30f, -1e30f, kInf,   -kInf};
      for (float v = -12.0f; v <= 12.0f; v += 0.00713f) x.push_back(v * cap);
      for (float v = 1e-6f; v < 1.0f; v *= 1.01f) x.push_back(-v * cap);
      Guarded<float> got(x.size());
      got.Assign(x);
      Softcap(got.data(), x.size(), cap);
      got.Check();
      for (size_t i = 0; i < x.size(); ++i) {
        CAPTURE(x[i]);
        const double c = static_cast<double>(cap);
        const double want = c * std::tanh(static_cast<double>(x[i]) / c);
        REQUIRE(std::fabs(static_cast<double>(got[i]) - want) <=
                8 * 0x1p-24 * std::fabs(want));
        REQUIRE(std::signbit(got[i]) == std::signbit(x[i]));
      }
      float nan = kNan;
      Softcap(&nan, 1, cap);
      CHECK(std::isnan(nan));
    }
  });
}

TEST_CASE("exponentials are within 4 ulp over the range of a softmax") {
  // Against one entry of 0 among entries of x, p(x) / p(0) = exp(x); with the
  // sum's power of two removed that is what the kernel computed.
  ForEachTarget([] {
    for (float x = -87.0f; x <= 0.0f; x += 0.0173f) {
      float pair[] = {0.0f, x};
      Softmax(pair, 2, 1.0f);
      const double e = std::exp(static_cast<double>(x));
      const double want = e / (1.0 + e);
      REQUIRE(std::fabs(static_cast<double>(pair[1]) - want) <=
              4 * 0x1p-23 * want);
    }
  });
}

TEST_CASE("softmax: -inf entries are 0, alone they give all zeros") {
  ForEachTarget([] {
    for (size_t count : {1, 3, 16, 21}) {
      std::vector<float> x(count, -kInf);
      Softmax(x.data(), count, 1.0f);
      for (float v : x) CHECK(v == 0.0f);
      x.assign(count, -kInf);
      x[count / 2] = -3e38f;
      Softmax(x.data(), count, 1.0f);
      for (size_t i = 0; i < count; ++i)
        CHECK(x[i] == (i == count / 2 ? 1.0f : 0.0f));
    }
    float large[] = {3e38f, -3e38f, 3e38f};
    Softmax(large, 3, 1.0f);
    CHECK(large[0] == 0.5f);
    CHECK(large[1] == 0.0f);
    CHECK(large[2] == 0.5f);
    float bad[] = {1.0f, kNan, 2.0f};
    Softmax(bad, 3, 1.0f);
    CHECK(std::isnan(bad[0]));
  });
}

TEST_CASE("argmax is the first largest entry and never NaN") {
  ForEachTarget([] {
    Random random(2);
    for (size_t count : kCounts) {
      auto x = random.Normals(count);
      REQUIRE(ArgMax(x.data(), count) == reference::ArgMax(x.data(), count));
      // Ties: the first one counts, wherever the vectors' borders are.
      for (float& v : x) v = std::floor(v * 2.0f);
      REQUIRE(ArgMax(x.data(), count) == reference::ArgMax(x.data(), count));
      for (int i = 0; i < 5; ++i) x[random.Below(count)] = kNan;
      REQUIRE(ArgMax(x.data(), count) == reference::ArgMax(x.data(), count));
      x.assign(count, -kInf);
      if (count > 1) x[0] = kNan;
      REQUIRE(ArgMax(x.data(), count) == reference::ArgMax(x.data(), count));
      x.assign(count, kNan);
      REQUIRE(ArgMax(x.data(), count) == 0);
      x[count - 1] = kInf;
      REQUIRE(ArgMax(x.data(), count) == count - 1);
    }
  });
}

TEST_CASE("log-sum-exp agrees with the reference to 1e-6") {
  ForEachTarget([] {
    Random random(3);
    for (size_t count : kCounts) {
      for (float deviation : {0.0f, 1.0f, 30.0f}) {
        for (float offset : {0.0f, -1000.0f, 1e6f}) {
          auto x = random.Normals(count, deviation);
          for (float& v : x) v += offset;
          const double want = reference::LogSumExp(x.data(), count);
          REQUIRE(std::fabs(LogSumExp(x.data(), count) - want) <=
                  1e-6 * (1.0 + std::fabs(want)));
        }
      }
    }
    const float some[] = {-kInf, 2.0f, -kInf};
    CHECK(std::fabs(LogSumExp(some, 3) - 2.0) < 1e-6);
  });
}

}  // namespace
}  // namespace dapple::kernels
