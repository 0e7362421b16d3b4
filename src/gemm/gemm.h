// Gemm: y = x · Wᵀ for many rows at once (prefill).
//
// Layer-major prefill packs each weight matrix once a prompt into scratch and
// multiplies every tile of rows with it. Backends:
//   oneDNN  bf16, dequantised to plain bf16; needs AVX-512 BF16 (88 % of its
//           peak there); optional at build time
//   Highway bf16 panels, float accumulation; everywhere
//   int8    quantized activations, integer products; everywhere, chosen where
//           the processor has an instruction for dot products of bytes (on Zen
//           4, one thread, 256 rows: 273–297 GOPS against oneDNN's 196–208) or
//           for products of pairs (AVX2, SSSE3)
//   f32     Highway with float panels: the reference path (--compute f32)
// Owns no weights: packed panels live in the caller's scratch. A Gemm owns its
// backend's prebuilt primitives; their memory is reported by OwnBytes().
//
// Invariant: a row's result depends neither on the number of threads nor on
// which other rows share its tile, so tile sizes never change an answer.
#ifndef DAPPLE_GEMM_GEMM_H_
#define DAPPLE_GEMM_GEMM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dapple/status.h"
#include "util/parallel.h"
#include "util/tensor_type.h"

namespace dapple {

enum class GemmBackend { kAuto, kOneDnn, kHighway, kF32, kInt8 };

struct GemmShape {
  size_t n = 0;  // outputs
  size_t k = 0;  // inputs
};

// A weight matrix as the file has it: [n, k], rows row_bytes apart.
struct WeightMatrix {
  TensorType type = TensorType::kF32;
  const std::byte* data = nullptr;
  size_t row_bytes = 0;
  size_t n = 0;
  size_t k = 0;
};

// A packed matrix and where its product goes.
struct GemmProduct {
  GemmShape shape;
  std::span<const std::byte> packed;
  float* y = nullptr;  // [rows, n], rows y_stride apart
  size_t y_stride = 0;
};

class Gemm {
 public:
  virtual ~Gemm() = default;

  struct Config {
    GemmBackend backend = GemmBackend::kAuto;
    std::vector<GemmShape> shapes;  // every shape that Multiply will see
    size_t max_rows = 0;            // rows of the largest tile
    int threads = 1;
    bool quantized_weights = false;  // all of them; only kAuto asks
  };
  // Everything that allocates happens here. kUnsupported when the wanted
  // backend is not built in or the CPU lacks what it needs.
  static Result<std::unique_ptr<Gemm>> Create(const Config& config);
  // What kAuto would choose here: kInt8, kOneDnn or kHighway.
  // kInt8 only for weights that are quantized already: rounding others to 8
  // bits costs accuracy (and at most 0.1 % perplexity where they are).
  static GemmBackend Choose(bool quantized_weights);
  static std::string_view BackendName(GemmBackend backend);
  // True while this thread is inside a library that Multiply calls. oneDNN
  // keeps its arguments in a small heap map during each call (six allocations,
  // freed on return); counters of Dapple's own allocations look away then.
  static bool InsideLibrary();

  virtual GemmBackend backend() const = 0;
  // Bytes of packed weights for a shape, 64-byte multiple.
  virtual size_t PackedBytes(GemmShape shape) const = 0;
  // Bytes of scratch (all threads together) that Multiply needs.
  virtual size_t ScratchBytes() const = 0;
  // Heap held by the backend (JIT code, primitive caches), for the plan.
  virtual size_t OwnBytes() const = 0;

  // Whether a product since the last call of this was given up because the
  // library had no memory for it. Its results are NaN.
  virtual bool TakeFailure() const { return false; }

  // Dequantises and reorders w into `packed` (PackedBytes of w's shape,
  // 64-byte aligned), in parallel.
  virtual void Pack(const WeightMatrix& w, std::span<std::byte> packed,
                    const Parallel& parallel) const = 0;

  // y: [rows, n] at y + r * y_stride; x: [rows, k] at x + r * x_stride.
  // rows <= max_rows. scratch: ScratchBytes, 64-byte aligned; its contents
  // need not survive between calls. parallel.threads() <= Config::threads
  // (also for Pack). One Multiply at a time.
  virtual void Multiply(GemmShape shape, std::span<const std::byte> packed,
                        const float* x, size_t x_stride, size_t rows, float* y,
                        size_t y_stride, std::span<std::byte> scratch,
                        const Parallel& parallel) const = 0;

  // The same rows with several matrices of one k, whose results are those of
  // Multiply. A backend that rounds the rows does so once.
  virtual void MultiplyAll(std::span<const GemmProduct> products,
                           const float* x, size_t x_stride, size_t rows,
                           std::span<std::byte> scratch,
                           const Parallel& parallel) const {
    for (const GemmProduct& product : products)
      Multiply(product.shape, product.packed, x, x_stride, rows, product.y,
               product.y_stride, scratch, parallel);
  }
};

}  // namespace dapple

#endif  // DAPPLE_GEMM_GEMM_H_
