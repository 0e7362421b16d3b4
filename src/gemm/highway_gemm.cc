#include "gemm/highway_gemm.h"

#include <algorithm>
#include <cassert>

#include "gemm/panel.h"
#include "util/checked.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/highway_gemm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.
#include "gemm/highway_gemm-inl.h"

#if HWY_ONCE
namespace dapple {

HWY_EXPORT(MultiplyBlockBF16);
HWY_EXPORT(MultiplyBlockF32);

namespace {

using highway_gemm::Block;
using highway_gemm::kBlockPanels;
using highway_gemm::kBlockRows;
using highway_gemm::kPanelWidth;
using highway_gemm::Workspace;

// Rows of the smallest work item; a multiple of every register block.
constexpr size_t kMinItemRows = 12;

class HighwayGemm final : public Gemm {
 public:
  HighwayGemm(GemmBackend backend, const Config& config)
      : backend_(backend), threads_(config.threads) {}

  GemmBackend backend() const override { return backend_; }

  size_t PackedBytes(GemmShape shape) const override {
    const size_t columns = AlignUp(shape.n, kPanelWidth);
    return is_float() ? columns * shape.k * sizeof(float)
                      : columns * AlignUp(shape.k, 2) * sizeof(BF16);
  }

  size_t ScratchBytes() const override {
    return static_cast<size_t>(threads_) * sizeof(Workspace);
  }

  size_t OwnBytes() const override { return sizeof(*this); }

  void Pack(const WeightMatrix& w, std::span<std::byte> packed,
            const Parallel& parallel) const override {
    assert(packed.size() >= PackedBytes({w.n, w.k}));
    const size_t k_padded = AlignUp(w.k, 2);
    parallel.For(CeilDiv(w.n, kPanelWidth), [&](size_t panel, int) {
      if (is_float()) {
        PackPanelF32(w, panel, kPanelWidth,
                     reinterpret_cast<float*>(packed.data()) +
                         panel * kPanelWidth * w.k);
      } else {
        PackPanelBF16(w, panel, kPanelWidth, k_padded,
                      reinterpret_cast<BF16*>(packed.data()) +
                          panel * kPanelWidth * k_padded);
      }
    });
  }

  void Multiply(GemmShape shape, std::span<const std::byte> packed,
                const float* x, size_t x_stride, size_t rows, float* y,
                size_t y_stride, std::span<std::byte> scratch,
                const Parallel& parallel) const override {
    assert(parallel.threads() <= threads_);
    assert(scratch.size() >= ScratchBytes());
    assert(packed.size() >= PackedBytes(shape));
    if (rows == 0) return;
    auto* work = reinterpret_cast<Workspace*>(scratch.data());
    const size_t panels = CeilDiv(shape.n, kPanelWidth);
    const size_t panel_groups = CeilDiv(panels, kBlockPanels);
    // How the result is cut never changes it; it only has to be fine enough
    // to keep every thread busy to the end.
    const size_t wanted =
        parallel.threads() == 1
            ? 1
            : CeilDiv(4 * static_cast<size_t>(parallel.threads()),
                      panel_groups);
    const size_t row_groups = std::clamp(wanted, CeilDiv(rows, kBlockRows),
                                         CeilDiv(rows, kMinItemRows));
    const size_t group_rows = AlignUp12(CeilDiv(rows, row_groups));
    const size_t groups = CeilDiv(rows, group_rows);
    const auto multiply = is_float() ? HWY_DYNAMIC_POINTER(MultiplyBlockF32)
                                     : HWY_DYNAMIC_POINTER(MultiplyBlockBF16);
    parallel.For(panel_groups * groups, [&](size_t item, int thread) {
      const size_t first_panel = item / groups * kBlockPanels;
      const size_t first_row = item % groups * group_rows;
      const Block block{
          .packed = packed.data(),
          .n = shape.n,
          .k = shape.k,
          .first_panel = first_panel,
          .last_panel = std::min(panels, first_panel + kBlockPanels),
          .x = x + first_row * x_stride,
          .x_stride = x_stride,
          .rows = std::min(group_rows, rows - first_row),
          .y = y + first_row * y_stride,
          .y_stride = y_stride};
      multiply(block, work + thread);
    });
  }

 private:
  static size_t AlignUp12(size_t rows) {
    return CeilDiv(rows, kMinItemRows) * kMinItemRows;
  }
  bool is_float() const { return backend_ == GemmBackend::kF32; }

  GemmBackend backend_;
  int threads_;
};

}  // namespace

std::unique_ptr<Gemm> CreateHighwayGemm(GemmBackend backend,
                                        const Gemm::Config& config) {
  return std::make_unique<HighwayGemm>(backend, config);
}

}  // namespace dapple
#endif  // HWY_ONCE
