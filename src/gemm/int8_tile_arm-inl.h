// The loop around the ARM kernels' register blocks of kTileRows rows and
// kTileColumns columns. Include it after a definition of
//   void MultiplyTile(const PanelGroup* panel, const uint8_t* rows,
//                     size_t count, size_t column, float* sums);
// which adds the products of `count` groups to sums [kTileRows, kPanelWidth],
// columns [column, column + kTileColumns), and of kTileColumns.
//
// Everything is in an unnamed namespace and no inline function of another
// header is called (kernels/dot_rows_arm-inl.h says why).

namespace dapple {
namespace {

using int8_gemm::kSliceGroups;

void MultiplyBlock(const int8_gemm::Block& block) {
  const size_t padded =
      (block.row_count + kTileRows - 1) / kTileRows * kTileRows;
  __builtin_memset(block.sums, 0, padded * kPanelWidth * sizeof(float));
  for (size_t first = 0; first < block.groups; first += kSliceGroups) {
    const size_t left = block.groups - first;
    const size_t count = left < kSliceGroups ? left : kSliceGroups;
    for (size_t r = 0; r < padded; r += kTileRows) {
      const uint8_t* rows = block.rows +
                            r * block.groups * (kRowsBytes / kTileRows) +
                            first * kRowsBytes;
      for (size_t c = 0; c < kPanelWidth; c += kTileColumns)
        MultiplyTile(block.panel + first, rows, count, c,
                     block.sums + r * kPanelWidth);
    }
  }
}

}  // namespace
}  // namespace dapple
