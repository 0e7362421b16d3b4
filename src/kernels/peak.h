// What a core can do at most: loops of nothing but multiply-adds, and of loads.
//
// For rooflines (engine/machine_limits), not for computing anything. They run
// on the target that dispatch picks, as every kernel does. On x86, integer dot
// products are vpdpbusd where the target has it, else pmaddubsw added up in 16
// bits, which is what weights of 4 bits come to; on ARM, sdot where the target
// has it.
#ifndef DAPPLE_KERNELS_PEAK_H_
#define DAPPLE_KERNELS_PEAK_H_

#include <cstddef>
#include <cstdint>

namespace dapple::kernels {

enum class PeakKind { kInt8, kInt16, kBf16, kF32 };

// Dot products of vectors from the L1 cache into sums in registers, `rounds` (a
// multiple of 8) times over a small block. Returns the operations done, a
// multiplication and an addition being two; 0 for kBf16 where the target has no
// such instruction, and for kInt16 (pmaddwd and paddd) where prefill attention
// does not use it.
double RunPeak(PeakKind kind, size_t rounds);

// The exclusive or of `count` 64-bit words; count is a multiple of 64.
uint64_t ReadWords(const uint64_t* words, size_t count);

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_PEAK_H_
