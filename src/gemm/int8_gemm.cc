#include "gemm/int8_gemm.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/byte_dot.h"
#include "kernels/convert.h"
#include "util/checked.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/int8_gemm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.
#include "gemm/int8_gemm-inl.h"

#if HWY_ONCE
namespace dapple {

HWY_EXPORT(MultiplyInt8Block);
HWY_EXPORT(ThisHasInt8Dot);

namespace {

using int8_gemm::Block;
using int8_gemm::kBlockRows;
using int8_gemm::Kernel;
using int8_gemm::kGroup;
using int8_gemm::kPanelWidth;
using int8_gemm::PanelGroup;
using int8_gemm::RowGroupBytes;
using kernels::BlockActivation;

// A multiple of every kernel's register block.
constexpr size_t kRowStep = 12;
static_assert(kBlockRows % kRowStep == 0);

struct Workspace {
  alignas(64) float sums[kBlockRows * kPanelWidth];
};

size_t Groups(size_t k) { return CeilDiv(k, kGroup); }
size_t PaddedRows(size_t rows) { return CeilDiv(rows, kRowStep) * kRowStep; }

// Group `group` of weight row `row` as quants [32] and their scale.
float QuantsOf(const WeightMatrix& w, size_t row, size_t group,
               int8_t* quants) {
  const std::byte* from = w.data + row * w.row_bytes;
  if (w.type == TensorType::kQ8_0) {
    BlockQ8_0 block;
    std::memcpy(&block, from + group * sizeof(block), sizeof(block));
    std::memcpy(quants, block.quants, kGroup);
    return ToFloat(block.scale);
  }
  if (w.type == TensorType::kQ4_0) {
    BlockQ4_0 block;
    std::memcpy(&block, from + group * sizeof(block), sizeof(block));
    for (size_t i = 0; i < 16; ++i) {
      quants[i] = static_cast<int8_t>((block.nibbles[i] & 15) - 8);
      quants[16 + i] = static_cast<int8_t>((block.nibbles[i] >> 4) - 8);
    }
    return ToFloat(block.scale);
  }
  // A block of some types is wider than a group.
  const TensorTypeInfo& info = InfoOf(w.type);
  const size_t first = group * kGroup;
  const size_t start = first / info.block_elements * info.block_elements;
  float values[512] = {};
  const size_t end =
      std::min(w.k, std::max(start + info.block_elements, first + kGroup));
  assert(end - start <= 512);
  kernels::Dequantize(w.type, from + RowBytes(w.type, start), end - start,
                      values);
  BlockActivation block;
  kernels::QuantizeActivations(values + (first - start), kGroup, &block);
  std::memcpy(quants, block.quants, kGroup);
  return block.scale;
}

// The kernel of ActiveByteDot(), else of Highway's target.
Kernel ActiveKernel() {
#if defined(__aarch64__)
  switch (kernels::ActiveByteDot()) {
    default:
      break;
    case kernels::ByteDot::kNeon:
      return int8_gemm::kNeonKernel;
    case kernels::ByteDot::kDotProd:
      return int8_gemm::kDotProdKernel;
    case kernels::ByteDot::kI8mm:
      return int8_gemm::kI8mmKernel;
  }
#elif defined(__x86_64__)
  if (kernels::ActiveByteDot() == kernels::ByteDot::kAvxVnni)
    return int8_gemm::kAvxVnniKernel;
#endif
  return {.name = "highway",
          .run = 4,
          .interleave = 1,
          .unsigned_rows = true,
          .multiply = HWY_DYNAMIC_POINTER(MultiplyInt8Block)};
}

// quants [kGroup] to out, `step` bytes from one run to the next.
template <size_t kRun>
void ScatterRuns(const void* quants, size_t step, void* out) {
  for (size_t i = 0; i < kGroup / kRun; ++i)
    std::memcpy(static_cast<uint8_t*>(out) + i * step,
                static_cast<const uint8_t*>(quants) + i * kRun, kRun);
}

void Scatter(const void* quants, size_t run, size_t step, void* out) {
  switch (run) {
    case 4:
      return ScatterRuns<4>(quants, step, out);
    case 8:
      return ScatterRuns<8>(quants, step, out);
    default:
      assert(run == kGroup);
      return ScatterRuns<kGroup>(quants, step, out);
  }
}

// run: how many of a column's quants lie together.
void PackPanel(const WeightMatrix& w, size_t panel, size_t run,
               PanelGroup* out) {
  const size_t first = panel * kPanelWidth;
  const size_t columns = std::min(kPanelWidth, w.n - first);
  for (size_t g = 0; g < Groups(w.k); ++g) {
    PanelGroup& to = out[g];
    if (columns < kPanelWidth) std::memset(&to, 0, sizeof(to));
    for (size_t c = 0; c < columns; ++c) {
      alignas(16) int8_t quants[kGroup];
      to.scales[c] = QuantsOf(w, first + c, g, quants);
      int32_t total = 0;
      for (int8_t quant : quants) total += quant;
      to.offsets[c] = -128 * total;
      Scatter(quants, run, run * kPanelWidth, to.quants + c * run);
    }
  }
}

// x: [k] to row `lane` of those that lie together at out, [Groups(k)] of
// RowGroupBytes.
void PackRow(const float* x, size_t k, const Kernel& kernel, size_t lane,
             uint8_t* out) {
  const size_t whole = k / kGroup;
  const size_t step = kernel.interleave * kernel.run;
  for (size_t g = 0; g < Groups(k); ++g) {
    BlockActivation block;
    if (g < whole) {
      kernels::QuantizeActivations(x + g * kGroup, kGroup, &block);
    } else {
      float padded[kGroup] = {};
      std::copy(x + g * kGroup, x + k, padded);
      kernels::QuantizeActivations(padded, kGroup, &block);
    }
    uint8_t quants[kGroup];
    const int bias = kernel.unsigned_rows ? 128 : 0;
    for (size_t i = 0; i < kGroup; ++i)
      quants[i] = static_cast<uint8_t>(block.quants[i] + bias);
    std::memcpy(out + lane * sizeof(float), &block.scale, sizeof(float));
    Scatter(quants, kernel.run, step,
            out + kernel.interleave * sizeof(float) + lane * kernel.run);
    out += RowGroupBytes(kernel.interleave);
  }
}

class Int8Gemm final : public Gemm {
 public:
  Int8Gemm(const Config& config, const Kernel& kernel)
      : kernel_(kernel), threads_(config.threads), max_rows_(config.max_rows) {
    for (const GemmShape& shape : config.shapes)
      max_groups_ = std::max(max_groups_, Groups(shape.k));
  }

  GemmBackend backend() const override { return GemmBackend::kInt8; }

  size_t PackedBytes(GemmShape shape) const override {
    return CeilDiv(shape.n, kPanelWidth) * Groups(shape.k) * sizeof(PanelGroup);
  }

  size_t ScratchBytes() const override {
    return RowsBytes() + static_cast<size_t>(threads_) * sizeof(Workspace);
  }

  size_t OwnBytes() const override { return sizeof(*this); }

  void Pack(const WeightMatrix& w, std::span<std::byte> packed,
            const Parallel& parallel) const override {
    assert(packed.size() >= PackedBytes({w.n, w.k}));
    auto* panels = reinterpret_cast<PanelGroup*>(packed.data());
    parallel.For(CeilDiv(w.n, kPanelWidth), [&](size_t panel, int) {
      PackPanel(w, panel, kernel_.run, panels + panel * Groups(w.k));
    });
  }

  void Multiply(GemmShape shape, std::span<const std::byte> packed,
                const float* x, size_t x_stride, size_t rows, float* y,
                size_t y_stride, std::span<std::byte> scratch,
                const Parallel& parallel) const override {
    assert(parallel.threads() <= threads_ && rows <= max_rows_);
    assert(scratch.size() >= ScratchBytes());
    assert(packed.size() >= PackedBytes(shape));
    if (rows == 0) return;
    const size_t groups = Groups(shape.k);
    assert(groups <= max_groups_);
    auto* quants = reinterpret_cast<uint8_t*>(scratch.data());
    auto* work = reinterpret_cast<Workspace*>(scratch.data() + RowsBytes());
    const size_t padded = PaddedRows(rows);
    parallel.For(padded / kRowStep, [&](size_t block, int) {
      const size_t first = block * kRowStep, last = first + kRowStep;
      if (last > rows)
        std::memset(quants + first * groups * RowGroupBytes(1), 0,
                    kRowStep * groups * RowGroupBytes(1));
      for (size_t r = first; r < std::min(last, rows); ++r) {
        const size_t lane = r % kernel_.interleave;
        PackRow(x + r * x_stride, shape.k, kernel_, lane,
                quants + (r - lane) * groups * RowGroupBytes(1));
      }
    });

    // How the result is cut never changes it; it only has to be fine enough
    // to keep every thread busy to the end.
    const size_t panels = CeilDiv(shape.n, kPanelWidth);
    const size_t wanted =
        parallel.threads() == 1
            ? 1
            : CeilDiv(4 * static_cast<size_t>(parallel.threads()), panels);
    const size_t row_groups =
        std::clamp(wanted, CeilDiv(rows, kBlockRows), CeilDiv(rows, kRowStep));
    const size_t group_rows = PaddedRows(CeilDiv(rows, row_groups));
    const size_t cuts = CeilDiv(rows, group_rows);
    parallel.For(panels * cuts, [&](size_t item, int thread) {
      const size_t panel = item / cuts;
      const size_t first = item % cuts * group_rows;
      const size_t count = std::min(group_rows, rows - first);
      float* sums = work[thread].sums;
      kernel_.multiply(Block{
          .panel = reinterpret_cast<const PanelGroup*>(packed.data()) +
                   panel * groups,
          .rows = quants + first * groups * RowGroupBytes(1),
          .groups = groups,
          .row_count = count,
          .sums = sums,
      });
      const size_t column = panel * kPanelWidth;
      const size_t columns = std::min(kPanelWidth, shape.n - column);
      for (size_t r = 0; r < count; ++r)
        std::memcpy(y + (first + r) * y_stride + column, sums + r * kPanelWidth,
                    columns * sizeof(float));
    });
  }

 private:
  size_t RowsBytes() const {
    return AlignUp(PaddedRows(max_rows_) * max_groups_ * RowGroupBytes(1), 64);
  }

  Kernel kernel_;
  int threads_;
  size_t max_rows_;
  size_t max_groups_ = 0;
};

}  // namespace

bool Int8GemmWins() {
  // Any of ARM's: docs/ARM.md counts their instructions.
  return kernels::ActiveByteDot() != kernels::ByteDot::kHighway ||
         HWY_DYNAMIC_DISPATCH(ThisHasInt8Dot)();
}

const char* Int8KernelName() { return ActiveKernel().name; }

std::unique_ptr<Gemm> CreateInt8Gemm(const Gemm::Config& config) {
  return std::make_unique<Int8Gemm>(config, ActiveKernel());
}

std::unique_ptr<Gemm> int8_gemm::CreateGemm(const Gemm::Config& config,
                                            const Kernel& kernel) {
  return std::make_unique<Int8Gemm>(config, kernel);
}

}  // namespace dapple
#endif  // HWY_ONCE
