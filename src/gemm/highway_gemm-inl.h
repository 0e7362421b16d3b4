// The inner loops of the Highway GEMM, compiled once for each SIMD target.
//
// A register block is kRows rows by two vectors of columns. Accumulators are
// named variables, not arrays, because vectors of scalable targets (SVE) have
// no size that an array could use, and because a compiler that fails to
// unroll an array would keep it in memory.

// Per-target include guard.
#if defined(DAPPLE_GEMM_HIGHWAY_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_GEMM_HIGHWAY_GEMM_INL_H_
#undef DAPPLE_GEMM_HIGHWAY_GEMM_INL_H_
#else
#define DAPPLE_GEMM_HIGHWAY_GEMM_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "gemm/highway_gemm.h"
#include "hwy/highway.h"
#include "kernels/convert.h"

// Whether bf16 dot products run in hardware here. SVE is left out because
// Highway does not use its bf16 instructions (arm_sve-inl.h).
#undef DAPPLE_GEMM_BF16_DOT
#if HWY_NATIVE_DOT_BF16 && !HWY_TARGET_IS_SVE
#define DAPPLE_GEMM_BF16_DOT 1
#else
#define DAPPLE_GEMM_BF16_DOT 0
#endif

// X(r) for every row of a register block: 24 accumulators where there are 32
// vector registers, 12 where there are 16 (x86 before AVX-512).
#undef DAPPLE_GEMM_ROWS
#undef DAPPLE_GEMM_ROW_COUNT
#if HWY_ARCH_X86 && (HWY_TARGET >= HWY_AVX2)
#define DAPPLE_GEMM_ROW_COUNT 6
#define DAPPLE_GEMM_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5)
#else
#define DAPPLE_GEMM_ROW_COUNT 12
#define DAPPLE_GEMM_ROWS(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#endif

#undef DAPPLE_GEMM_ZERO
#define DAPPLE_GEMM_ZERO(r)   \
  auto left##r = hn::Zero(d); \
  auto right##r = hn::Zero(d);

// y[r] = or += the block's row r.
#undef DAPPLE_GEMM_STORE
#define DAPPLE_GEMM_STORE(r)                                        \
  {                                                                 \
    float* to = y + (r)*y_stride;                                   \
    if (add) {                                                      \
      left##r = hn::Add(hn::Load(d, to), left##r);                  \
      right##r = hn::Add(hn::Load(d, to + hn::Lanes(d)), right##r); \
    }                                                               \
    hn::Store(left##r, d, to);                                      \
    hn::Store(right##r, d, to + hn::Lanes(d));                      \
  }

HWY_BEFORE_NAMESPACE();
namespace dapple {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using highway_gemm::Block;
using highway_gemm::kBlockRows;
using highway_gemm::kPanelWidth;
using highway_gemm::kSliceK;
using highway_gemm::kSliceStride;
using highway_gemm::Workspace;

// At most 16 lanes, so that two vectors never exceed a panel.
using DF = hn::CappedTag<float, kPanelWidth / 2>;
constexpr size_t kRows = DAPPLE_GEMM_ROW_COUNT;
static_assert(kBlockRows % kRows == 0);

// rows: [kRows, count] kSliceStride apart; columns: [count, 2 * lanes];
// y: [kRows, 2 * lanes] y_stride apart.
HWY_INLINE void MultiplyFloat(const float* HWY_RESTRICT rows,
                              const float* HWY_RESTRICT columns, size_t count,
                              bool add, float* HWY_RESTRICT y,
                              size_t y_stride) {
  const DF d;
  DAPPLE_GEMM_ROWS(DAPPLE_GEMM_ZERO)
  for (size_t i = 0; i < count; ++i) {
    const auto c0 = hn::Load(d, columns);
    const auto c1 = hn::Load(d, columns + hn::Lanes(d));
    columns += 2 * hn::Lanes(d);
#define DAPPLE_GEMM_STEP(r)                                \
  {                                                        \
    const auto x = hn::Set(d, rows[(r)*kSliceStride + i]); \
    left##r = hn::MulAdd(x, c0, left##r);                  \
    right##r = hn::MulAdd(x, c1, right##r);                \
  }
    DAPPLE_GEMM_ROWS(DAPPLE_GEMM_STEP)
#undef DAPPLE_GEMM_STEP
  }
  DAPPLE_GEMM_ROWS(DAPPLE_GEMM_STORE)
}

#if DAPPLE_GEMM_BF16_DOT
// The same with pairs of bf16. rows: [kRows, pairs] kSliceStride apart;
// columns: [pairs, kPanelWidth] of which the first 2 * lanes are used.
HWY_INLINE void MultiplyPairs(const uint32_t* HWY_RESTRICT rows,
                              const uint32_t* HWY_RESTRICT columns,
                              size_t pairs, bool add, float* HWY_RESTRICT y,
                              size_t y_stride) {
  const DF d;
  const hn::Repartition<uint32_t, DF> du;
  const hn::Repartition<hwy::bfloat16_t, DF> db;
  // Never written where the dot product is native: lane i sums pair i.
  auto unused = hn::Zero(d);
  DAPPLE_GEMM_ROWS(DAPPLE_GEMM_ZERO)
  for (size_t i = 0; i < pairs; ++i) {
    const auto c0 = hn::BitCast(db, hn::Load(du, columns));
    const auto c1 = hn::BitCast(db, hn::Load(du, columns + hn::Lanes(du)));
    columns += kPanelWidth;
#define DAPPLE_GEMM_STEP(r)                                                  \
  {                                                                          \
    const auto x = hn::BitCast(db, hn::Set(du, rows[(r)*kSliceStride + i])); \
    left##r = hn::ReorderWidenMulAccumulate(d, x, c0, left##r, unused);      \
    right##r = hn::ReorderWidenMulAccumulate(d, x, c1, right##r, unused);    \
  }
    DAPPLE_GEMM_ROWS(DAPPLE_GEMM_STEP)
#undef DAPPLE_GEMM_STEP
  }
  DAPPLE_GEMM_ROWS(DAPPLE_GEMM_STORE)
}
#endif  // DAPPLE_GEMM_BF16_DOT

// Widens pairs of bf16 weights: panel [pairs, kPanelWidth] pairs, of which the
// first 2 * lanes columns; out [2 * pairs, 2 * lanes].
HWY_INLINE void WidenColumns(const uint32_t* HWY_RESTRICT panel, size_t pairs,
                             float* HWY_RESTRICT out) {
  const DF d;
  const hn::Repartition<uint32_t, DF> du;
  const size_t lanes = hn::Lanes(d);
  const auto high = hn::Set(du, 0xFFFF0000u);
  for (size_t i = 0; i < pairs; ++i, panel += kPanelWidth, out += 4 * lanes) {
    const auto w0 = hn::Load(du, panel);
    const auto w1 = hn::Load(du, panel + lanes);
    hn::Store(hn::BitCast(d, hn::ShiftLeft<16>(w0)), d, out);
    hn::Store(hn::BitCast(d, hn::ShiftLeft<16>(w1)), d, out + lanes);
    hn::Store(hn::BitCast(d, hn::And(w0, high)), d, out + 2 * lanes);
    hn::Store(hn::BitCast(d, hn::And(w1, high)), d, out + 3 * lanes);
  }
}

// The first 2 * lanes columns of panel [count, kPanelWidth], side by side.
HWY_INLINE void CopyColumns(const float* HWY_RESTRICT panel, size_t count,
                            float* HWY_RESTRICT out) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < count; ++i, panel += kPanelWidth, out += 2 * lanes) {
    hn::Store(hn::Load(d, panel), d, out);
    hn::Store(hn::Load(d, panel + lanes), d, out + lanes);
  }
}

// Copies x[., first, first + count) into the workspace, rounded to bf16 if
// kPairs, with zeros for the odd input and for the rows that fill up the last
// register block.
template <bool kPairs>
void PackRows(const Block& block, size_t first, size_t count, Workspace* work) {
  const size_t filled = (block.rows + kRows - 1) / kRows * kRows;
  for (size_t r = 0; r < filled; ++r) {
    float* to = work->rows + r * kSliceStride;
    if (r >= block.rows) {
      std::memset(to, 0, kSliceK * sizeof(float));
      continue;
    }
    const float* from = block.x + r * block.x_stride + first;
    if constexpr (kPairs) {
      BF16* half = reinterpret_cast<BF16*>(to);
      kernels::ToBF16(from, count, half);
      if (count % 2 != 0) half[count] = BF16{0};
    } else {
      std::memcpy(to, from, count * sizeof(float));
      if (count % 2 != 0) to[count] = 0.0f;
    }
  }
}

// One slice of inputs times the columns [column, column + 2 * lanes) of a
// panel whose results so far are `sums`, [kBlockRows, kPanelWidth].
// multiply(rows, add, y, y_stride) computes one register block.
template <class Fn>
HWY_INLINE void ForRegisterBlocks(const Block& block, size_t column, bool add,
                                  const float* rows, float* sums,
                                  const Fn& multiply) {
  for (size_t r = 0; r < block.rows; r += kRows)
    multiply(rows + r * kSliceStride, add, sums + r * kPanelWidth + column,
             kPanelWidth);
}

// Copies the valid part of the sums to y.
inline void StoreSums(const Block& block, const Workspace& work) {
  for (size_t panel = block.first_panel; panel < block.last_panel; ++panel) {
    const size_t column = panel * kPanelWidth;
    const size_t columns = std::min(kPanelWidth, block.n - column);
    const float* sums = work.sums[panel - block.first_panel];
    for (size_t r = 0; r < block.rows; ++r)
      std::memcpy(block.y + r * block.y_stride + column, sums + r * kPanelWidth,
                  columns * sizeof(float));
  }
}

template <bool kFloatWeights>
void MultiplyBlock(const Block& block, Workspace* work) {
  constexpr bool kPairs = !kFloatWeights && DAPPLE_GEMM_BF16_DOT;
  const DF d;
  const size_t width = 2 * hn::Lanes(d);
  const size_t k_padded = kFloatWeights ? block.k : block.k + block.k % 2;
  const size_t panel_bytes =
      k_padded * kPanelWidth * (kFloatWeights ? sizeof(float) : sizeof(BF16));
  for (size_t first = 0; first < block.k; first += kSliceK) {
    const size_t count = std::min(kSliceK, block.k - first);
    const size_t pairs = (count + 1) / 2;
    PackRows<kPairs>(block, first, count, work);
    for (size_t panel = block.first_panel; panel < block.last_panel; ++panel) {
      // Both layouts have kPanelWidth words in a line: an input or a pair.
      const std::byte* slice =
          block.packed + panel * panel_bytes +
          (kFloatWeights ? first : first / 2) * kPanelWidth * sizeof(uint32_t);
      float* sums = work->sums[panel - block.first_panel];
      for (size_t c = 0; c < kPanelWidth; c += width) {
        if (panel * kPanelWidth + c >= block.n) break;
        const auto* words = reinterpret_cast<const uint32_t*>(slice) + c;
        if constexpr (kPairs) {
#if DAPPLE_GEMM_BF16_DOT
          ForRegisterBlocks(
              block, c, first > 0, work->rows, sums,
              [&](const float* rows, bool add, float* y, size_t y_stride)
                  HWY_ATTR {
                    MultiplyPairs(reinterpret_cast<const uint32_t*>(rows),
                                  words, pairs, add, y, y_stride);
                  });
#endif
        } else {
          size_t inputs = count;
          if constexpr (kFloatWeights) {
            CopyColumns(reinterpret_cast<const float*>(words), count,
                        work->columns);
          } else {
            WidenColumns(words, pairs, work->columns);
            inputs = 2 * pairs;
          }
          ForRegisterBlocks(block, c, first > 0, work->rows, sums,
                            [&](const float* rows, bool add, float* y,
                                size_t y_stride) HWY_ATTR {
                              MultiplyFloat(rows, work->columns, inputs, add, y,
                                            y_stride);
                            });
        }
      }
    }
  }
  StoreSums(block, *work);
}

}  // namespace

void MultiplyBlockBF16(const Block& block, Workspace* work) {
  MultiplyBlock<false>(block, work);
}

void MultiplyBlockF32(const Block& block, Workspace* work) {
  MultiplyBlock<true>(block, work);
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
