// One kind of product, so many times: what bench/emulated/count counts the
// instructions of. The difference between two numbers of repetitions is the
// product's alone.
//
//   products gemv TYPE ROWS COLUMNS 1 REPETITIONS
//   products gemm TYPE ROWS COLUMNS TOKENS REPETITIONS
//
// Prints the multiply-accumulates of one repetition.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "gemm/gemm.h"
#include "kernels/byte_dot.h"
#include "kernels/gemv.h"
#include "util/parallel.h"

namespace dapple {
namespace {

int Usage() {
  std::fprintf(stderr,
               "usage: products gemv|gemm|f32 TYPE ROWS COLUMNS TOKENS "
               "REPETITIONS\n");
  return 2;
}

void UseInstructions(const char* name) {
  for (const kernels::ByteDot dot : kernels::SupportedByteDots())
    if (name != nullptr && kernels::ByteDotName(dot) == name)
      kernels::ForceByteDot(dot);
}

int Run(int argc, char** argv) {
  if (argc != 7) return Usage();
  UseInstructions(std::getenv("DAPPLE_TARGET"));
  const std::string kind = argv[1];
  const TensorTypeInfo* info = FindTensorType(argv[2]);
  if (info == nullptr) return Usage();
  const size_t n = std::strtoul(argv[3], nullptr, 10);
  const size_t k = std::strtoul(argv[4], nullptr, 10);
  const size_t tokens = std::strtoul(argv[5], nullptr, 10);
  const size_t repetitions = std::strtoul(argv[6], nullptr, 10);
  const size_t row_bytes = RowBytes(info->type, k);
  std::vector<std::byte> w(n * row_bytes);
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<std::byte>(i * 37 % 61);
  std::vector<float> x(tokens * k, 0.5f), y(tokens * n);
  if (kind == "gemv") {
    std::vector<kernels::BlockActivation> blocks(k / 32);
    kernels::QuantizeActivations(x.data(), k, blocks.data());
    for (size_t i = 0; i < repetitions; ++i)
      kernels::GemvQuantized(info->type, w.data(), row_bytes, k, 0, n,
                             blocks.data(), y.data());
  } else {
    const Parallel parallel(1);
    Gemm::Config config;
    config.backend =
        kind == "gemm" ? GemmBackend::kInt8 : GemmBackend::kHighway;
    config.shapes = {{n, k}};
    config.max_rows = tokens;
    auto gemm = Gemm::Create(config);
    if (!gemm.ok()) return 1;
    const size_t packed_bytes = (*gemm)->PackedBytes({n, k});
    const size_t scratch_bytes = (*gemm)->ScratchBytes();
    auto* memory = static_cast<std::byte*>(
        std::aligned_alloc(64, (packed_bytes + scratch_bytes + 191) / 64 * 64));
    const std::span<std::byte> packed(memory, packed_bytes);
    const std::span<std::byte> scratch(memory + (packed_bytes + 63) / 64 * 64,
                                       scratch_bytes);
    (*gemm)->Pack({info->type, w.data(), row_bytes, n, k}, packed, parallel);
    for (size_t i = 0; i < repetitions; ++i)
      (*gemm)->Multiply({n, k}, packed, x.data(), k, tokens, y.data(), n,
                        scratch, parallel);
    std::free(memory);
  }
  std::printf("%zu\n", n * k * tokens);
  return 0;
}

}  // namespace
}  // namespace dapple

int main(int argc, char** argv) { return dapple::Run(argc, argv); }
