#include "gemm/gemm.h"

#include <string>

#include "gemm/highway_gemm.h"
#include "gemm/int8_gemm.h"
#include "kernels/targets.h"
#ifdef DAPPLE_HAVE_ONEDNN
#include "gemm/onednn_gemm.h"
#endif

namespace dapple {
namespace {

Result<std::unique_ptr<Gemm>> CreateOneDnn(const Gemm::Config& config) {
#ifdef DAPPLE_HAVE_ONEDNN
  return CreateOneDnnGemm(config);
#else
  (void)config;
  return Unsupported("this Dapple was built without oneDNN");
#endif
}

}  // namespace

Result<std::unique_ptr<Gemm>> Gemm::Create(const Config& config) {
  if (config.threads < 1)
    return InvalidArgument("a matrix product needs at least one thread");
  for (const GemmShape& shape : config.shapes)
    if (shape.n == 0 || shape.k == 0)
      return InvalidArgument("a matrix product needs non-empty matrices");
  switch (config.backend) {
    case GemmBackend::kAuto: {
      const GemmBackend choice = Choose(config.quantized_weights);
      if (choice == GemmBackend::kInt8) return CreateInt8Gemm(config);
      if (choice == GemmBackend::kOneDnn) {
        // A library that cannot after all is no reason to fail.
        auto gemm = CreateOneDnn(config);
        if (gemm.status().code() != StatusCode::kUnsupported) return gemm;
      }
      return CreateHighwayGemm(GemmBackend::kHighway, config);
    }
    case GemmBackend::kOneDnn:
      return CreateOneDnn(config);
    case GemmBackend::kHighway:
    case GemmBackend::kF32:
      return CreateHighwayGemm(config.backend, config);
    case GemmBackend::kInt8:
      return CreateInt8Gemm(config);
  }
  return InvalidArgument("unknown matrix product backend");
}

GemmBackend Gemm::Choose(bool quantized_weights) {
  if (quantized_weights && Int8GemmWins()) return GemmBackend::kInt8;
#ifdef DAPPLE_HAVE_ONEDNN
  if (!kernels::TargetIsForced() && OneDnnSuitsCpu())
    return GemmBackend::kOneDnn;
#endif
  return GemmBackend::kHighway;
}

bool Gemm::InsideLibrary() {
#ifdef DAPPLE_HAVE_ONEDNN
  return InsideOneDnn();
#else
  return false;
#endif
}

std::string_view Gemm::BackendName(GemmBackend backend) {
  switch (backend) {
    case GemmBackend::kAuto:
      return "auto";
    case GemmBackend::kOneDnn:
      return "onednn";
    case GemmBackend::kHighway:
      return "highway";
    case GemmBackend::kF32:
      return "f32";
    case GemmBackend::kInt8:
      return "int8";
  }
  return "unknown";
}

}  // namespace dapple
