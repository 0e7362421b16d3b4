#include "gemm/int8_gemm.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/byte_dot.h"
#include "util/checked.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/int8_gemm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.
#include "gemm/int8_gemm-inl.h"
#include "gemm/int8_pack-inl.h"
#include "gemm/int8_pack_rows-inl.h"

#if HWY_ONCE
namespace dapple {

HWY_EXPORT(ThisGenericKernel);
HWY_EXPORT(ThisKernel);
HWY_EXPORT(ThisInt8Wins);
HWY_EXPORT(PackPanel);
HWY_EXPORT(PackRow);

namespace {

using int8_gemm::Block;
using int8_gemm::kBlockRows;
using int8_gemm::Kernel;
using int8_gemm::kGroup;
using int8_gemm::kPanelWidth;
using int8_gemm::PanelGroup;
using int8_gemm::Quants;

// A multiple of every kernel's register block.
constexpr size_t kRowStep = 12;
static_assert(kBlockRows % kRowStep == 0);

// What a packed matrix begins with, on a cache line of its own.
struct alignas(64) PackedHeader {
  Quants kind;
};

struct Workspace {
  alignas(64) float sums[kBlockRows * kPanelWidth];
};

size_t Groups(size_t k) { return CeilDiv(k, kGroup); }
size_t PaddedRows(size_t rows) { return CeilDiv(rows, kRowStep) * kRowStep; }

class Int8Gemm final : public Gemm {
 public:
  Int8Gemm(const Config& config, const Kernel& kernel)
      : kernel_(kernel), threads_(config.threads), max_rows_(config.max_rows) {
    for (const GemmShape& shape : config.shapes)
      max_groups_ = std::max(max_groups_, Groups(shape.k));
  }

  GemmBackend backend() const override { return GemmBackend::kInt8; }

  size_t PackedBytes(GemmShape shape) const override {
    return sizeof(PackedHeader) +
           CeilDiv(shape.n, kPanelWidth) * Groups(shape.k) * sizeof(PanelGroup);
  }

  size_t ScratchBytes() const override {
    return RowsBytes() + static_cast<size_t>(threads_) * sizeof(Workspace);
  }

  size_t OwnBytes() const override { return sizeof(*this); }

  void Pack(const WeightMatrix& w, std::span<std::byte> packed,
            const Parallel& parallel) const override {
    assert(packed.size() >= PackedBytes({w.n, w.k}));
    auto* header = reinterpret_cast<PackedHeader*>(packed.data());
    auto* panels = reinterpret_cast<PanelGroup*>(header + 1);
    parallel.For(CeilDiv(w.n, kPanelWidth), [&](size_t panel, int) {
      const Quants kind = HWY_DYNAMIC_DISPATCH(PackPanel)(
          w, panel * kPanelWidth, kernel_, panels + panel * Groups(w.k));
      if (panel == 0) header->kind = kind;
    });
  }

  void Multiply(GemmShape shape, std::span<const std::byte> packed,
                const float* x, size_t x_stride, size_t rows, float* y,
                size_t y_stride, std::span<std::byte> scratch,
                const Parallel& parallel) const override {
    const GemmProduct product{shape, packed, y, y_stride};
    MultiplyAll({&product, 1}, x, x_stride, rows, scratch, parallel);
  }

  void MultiplyAll(std::span<const GemmProduct> products, const float* x,
                   size_t x_stride, size_t rows, std::span<std::byte> scratch,
                   const Parallel& parallel) const override {
    assert(parallel.threads() <= threads_ && rows <= max_rows_);
    assert(scratch.size() >= ScratchBytes());
    if (rows == 0 || products.empty()) return;
    const size_t k = products[0].shape.k, groups = Groups(k);
    assert(groups <= max_groups_);
    size_t panels = 0;
    for (const GemmProduct& product : products) {
      assert(product.shape.k == k);
      assert(product.packed.size() >= PackedBytes(product.shape));
      panels += CeilDiv(product.shape.n, kPanelWidth);
    }
    auto* quants = reinterpret_cast<uint8_t*>(scratch.data());
    auto* work = reinterpret_cast<Workspace*>(scratch.data() + RowsBytes());
    const size_t row_bytes = RowBytes(groups);
    parallel.For(CeilDiv(rows, kRowStep), [&](size_t block, int) {
      const size_t first = block * kRowStep, last = first + kRowStep;
      if (last > rows)
        std::memset(quants + first * row_bytes, 0, kRowStep * row_bytes);
      for (size_t r = first; r < std::min(last, rows); ++r) {
        const size_t lane = r % kernel_.interleave;
        HWY_DYNAMIC_DISPATCH(PackRow)
        (x + r * x_stride, k, kernel_, lane, quants + (r - lane) * row_bytes);
      }
    });

    // How the result is cut never changes it; it only has to be fine enough
    // to keep every thread busy to the end.
    const size_t wanted =
        parallel.threads() == 1
            ? 1
            : CeilDiv(4 * static_cast<size_t>(parallel.threads()), panels);
    const size_t row_groups =
        std::clamp(wanted, CeilDiv(rows, kBlockRows), CeilDiv(rows, kRowStep));
    const size_t group_rows = PaddedRows(CeilDiv(rows, row_groups));
    const size_t cuts = CeilDiv(rows, group_rows);
    parallel.For(panels * cuts, [&](size_t item, int thread) {
      const size_t first = item % cuts * group_rows;
      size_t panel = item / cuts, p = 0;
      for (size_t n; (n = CeilDiv(products[p].shape.n, kPanelWidth)) <= panel;
           ++p)
        panel -= n;
      MultiplyPanel(products[p], panel, quants + first * row_bytes, first,
                    std::min(group_rows, rows - first), work[thread].sums);
    });
  }

 private:
  size_t RowBytes(size_t groups) const {
    return int8_gemm::PackedRowBytes(groups, kernel_.minima);
  }

  size_t RowsBytes() const {
    return AlignUp(PaddedRows(max_rows_) * RowBytes(max_groups_), 64);
  }

  // Rows [first, first + count) of a panel's columns. rows: those of quants.
  void MultiplyPanel(const GemmProduct& product, size_t panel,
                     const uint8_t* rows, size_t first, size_t count,
                     float* sums) const {
    const auto* header =
        reinterpret_cast<const PackedHeader*>(product.packed.data());
    const auto* panels = reinterpret_cast<const PanelGroup*>(header + 1);
    const size_t groups = Groups(product.shape.k);
    const size_t column = panel * kPanelWidth;
    const Block block{
        .kind = header->kind,
        .panel = panels + panel * groups,
        .rows = rows,
        .groups = groups,
        .row_count = count,
        .sums = sums,
        .y = product.y + first * product.y_stride + column,
        .y_stride = product.y_stride,
        .columns = std::min(kPanelWidth, product.shape.n - column),
    };
    kernel_.multiply(block);
    if (!kernel_.writes_y) StoreSums(block, 0);
  }

  Kernel kernel_;
  int threads_;
  size_t max_rows_;
  size_t max_groups_ = 0;
};

}  // namespace

void int8_gemm::StoreSums(const Block& block, size_t first) {
  for (size_t r = first; r < block.row_count; ++r)
    std::memcpy(block.y + r * block.y_stride, block.sums + r * kPanelWidth,
                block.columns * sizeof(float));
}

// The kernel of ActiveByteDot(), else of Highway's target.
Kernel int8_gemm::ActiveKernel() {
#if defined(__aarch64__)
  switch (kernels::ActiveByteDot()) {
    default:
      break;
    case kernels::ByteDot::kNeon:
      return kNeonKernel;
    case kernels::ByteDot::kDotProd:
      return kDotProdKernel;
    case kernels::ByteDot::kI8mm:
      return kI8mmKernel;
  }
#elif defined(__x86_64__)
  if (kernels::ActiveByteDot() == kernels::ByteDot::kAvxVnni)
    return kAvxVnniKernel;
#endif
  return HWY_DYNAMIC_DISPATCH(ThisKernel)();
}

Kernel int8_gemm::GenericKernel() {
  return HWY_DYNAMIC_DISPATCH(ThisGenericKernel)();
}

bool Int8GemmWins() {
  // Any of ARM's: docs/ARM.md counts their instructions.
  return kernels::ActiveByteDot() != kernels::ByteDot::kHighway ||
         HWY_DYNAMIC_DISPATCH(ThisInt8Wins)();
}

const char* Int8KernelName() { return int8_gemm::ActiveKernel().name; }

std::unique_ptr<Gemm> CreateInt8Gemm(const Gemm::Config& config) {
  return std::make_unique<Int8Gemm>(config, int8_gemm::ActiveKernel());
}

std::unique_ptr<Gemm> int8_gemm::CreateGemm(const Gemm::Config& config,
                                            const Kernel& kernel) {
  return std::make_unique<Int8Gemm>(config, kernel);
}

}  // namespace dapple
#endif  // HWY_ONCE
