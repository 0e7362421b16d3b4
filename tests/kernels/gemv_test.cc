#include "kernels/gemv.h"

#include <limits>

#include "kernel_test.h"
#include "kernels/reference.h"

namespace dapple::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Σ |w x| of a row: what rounding errors are relative to.
double Magnitude(TensorType type, const uint8_t* row, const float* x,
                 size_t k) {
  std::vector<float> values(k);
  reference::Dequantize(type, row, k, values.data());
  double sum = 0.0;
  for (size_t i = 0; i < k; ++i)
    sum += std::fabs(static_cast<double>(values[i]) * x[i]);
  return sum;
}

std::vector<float> Dequantized(const std::vector<BlockActivation>& blocks) {
  std::vector<float> values;
  for (const BlockActivation& block : blocks)
    for (int8_t quant : block.quants)
      values.push_back(block.scale * static_cast<float>(quant));
  return values;
}

TEST_CASE("quantized activations equal the reference") {
  ForEachTarget([] {
    Random random(1);
    for (float deviation : {0.0f, 1e-42f, 1e-30f, 1.0f, 1e30f}) {
      const size_t blocks = 7;
      auto x = random.Normals(32 * blocks, deviation);
      if (deviation == 1.0f) {
        for (size_t i = 0; i < 32; ++i)  // ties of every sign
          x[i] = static_cast<float>(i) - 15.5f;
        x[31] = 127.0f;
        x[40] = -50.0f;  // the largest is negative
      }
      std::vector<BlockActivation> want(blocks);
      reference::QuantizeActivations(x.data(), x.size(), want.data());
      Guarded<BlockActivation> got(blocks);
      QuantizeActivations(x.data(), x.size(), got.data());
      got.Check();
      for (size_t b = 0; b < blocks; ++b) {
        REQUIRE(got[b].scale == want[b].scale);
        REQUIRE(got[b].sum == want[b].sum);
        REQUIRE(std::memcmp(got[b].quants, want[b].quants, 32) == 0);
        for (size_t i = 0; i < 32; ++i) {
          const float v = got[b].scale * static_cast<float>(got[b].quants[i]);
          REQUIRE(std::fabs(v - x[32 * b + i]) <=
                  0.501f * got[b].scale + 1e-30f);
        }
      }
    }
  });
}

TEST_CASE("a block with NaN or infinity turns into NaN, not into numbers") {
  ForEachTarget([] {
    for (float bad : {kNan, -kNan, kInf, -kInf}) {
      for (size_t at : {0, 13, 31}) {
        std::vector<float> x(96, 0.5f);
        x[32 + at] = bad;
        BlockActivation got[3];
        QuantizeActivations(x.data(), 96, got);
        CHECK(got[0].scale == 0.5f / 127.0f);
        CHECK(std::isnan(got[1].scale));
        CHECK(std::isnan(got[1].sum));
        CHECK(got[2].quants[31] == 127);
      }
    }
  });
}

TEST_CASE("gemv with float activations is within its rounding bound") {
  ForEachTarget([] {
    Random random(2);
    for (const TensorTypeInfo& info : kTensorTypes) {
      CAPTURE(info.name);
      for (size_t units : {1, 2, 3, 7, 16, 29, 65}) {
        const size_t k = units * (info.block_elements == 1 ? 5 : 32);
        const size_t n = 11;
        const size_t row_bytes = RowBytes(info.type, k);
        const auto w = random.Weights(info.type, n, k);
        const auto x = random.Normals(k);
        std::vector<double> want(n);
        reference::Gemv(info.type, w.data(), row_bytes, k, 0, n, x.data(),
                        want.data());
        Guarded<float> y(n);
        Gemv(info.type, w.data(), row_bytes, k, 0, n, x.data(), y.data());
        y.Check();
        for (size_t r = 0; r < n; ++r) {
          const double bound =
              Magnitude(info.type, w.data() + r * row_bytes, x.data(), k) *
              0x1p-24 * (static_cast<double>(k) / 8 + 16);
          REQUIRE(std::fabs(static_cast<double>(y[r]) - want[r]) <= bound);
        }
        // Any other split of the rows gives the same bits.
        Guarded<float> split(n);
        for (size_t r = 0; r < n;) {
          const size_t last = std::min(n, r + 1 + random.Below(6));
          Gemv(info.type, w.data(), row_bytes, k, r, last, x.data(),
               split.data());
          r = last;
        }
        for (size_t r = 0; r < n; ++r) REQUIRE(split[r] == y[r]);
      }
    }
  });
}

TEST_CASE("quantized gemv is exact within a block and bounded across") {
  ForEachTarget([] {
    Random random(3);
    for (TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0}) {
      CHECK(HasQuantizedGemv(type));
      for (size_t blocks : {1, 2, 3, 8, 28, 67}) {
        const size_t k = 32 * blocks;
        const size_t n = 10;
        const size_t row_bytes = RowBytes(type, k);
        const auto w = random.Weights(type, n, k);
        std::vector<BlockActivation> x(blocks);
        QuantizeActivations(random.Normals(k).data(), k, x.data());
        std::vector<double> want(n);
        reference::GemvQuantized(type, w.data(), row_bytes, k, 0, n, x.data(),
                                 want.data());
        const auto values = Dequantized(x);
        Guarded<float> y(n);
        GemvQuantized(type, w.data(), row_bytes, k, 0, n, x.data(), y.data());
        y.Check();
        for (size_t r = 0; r < n; ++r) {
          const double bound =
              Magnitude(type, w.data() + r * row_bytes, values.data(), k) *
              0x1p-24 * static_cast<double>(blocks + 12);
          REQUIRE(std::fabs(static_cast<double>(y[r]) - want[r]) <= bound);
        }
        Guarded<float> split(n);
        for (size_t r = 0; r < n;) {
          const size_t last = std::min(n, r + 1 + random.Below(6));
          GemvQuantized(type, w.data(), row_bytes, k, r, last, x.data(),
                        split.data());
          r = last;
        }
        for (size_t r = 0; r < n; ++r) REQUIRE(split[r] == y[r]);
      }
    }
  });
}

TEST_CASE("integer dots do not saturate at the extremes of both operands") {
  ForEachTarget([] {
    for (TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0}) {
      const size_t unit = InfoOf(type).block_bytes;
      // Quants 127, -128, 0x80/0x7F mixed; nibbles 0, 15 and mixed.
      for (int byte : {0x7F, 0x80, 0x81, 0x00, 0xFF, 0xF0, 0x0F}) {
        for (int quant : {127, -127, 1, -1}) {
          for (bool alternate : {false, true}) {
            std::vector<uint8_t> w(2 * unit, static_cast<uint8_t>(byte));
            const F16 one = dapple::ToF16(1.0f);
            std::memcpy(&w[0], &one, 2);
            std::memcpy(&w[unit], &one, 2);
            BlockActivation x[2];
            for (BlockActivation& block : x) {
              block.scale = 1.0f;
              int total = 0;
              for (int i = 0; i < 32; ++i) {
                const int sign = alternate && i % 2 ? -1 : 1;
                block.quants[i] = static_cast<int8_t>(sign * quant);
                total += block.quants[i];
              }
              block.sum = static_cast<float>(total);
            }
            double want;
            reference::GemvQuantized(type, w.data(), 2 * unit, 64, 0, 1, x,
                                     &want);
            float y;
            GemvQuantized(type, w.data(), 2 * unit, 64, 0, 1, x, &y);
            REQUIRE(static_cast<double>(y) == want);
          }
        }
      }
    }
  });
}

TEST_CASE("gemv reads no row outside [first, last) and honours row_bytes") {
  ForEachTarget([] {
    Random random(4);
    for (const TensorTypeInfo& info : kTensorTypes) {
      const size_t k = 96;
      const size_t used = RowBytes(info.type, k);
      const size_t row_bytes = used + 2 * info.block_bytes;  // padded rows
      const auto rows = random.Weights(info.type, 9, k);
      std::vector<uint8_t> w(9 * row_bytes, 0xFF);  // NaN wherever not a row
      for (size_t r = 2; r < 8; ++r)
        std::memcpy(&w[r * row_bytes], &rows[r * used], used);
      const auto x = random.Normals(k);
      Guarded<float> y(9);
      Gemv(info.type, w.data(), row_bytes, k, 2, 8, x.data(), y.data());
      std::vector<double> want(9);
      reference::Gemv(info.type, w.data(), row_bytes, k, 2, 8, x.data(),
                      want.data());
      y.Check();
      for (size_t r = 2; r < 8; ++r)
        CHECK(std::fabs(static_cast<double>(y[r]) - want[r]) <=
              1e-5 *
                  (1 + Magnitude(info.type, &w[r * row_bytes], x.data(), k)));
      uint32_t untouched;
      for (size_t r : {0, 1, 8}) {
        std::memcpy(&untouched, &y[r], 4);
        CHECK(untouched == 0xA5A5A5A5u);
      }
    }
  });
}

}  // namespace
}  // namespace dapple::kernels
