// RMSNorm, RoPE, SwiGLU and the row conversions against their references.
#include <limits>

#include "kernel_test.h"
#include "kernels/activation.h"
#include "kernels/convert.h"
#include "kernels/norm.h"
#include "kernels/reference.h"
#include "kernels/rope.h"

namespace dapple::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kEps = 0x1p-24f;  // half an ulp of 1

const size_t kCounts[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257};

TEST_CASE("RMSNorm is within 1e-5 of the reference") {
  ForEachTarget([] {
    Random random(1);
    for (size_t cols : {1, 5, 16, 31, 64, 511, 896, 2048, 4097}) {
      for (float scale : {1e-12f, 1.0f, 1e15f}) {
        const size_t rows = 3;
        const auto x = random.Normals(rows * cols, scale);
        const auto weight = random.Normals(cols);
        std::vector<float> want(rows * cols);
        reference::RmsNorm(x.data(), weight.data(), 1e-6f, rows, cols,
                           want.data());
        Guarded<float> out(rows * cols);
        RmsNorm(x.data(), weight.data(), 1e-6f, rows, cols, out.data());
        for (size_t i = 0; i < want.size(); ++i)
          REQUIRE(std::fabs(out[i] - want[i]) <=
                  1e-5f * std::fabs(want[i]) + 1e-37f);
        out.Check();
        // In place, and a row alone.
        Guarded<float> in_place(rows * cols, 3);
        in_place.Assign(x);
        RmsNorm(in_place.data(), weight.data(), 1e-6f, rows, cols,
                in_place.data());
        in_place.Check();
        Guarded<float> alone(cols);
        RmsNorm(x.data() + cols, weight.data(), 1e-6f, 1, cols, alone.data());
        for (size_t i = 0; i < want.size(); ++i) REQUIRE(in_place[i] == out[i]);
        for (size_t i = 0; i < cols; ++i) REQUIRE(alone[i] == out[cols + i]);
      }
    }
  });
}

TEST_CASE("RMSNorm of zeros is zero and NaN spreads over its row only") {
  ForEachTarget([] {
    std::vector<float> x(3 * 37, 0.0f);
    x[37 + 36] = kNan;
    const std::vector<float> weight(37, 2.0f);
    Guarded<float> out(x.size());
    RmsNorm(x.data(), weight.data(), 1e-5f, 3, 37, out.data());
    for (size_t i = 0; i < 37; ++i) {
      CHECK(out[i] == 0.0f);
      CHECK(std::isnan(out[37 + i]));
      CHECK(out[74 + i] == 0.0f);
    }
  });
}

TEST_CASE("RoPE rotates as the reference does and leaves the rest alone") {
  ForEachTarget([] {
    Random random(2);
    for (RopePairs pairs : {RopePairs::kAdjacent, RopePairs::kHalves}) {
      for (size_t rotary : {2, 6, 8, 16, 26, 32, 34, 64, 128}) {
        for (size_t rest : {0, 8, 5}) {
          const size_t head_dim = rotary + rest;
          const size_t rows = 3;
          const size_t heads = 2;
          const size_t stride = heads * head_dim + 3;
          const size_t half = rotary / 2;
          std::vector<float> cos(rows * half);
          std::vector<float> sin(rows * half);
          for (size_t i = 0; i < cos.size(); ++i) {
            const float angle = random.Normal(3.0f);
            cos[i] = std::cos(angle);
            sin[i] = std::sin(angle);
          }
          const auto x = random.Normals(rows * stride);
          auto want = x;
          reference::Rope(want.data(), rows, stride, heads, head_dim, rotary,
                          pairs, cos.data(), sin.data());
          Guarded<float> got(rows * stride);
          got.Assign(x);
          Rope(got.data(), rows, stride, heads, head_dim, rotary, pairs,
               cos.data(), sin.data());
          got.Check();
          for (size_t i = 0; i < want.size(); ++i) {
            const size_t in_row = i % stride;
            const bool rotated =
                in_row < heads * head_dim && in_row % head_dim < rotary;
            // Two roundings of terms that are at most |x| of the pair.
            const float bound = rotated ? 4.0f * kEps * 8.0f : 0.0f;
            REQUIRE(std::fabs(got[i] - want[i]) <= bound);
          }
        }
      }
    }
  });
}

TEST_CASE("SwiGLU is within 1e-6 of the reference, extremes included") {
  ForEachTarget([] {
    Random random(3);
    for (size_t count : kCounts) {
      auto gate = random.Normals(count, 6.0f);
      const auto up = random.Normals(count, 2.0f);
      const float extremes[] = {0.0f,   -0.0f,  1e30f,  -1e30f, 88.5f,
                                -88.5f, -120.f, 1e-40f, 20.0f,  -20.0f};
      for (size_t i = 0; i < count && i < std::size(extremes); ++i)
        gate[count - 1 - i] = extremes[i];
      std::vector<float> want(count);
      reference::SwiGlu(gate.data(), up.data(), count, want.data());
      Guarded<float> out(count);
      SwiGlu(gate.data(), up.data(), count, out.data());
      out.Check();
      for (size_t i = 0; i < count; ++i) {
        CAPTURE(gate[i]);
        // Below e^-88 silu saturates at gate * e^-88.
        const float saturated =
            gate[i] < -80.0f ? std::fabs(gate[i] * up[i]) * 7e-39f : 0.0f;
        REQUIRE(std::fabs(out[i] - want[i]) <=
                1e-6f * std::fabs(want[i]) + saturated + 1e-38f);
      }
      Guarded<float> alias(count);
      alias.Assign(gate);
      SwiGlu(alias.data(), up.data(), count, alias.data());
      for (size_t i = 0; i < count; ++i) REQUIRE(alias[i] == out[i]);
    }
    const float nan_gate[] = {kNan, 1.0f};
    const float nan_up[] = {1.0f, kNan};
    float out[2];
    SwiGlu(nan_gate, nan_up, 2, out);
    CHECK(std::isnan(out[0]));
    CHECK(std::isnan(out[1]));
  });
}

TEST_CASE("GeGLU is within 1e-6 of the reference, extremes included") {
  ForEachTarget([] {
    Random random(4);
    for (size_t count : kCounts) {
      auto gate = random.Normals(count, 3.0f);
      const auto up = random.Normals(count, 2.0f);
      const float extremes[] = {0.0f,   -0.0f, 1e12f,  -1e12f, 9.5f,
                                -10.5f, -4.9f, 1e-40f, 20.0f,  -20.0f};
      for (size_t i = 0; i < count && i < std::size(extremes); ++i)
        gate[count - 1 - i] = extremes[i];
      std::vector<float> want(count);
      reference::GeGlu(gate.data(), up.data(), count, want.data());
      Guarded<float> out(count);
      GeGlu(gate.data(), up.data(), count, out.data());
      out.Check();
      for (size_t i = 0; i < count; ++i) {
        CAPTURE(gate[i]);
        // As with SwiGLU, and the exponent, near -2z, has float's rounding.
        const float saturated =
            gate[i] < -8.0f ? std::fabs(gate[i] * up[i]) * 7e-39f : 0.0f;
        const float g = std::max(gate[i], -20.0f);
        const float rounding =
            1e-6f + (g < 0 ? 2e-7f * g * g * (1.0f + 0.05f * g * g) : 0.0f);
        REQUIRE(std::fabs(out[i] - want[i]) <=
                rounding * std::fabs(want[i]) + saturated + 1e-38f);
      }
      Guarded<float> alias(count);
      alias.Assign(gate);
      GeGlu(alias.data(), up.data(), count, alias.data());
      for (size_t i = 0; i < count; ++i) REQUIRE(alias[i] == out[i]);
    }
    const float nan_gate[] = {kNan, 1.0f};
    const float nan_up[] = {1.0f, kNan};
    float out[2];
    GeGlu(nan_gate, nan_up, 2, out);
    CHECK(std::isnan(out[0]));
    CHECK(std::isnan(out[1]));
  });
}

TEST_CASE("all binary16 and bfloat16 values widen exactly") {
  std::vector<F16> halves(0x10000);
  std::vector<BF16> brains(0x10000);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    halves[bits].bits = static_cast<uint16_t>(bits);
    brains[bits].bits = static_cast<uint16_t>(bits);
  }
  ForEachTarget([&] {
    std::vector<float> out(0x10000);
    const auto same = [](float a, float b) {
      return std::isnan(a) ? std::isnan(b)
                           : std::memcmp(&a, &b, sizeof(a)) == 0;
    };
    ToFloat(halves.data(), halves.size(), out.data());
    size_t wrong = 0;
    for (size_t i = 0; i < out.size(); ++i)
      wrong += !same(dapple::ToFloat(halves[i]), out[i]);
    CHECK(wrong == 0);
    ToFloat(brains.data(), brains.size(), out.data());
    wrong = 0;
    for (size_t i = 0; i < out.size(); ++i)
      wrong += !same(dapple::ToFloat(brains[i]), out[i]);
    CHECK(wrong == 0);
  });
}

// Values around every rounding border of both half formats.
std::vector<float> RoundingCases() {
  std::vector<float> values = {0.0f,     -0.0f,    kInf,     -kInf,   65504.0f,
                               65519.0f, 65520.0f, 65536.0f, -1e30f,  1e30f,
                               1e-40f,   -1e-40f,  0x1p-24f, 0x1p-25f};
  for (uint32_t bits = 0; bits < 0x7C00; bits += 7) {
    const float low = dapple::ToFloat(F16{static_cast<uint16_t>(bits)});
    const float high = dapple::ToFloat(F16{static_cast<uint16_t>(bits + 1)});
    if (!std::isfinite(high)) break;
    const float middle = low + (high - low) / 2;  // exact: a tie
    for (float v : {low, middle, std::nextafter(middle, low),
                    std::nextafter(middle, high)}) {
      values.push_back(v);
      values.push_back(-v);
    }
  }
  for (uint32_t bits = 0; bits < 0x7F800000; bits += 0x12345) {
    float v;
    const uint32_t tie = (bits & 0xFFFF0000u) | 0x8000u;
    std::memcpy(&v, &bits, 4);
    values.push_back(v);
    std::memcpy(&v, &tie, 4);
    values.push_back(v);
  }
  return values;
}

TEST_CASE("narrowing to binary16 and bfloat16 equals the scalar conversion") {
  const auto values = RoundingCases();
  ForEachTarget([&] {
    for (size_t skip : {0, 1, 5}) {
      const size_t count = values.size() - skip;
      Guarded<F16> halves(count);
      Guarded<BF16> brains(count);
      ToF16(values.data() + skip, count, halves.data());
      ToBF16(values.data() + skip, count, brains.data());
      halves.Check();
      brains.Check();
      for (size_t i = 0; i < count; ++i) {
        const float v = values[skip + i];
        CAPTURE(v);
        REQUIRE(halves[i].bits == reference::ToF16Saturated(v).bits);
        REQUIRE(brains[i].bits == dapple::ToBF16(v).bits);
      }
    }
    const float nans[] = {kNan, -kNan};
    F16 half[2];
    BF16 brain[2];
    ToF16(nans, 2, half);
    ToBF16(nans, 2, brain);
    for (int i = 0; i < 2; ++i) {
      CHECK(std::isnan(dapple::ToFloat(half[i])));
      CHECK(std::isnan(dapple::ToFloat(brain[i])));
    }
  });
}

TEST_CASE("conversions and Add write exactly what they should") {
  ForEachTarget([] {
    Random random(4);
    for (size_t count : kCounts) {
      const auto x = random.Normals(count);
      Guarded<F16> half(count);
      ToF16(x.data(), count, half.data());
      half.Check();
      Guarded<float> back(count, 2);
      ToFloat(half.data(), count, back.data());
      back.Check();
      Guarded<BF16> brain(count);
      ToBF16(x.data(), count, brain.data());
      brain.Check();
      ToFloat(brain.data(), count, back.data());
      back.Check();
      const auto delta = random.Normals(count);
      Guarded<float> sum(count, 3);
      sum.Assign(x);
      Add(delta.data(), count, sum.data());
      sum.Check();
      for (size_t i = 0; i < count; ++i) {
        REQUIRE(half[i].bits == dapple::ToF16(x[i]).bits);
        REQUIRE(brain[i].bits == dapple::ToBF16(x[i]).bits);
        REQUIRE(back[i] == dapple::ToFloat(brain[i]));
        REQUIRE(sum[i] == x[i] + delta[i]);
      }
    }
  });
}

TEST_CASE("dequantizing is exact, to bf16 rounded once") {
  ForEachTarget([] {
    Random random(5);
    for (const TensorTypeInfo& info : kTensorTypes) {
      CAPTURE(info.name);
      for (size_t blocks : {1, 2, 3, 9}) {
        const size_t count = std::max<size_t>(32, info.block_elements) * blocks;
        const auto row = random.Weights(info.type, 1, count);
        std::vector<float> want(count);
        reference::Dequantize(info.type, row.data(), count, want.data());
        Guarded<float> out(count);
        Dequantize(info.type, row.data(), count, out.data());
        out.Check();
        Guarded<BF16> brain(count);
        DequantizeToBF16(info.type, row.data(), count, brain.data());
        brain.Check();
        for (size_t i = 0; i < count; ++i) {
          REQUIRE(out[i] == want[i]);
          REQUIRE(dapple::ToFloat(brain[i]) ==
                  dapple::ToFloat(dapple::ToBF16(want[i])));
        }
      }
    }
  });
}

}  // namespace
}  // namespace dapple::kernels
