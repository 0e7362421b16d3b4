// Random matrices and a double-precision product to judge Gemm by. The
// dequantisation here is scalar and independent of src/kernels.
#ifndef DAPPLE_TESTS_GEMM_GEMM_FIXTURE_H_
#define DAPPLE_TESTS_GEMM_GEMM_FIXTURE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <vector>

#include "../util/block_fields.h"
#include "gemm/gemm.h"
#include "util/half.h"
#include "util/quant_block.h"
#include "util/tensor_type.h"

namespace dapple::gemm_test {

// Bytes that start on a cache line, as the arena's spans do.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size)
      : data_(new (std::align_val_t{64}) std::byte[size + 64]), size_(size) {
    // Whatever a backend forgets to initialise shows as NaN.
    std::memset(data_.get(), 0xFF, size + 64);
  }
  std::span<std::byte> span() { return {data_.get(), size_}; }

 private:
  struct Delete {
    void operator()(std::byte* p) const {
      ::operator delete[](p, std::align_val_t{64});
    }
  };
  std::unique_ptr<std::byte[], Delete> data_;
  size_t size_;
};

inline std::vector<float> RandomFloats(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// A weight matrix [n, k] in file layout, with padding after each row.
struct Weights {
  TensorType type;
  size_t n, k, row_bytes;
  std::vector<std::byte> bytes;
  std::vector<double> values;  // [n, k], exact

  WeightMatrix View() const { return {type, bytes.data(), row_bytes, n, k}; }
};

inline Weights RandomWeights(TensorType type, size_t n, size_t k,
                             uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.5f);
  std::uniform_int_distribution<int> byte(0, 255);
  Weights w{type, n, k, RowBytes(type, k) + 8, {}, {}};
  w.bytes.resize(n * w.row_bytes, std::byte{0xFF});
  w.values.resize(n * k);
  for (size_t r = 0; r < n; ++r) {
    std::byte* row = w.bytes.data() + r * w.row_bytes;
    double* value = w.values.data() + r * k;
    switch (type) {
      case TensorType::kF32:
        for (size_t i = 0; i < k; ++i) {
          const float f = normal(random);
          std::memcpy(row + 4 * i, &f, 4);
          value[i] = f;
        }
        break;
      case TensorType::kF16:
        for (size_t i = 0; i < k; ++i) {
          const F16 f = ToF16(normal(random));
          std::memcpy(row + 2 * i, &f, 2);
          value[i] = ToFloat(f);
        }
        break;
      case TensorType::kBF16:
        for (size_t i = 0; i < k; ++i) {
          const BF16 f = ToBF16(normal(random));
          std::memcpy(row + 2 * i, &f, 2);
          value[i] = ToFloat(f);
        }
        break;
      case TensorType::kQ8_0:
        for (size_t b = 0; b < k / 32; ++b) {
          BlockQ8_0 block{ToF16(normal(random) / 64), {}};
          for (size_t i = 0; i < 32; ++i) {
            block.quants[i] = static_cast<int8_t>(byte(random) - 128);
            value[b * 32 + i] = double{ToFloat(block.scale)} * block.quants[i];
          }
          std::memcpy(row + b * sizeof(block), &block, sizeof(block));
        }
        break;
      case TensorType::kQ4_0:
        for (size_t b = 0; b < k / 32; ++b) {
          BlockQ4_0 block{ToF16(normal(random) / 4), {}};
          for (size_t i = 0; i < 16; ++i) {
            const int bits = byte(random);
            block.nibbles[i] = static_cast<uint8_t>(bits);
            const double scale = ToFloat(block.scale);
            value[b * 32 + i] = scale * ((bits & 15) - 8);
            value[b * 32 + 16 + i] = scale * ((bits >> 4) - 8);
          }
          std::memcpy(row + b * sizeof(block), &block, sizeof(block));
        }
        break;
      default: {  // any bytes but for scales
        const size_t unit = InfoOf(type).block_bytes;
        for (size_t at = 0; at < RowBytes(type, k); at += unit) {
          for (size_t i = 0; i < unit; ++i)
            row[at + i] = static_cast<std::byte>(byte(random));
          for (const size_t offset : HalfOffsets(type)) {
            const F16 scale = ToF16(normal(random) / 64);
            std::memcpy(row + at + offset, &scale, 2);
          }
          if (type == TensorType::kMXFP4)
            row[at] = static_cast<std::byte>(118 + byte(random) % 16);
        }
        std::vector<float> floats(k);
        DequantizeReference(type, row, k, floats.data());
        std::copy(floats.begin(), floats.end(), value);
      }
    }
  }
  return w;
}

// The largest |y - x·wᵀ| / Σ|x·w| over all results. Weights are rounded to
// bf16 first if `round`. x: [rows, k] x_stride apart; y likewise.
inline double LargestError(const Weights& w, bool round, const float* x,
                           size_t x_stride, size_t rows, const float* y,
                           size_t y_stride) {
  double worst = 0;
  std::vector<double> weights = w.values;
  if (round)
    for (double& v : weights) v = ToFloat(ToBF16(static_cast<float>(v)));
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < w.n; ++c) {
      double sum = 0, size = 0;
      for (size_t i = 0; i < w.k; ++i) {
        const double term = x[r * x_stride + i] * weights[c * w.k + i];
        sum += term;
        size += term < 0 ? -term : term;
      }
      const double delta = y[r * y_stride + c] - sum;
      const double error = (delta < 0 ? -delta : delta) / (size + 1e-30);
      if (!(error <= worst)) worst = error;  // NaN counts as worst
    }
  return worst;
}

// A Gemm with everything that it needs to multiply by one matrix.
struct Bench {
  std::unique_ptr<Gemm> gemm;
  Parallel parallel;
  AlignedBytes packed, scratch;
  GemmShape shape;

  Bench(std::unique_ptr<Gemm> g, int threads, const Weights& w)
      : gemm(std::move(g)),
        parallel(threads),
        packed(gemm->PackedBytes({w.n, w.k})),
        scratch(gemm->ScratchBytes()),
        shape{w.n, w.k} {
    gemm->Pack(w.View(), packed.span(), parallel);
  }
  void Multiply(const float* x, size_t x_stride, size_t rows, float* y,
                size_t y_stride) {
    gemm->Multiply(shape, packed.span(), x, x_stride, rows, y, y_stride,
                   scratch.span(), parallel);
  }
};

// nullptr where the backend does not run here.
inline std::unique_ptr<Bench> MakeBench(GemmBackend backend, int threads,
                                        size_t max_rows, const Weights& w) {
  Gemm::Config config;
  config.backend = backend;
  config.threads = threads;
  config.max_rows = max_rows;
  config.shapes = {{w.n, w.k}};
  auto gemm = Gemm::Create(config);
  if (!gemm.ok()) return nullptr;
  return std::make_unique<Bench>(std::move(gemm).value(), threads, w);
}

}  // namespace dapple::gemm_test

#endif  // DAPPLE_TESTS_GEMM_GEMM_FIXTURE_H_
