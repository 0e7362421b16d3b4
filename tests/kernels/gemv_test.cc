#include "kernels/gemv.h"

#include <limits>

#include "kernel_test.h"
#include "kernels/reference.h"
#include "util/quant_block.h"

namespace dapple::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Σ |w x| of a row: what rounding errors are relative to. Where a weight is
// the difference of a product and a minimum, of their magnitudes.
double Magnitude(TensorType type, const uint8_t* row, const float* x,
                 size_t k) {
  const TensorTypeInfo& info = InfoOf(type);
  std::vector<double> values(k);
  if (info.block_elements == 1) {
    std::vector<float> exact(k);
    reference::Dequantize(type, row, k, exact.data());
    for (size_t i = 0; i < k; ++i) values[i] = std::fabs(exact[i]);
  } else {
    UnpackedBlock block;
    for (size_t i = 0; i < k; ++i) {
      const size_t j = i % info.block_elements;
      if (j == 0) UnpackBlock(type, row + RowBytes(type, i), &block);
      const size_t g = j / block.group;
      values[i] = std::fabs(double{block.scales[g]} * block.quants[j]) +
                  std::fabs(double{block.mins[g]});
    }
  }
  double sum = 0.0;
  for (size_t i = 0; i < k; ++i)
    sum += values[i] * std::fabs(static_cast<double>(x[i]));
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
        const size_t k =
            units * (info.block_elements == 1 ? 5 : info.block_elements);
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
  ForEachTargetAndByteDot([] {
    Random random(3);
    for (const TensorTypeInfo& info : kTensorTypes) {
      const TensorType type = info.type;
      CAPTURE(info.name);
      CHECK(HasQuantizedGemv(type) == (info.block_elements > 1));
      if (!HasQuantizedGemv(type)) continue;
      for (size_t units : {1, 2, 3, 8, 28, 67}) {
        const size_t k = info.block_elements * units;
        const size_t blocks = k / 32;
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

TEST_CASE("quantized gemv reads nothing beyond a row") {
  ForEachTargetAndByteDot([] {
    Random random(6);
    for (const TensorTypeInfo& info : kTensorTypes) {
      if (!HasQuantizedGemv(info.type)) continue;
      CAPTURE(info.name);
      // Every rest that steps of two, four and eight blocks can leave; small
      // blocks also on both sides of 1,024, where kernels/gemv_steps-inl.h
      // leaves rows to the general way.
      std::vector<size_t> units = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15};
      if (info.block_elements == 32)
        units.insert(units.end(), {1023, 1024, 1025});
      for (size_t unit : units) {
        const size_t k = unit * info.block_elements;
        const size_t used = RowBytes(info.type, k);
        const size_t row_bytes = used + info.block_bytes;
        const auto rows = random.Weights(info.type, 3, k);
        std::vector<uint8_t> w(3 * row_bytes, 0xFF);  // NaN between the rows
        for (size_t r = 0; r < 3; ++r)
          std::memcpy(&w[r * row_bytes], &rows[r * used], used);
        std::vector<BlockActivation> x(k / 32);
        QuantizeActivations(random.Normals(k).data(), k, x.data());
        std::vector<double> want(3);
        reference::GemvQuantized(info.type, w.data(), row_bytes, k, 0, 3,
                                 x.data(), want.data());
        const auto values = Dequantized(x);
        Guarded<float> y(3);
        GemvQuantized(info.type, w.data(), row_bytes, k, 0, 3, x.data(),
                      y.data());
        y.Check();
        for (size_t r = 0; r < 3; ++r) {
          const double bound =
              Magnitude(info.type, &w[r * row_bytes], values.data(), k) *
              0x1p-24 * static_cast<double>(k / 32 + 12);
          REQUIRE(std::fabs(static_cast<double>(y[r]) - want[r]) <= bound);
        }
      }
    }
  });
}

TEST_CASE("integer dots do not saturate at the extremes of both operands") {
  ForEachTargetAndByteDot([] {
    for (const TensorTypeInfo& info : kTensorTypes) {
      if (!HasQuantizedGemv(info.type)) continue;
      CAPTURE(info.name);
      const size_t unit = info.block_bytes;
      const size_t k = 2 * info.block_elements;
      // Every field all ones, all zeros or mixed; scales of 1 (or a power of
      // two), so that all sums are exact.
      for (int byte : {0x7F, 0x80, 0x81, 0x00, 0xFF, 0xF0, 0x0F}) {
        for (int quant : {127, -127, 1, -1}) {
          for (bool alternate : {false, true}) {
            std::vector<uint8_t> w(2 * unit, static_cast<uint8_t>(byte));
            const F16 one = dapple::ToF16(1.0f);
            for (size_t block = 0; block < 2; ++block) {
              for (size_t offset : HalfOffsets(info.type))
                std::memcpy(&w[block * unit + offset], &one, 2);
              if (info.type == TensorType::kMXFP4) w[block * unit] = 127;
            }
            std::vector<BlockActivation> x(k / 32);
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
            reference::GemvQuantized(info.type, w.data(), 2 * unit, k, 0, 1,
                                     x.data(), &want);
            float y;
            GemvQuantized(info.type, w.data(), 2 * unit, k, 0, 1, x.data(), &y);
            // Superblocks' sums may need more than float's 24 bits.
            REQUIRE(
                std::fabs(static_cast<double>(y) - want) <=
                (info.block_elements == 32 ? 0.0 : std::fabs(want) * 0x1p-21));
          }
        }
      }
    }
  });
}

TEST_CASE("NaN and infinite scales give what is not finite, nothing worse") {
  ForEachTargetAndByteDot([] {
    Random random(5);
    for (const TensorTypeInfo& info : kTensorTypes) {
      if (!HasQuantizedGemv(info.type)) continue;
      CAPTURE(info.name);
      const size_t k = 3 * info.block_elements;
      const size_t n = 5;
      const size_t row_bytes = RowBytes(info.type, k);
      const auto x = random.Normals(k);
      std::vector<BlockActivation> blocks(k / 32);
      QuantizeActivations(x.data(), k, blocks.data());
      for (const uint16_t bits : std::initializer_list<uint16_t>{
               0x7C00, 0xFC00, 0x7E01, 0xFFFF, 0x7D00}) {
        auto w = random.Weights(info.type, n, k);
        // The middle block of row 2, whose quants are not all zero.
        uint8_t* block = &w[2 * row_bytes + info.block_bytes];
        for (size_t offset : HalfOffsets(info.type))
          std::memcpy(block + offset, &bits, 2);
        if (info.type == TensorType::kMXFP4) block[0] = 0xFF;
        Guarded<float> y(n);
        Gemv(info.type, w.data(), row_bytes, k, 0, n, x.data(), y.data());
        y.Check();
        Guarded<float> yq(n);
        GemvQuantized(info.type, w.data(), row_bytes, k, 0, n, blocks.data(),
                      yq.data());
        yq.Check();
        for (size_t r = 0; r < n; ++r) {
          CHECK(std::isfinite(y[r]) == (r != 2));
          CHECK(std::isfinite(yq[r]) == (r != 2));
        }
      }
    }
  });
}

TEST_CASE("gemv reads no row outside [first, last) and honours row_bytes") {
  ForEachTarget([] {
    Random random(4);
    for (const TensorTypeInfo& info : kTensorTypes) {
      const size_t k = 3 * std::max<size_t>(32, info.block_elements);
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
