#include "gemm/int8_gemm.h"

#include <algorithm>
#include <cassert>
#include <cstring>

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
using int8_gemm::kGroup;
using int8_gemm::kPanelWidth;
using int8_gemm::kQuad;
using int8_gemm::PanelGroup;
using int8_gemm::RowGroup;
using kernels::BlockActivation;

// A multiple of every target's register block.
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

void PackPanel(const WeightMatrix& w, size_t panel, PanelGroup* out) {
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
      for (size_t q = 0; q < kGroup / kQuad; ++q)
        std::memcpy(to.quants[q][c], quants + q * kQuad, kQuad);
    }
  }
}

// x: [k] to out: [Groups(k)].
void PackRow(const float* x, size_t k, RowGroup* out) {
  const size_t whole = k / kGroup;
  for (size_t g = 0; g < Groups(k); ++g) {
    BlockActivation block;
    if (g < whole) {
      kernels::QuantizeActivations(x + g * kGroup, kGroup, &block);
    } else {
      float padded[kGroup] = {};
      std::copy(x + g * kGroup, x + k, padded);
      kernels::QuantizeActivations(padded, kGroup, &block);
    }
    out[g].scale = block.scale;
    for (size_t i = 0; i < kGroup; ++i)
      out[g].quants[i] = static_cast<uint8_t>(block.quants[i] + 128);
  }
}

class Int8Gemm final : public Gemm {
 public:
  explicit Int8Gemm(const Config& config)
      : threads_(config.threads), max_rows_(config.max_rows) {
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
      PackPanel(w, panel, panels + panel * Groups(w.k));
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
    auto* quants = reinterpret_cast<RowGroup*>(scratch.data());
    auto* work = reinterpret_cast<Workspace*>(scratch.data() + RowsBytes());
    const size_t padded = PaddedRows(rows);
    parallel.For(padded / kRowStep, [&](size_t block, int) {
      for (size_t r = block * kRowStep; r < (block + 1) * kRowStep; ++r) {
        RowGroup* to = quants + r * groups;
        if (r < rows)
          PackRow(x + r * x_stride, shape.k, to);
        else
          std::memset(to, 0, groups * sizeof(RowGroup));
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
    const auto multiply = HWY_DYNAMIC_POINTER(MultiplyInt8Block);
    parallel.For(panels * cuts, [&](size_t item, int thread) {
      const size_t panel = item / cuts;
      const size_t first = item % cuts * group_rows;
      const size_t count = std::min(group_rows, rows - first);
      float* sums = work[thread].sums;
      multiply(Block{
          .panel = reinterpret_cast<const PanelGroup*>(packed.data()) +
                   panel * groups,
          .rows = quants + first * groups,
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
    return AlignUp(PaddedRows(max_rows_) * max_groups_ * sizeof(RowGroup), 64);
  }

  int threads_;
  size_t max_rows_;
  size_t max_groups_ = 0;
};

}  // namespace

bool HasInt8Dot() { return HWY_DYNAMIC_DISPATCH(ThisHasInt8Dot)(); }

std::unique_ptr<Gemm> CreateInt8Gemm(const Gemm::Config& config) {
  return std::make_unique<Int8Gemm>(config);
}

}  // namespace dapple
#endif  // HWY_ONCE
