#include "kernels/byte_dot.h"

#include <atomic>

#include "util/cpu_features.h"

namespace dapple::kernels {
namespace {

bool Supported(ByteDot dot) {
#if defined(__aarch64__)
  switch (dot) {
    case ByteDot::kHighway:
    case ByteDot::kNeon:
      return true;
    case ByteDot::kDotProd:
      return ThisCpu().dotprod;
    case ByteDot::kI8mm:
      return ThisCpu().dotprod && ThisCpu().i8mm;
    default:
      return false;
  }
#elif defined(__x86_64__)
  // With AVX-512 Highway's own target is as good and twice as wide.
  if (dot == ByteDot::kAvxVnni)
    return ThisCpu().avx_vnni && !ThisCpu().avx512_vnni;
#endif
  return dot == ByteDot::kHighway;
}

constexpr ByteDot kBestFirst[] = {ByteDot::kI8mm, ByteDot::kDotProd,
                                  ByteDot::kNeon, ByteDot::kAvxVnni,
                                  ByteDot::kHighway};

// Nothing is allocated here: the first call may come in the middle of a run.
ByteDot Best() {
  for (ByteDot dot : kBestFirst)
    if (Supported(dot)) return dot;
  return ByteDot::kHighway;
}

std::atomic<ByteDot>& Choice() {
  static std::atomic<ByteDot> choice = Best();
  return choice;
}

}  // namespace

ByteDot ActiveByteDot() { return Choice().load(std::memory_order_relaxed); }

std::vector<ByteDot> SupportedByteDots() {
  std::vector<ByteDot> dots;
  for (ByteDot dot : kBestFirst)
    if (Supported(dot)) dots.push_back(dot);
  return dots;
}

void ForceByteDot(ByteDot dot) {
  Choice().store(dot, std::memory_order_relaxed);
}

void ResetByteDot() { ForceByteDot(Best()); }

std::string_view ByteDotName(ByteDot dot) {
  switch (dot) {
    case ByteDot::kHighway:
      return "highway";
    case ByteDot::kNeon:
      return "neon";
    case ByteDot::kDotProd:
      return "dotprod";
    case ByteDot::kI8mm:
      return "i8mm";
    case ByteDot::kAvxVnni:
      return "avx_vnni";
  }
  return "unknown";
}

}  // namespace dapple::kernels
