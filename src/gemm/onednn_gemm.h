// The oneDNN backend: bf16 matrix products on x86 with AVX-512 BF16 or AMX.
//
// Every product is cut into 32 rows by one panel of 64 columns over all of k,
// and each piece is computed by one thread with the same primitive: so the
// result of a row depends neither on the threads nor on the tile, and one
// primitive for each k serves every n. Rows are padded to 32 with zeros.
// Owns the primitives (JIT code) and one set of argument objects a thread;
// all buffers are the caller's.
#ifndef DAPPLE_GEMM_ONEDNN_GEMM_H_
#define DAPPLE_GEMM_ONEDNN_GEMM_H_

#include <memory>

#include "dapple/status.h"
#include "gemm/gemm.h"

namespace dapple {

// Whether the CPU has bf16 matrix instructions that oneDNN may use. False
// where oneDNN is not built in.
bool OneDnnSuitsCpu();

// kUnsupported where the CPU or the library lacks what is needed.
Result<std::unique_ptr<Gemm>> CreateOneDnnGemm(const Gemm::Config& config);

// True while this thread is inside oneDNN, which builds a small map of the
// arguments on the heap for each call and frees it on return. Tests that
// count Dapple's allocations look away meanwhile.
bool InsideOneDnn();

}  // namespace dapple

#endif  // DAPPLE_GEMM_ONEDNN_GEMM_H_
