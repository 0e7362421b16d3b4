#include "kernels/peak.h"

#include <vector>

#include "kernel_test.h"

namespace dapple::kernels {
namespace {

TEST_CASE("reading memory sees every word") {
  std::mt19937_64 random(3);
  for (const size_t count : {64, 128, 640, 4096}) {
    std::vector<uint64_t> words(count + 1);
    uint64_t expected = 0;
    // From the second word on: vectors need no alignment here.
    for (size_t i = 1; i <= count; ++i) expected ^= words[i] = random();
    words[0] = random();
    ForEachTarget(
        [&] { CHECK(ReadWords(words.data() + 1, count) == expected); });
  }
}

TEST_CASE(
    "peak loops count their operations, twice as many in twice the "
    "rounds") {
  ForEachTarget([] {
    for (const PeakKind kind :
         {PeakKind::kInt8, PeakKind::kInt16, PeakKind::kBf16, PeakKind::kF32}) {
      const double once = RunPeak(kind, 16);
      CHECK(RunPeak(kind, 32) == 2 * once);
      const AttentionProducts products = PrefillAttentionProducts();
      CHECK((once > 0) == (kind == PeakKind::kBf16 ? HasNativeBF16Dot()
                           : kind == PeakKind::kInt16
                               ? products == AttentionProducts::kInt16
                               : true));
    }
    // Four bytes in the place of a float.
    CHECK(RunPeak(PeakKind::kInt8, 8) == 4 * RunPeak(PeakKind::kF32, 8));
  });
}

}  // namespace
}  // namespace dapple::kernels
