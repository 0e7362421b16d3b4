// What the kernel tests share: running a check on every SIMD target, random
// inputs, and output buffers that notice writes outside their range.
#ifndef DAPPLE_TESTS_KERNELS_KERNEL_TEST_H_
#define DAPPLE_TESTS_KERNELS_KERNEL_TEST_H_

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "../util/block_fields.h"
#include "kernels/byte_dot.h"
#include "kernels/targets.h"
#include "util/tensor_type.h"

namespace dapple::kernels {

// Calls check() once a compiled and supported target, that target forced. A
// kernel that silently ran on another target would fail here.
template <class Check>
void ForEachTarget(Check&& check) {
  REQUIRE(!SupportedTargets().empty());
  ForceByteDot(ByteDot::kHighway);
  for (int64_t target : SupportedTargets()) {
    ForceTarget(target);
    CAPTURE(TargetName(target));
    REQUIRE(ActiveTarget() == target);
    check();
  }
  ForceTarget(0);
  ResetByteDot();
  CHECK(ActiveTarget() == SupportedTargets().front());
  CHECK(ActiveByteDot() == SupportedByteDots().front());
}

// The same, and once for each set of byte instructions beside the targets.
template <class Check>
void ForEachTargetAndByteDot(Check&& check) {
  ForEachTarget(check);
  for (ByteDot dot : SupportedByteDots()) {
    if (dot == ByteDot::kHighway) continue;
    ForceByteDot(dot);
    CAPTURE(ByteDotName(dot));
    REQUIRE(ActiveByteDot() == dot);
    check();
  }
  ResetByteDot();
}

// count elements of T at an address that is `skew` elements off a vector's
// alignment, between guard zones. Check() fails if a guard byte changed.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t count, size_t skew = 1)
      : count_(count),
        begin_(kGuard + skew),
        storage_(kGuard + skew + count + kGuard) {
    std::memset(static_cast<void*>(storage_.data()), kByte,
                storage_.size() * sizeof(T));
  }

  T* data() { return storage_.data() + begin_; }
  const T* data() const { return storage_.data() + begin_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
  void Assign(const std::vector<T>& values) {
    std::memcpy(data(), values.data(), count_ * sizeof(T));
  }

  void Check() const {
    const auto* bytes = reinterpret_cast<const uint8_t*>(storage_.data());
    const size_t first = begin_ * sizeof(T);
    const size_t last = (begin_ + count_) * sizeof(T);
    size_t damaged = 0;
    for (size_t i = 0; i < storage_.size() * sizeof(T); ++i)
      if (i < first || i >= last) damaged += bytes[i] != kByte;
    CHECK(damaged == 0);
  }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr uint8_t kByte = 0xA5;
  size_t count_;
  size_t begin_;
  std::vector<T> storage_;
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  float Normal(float deviation = 1.0f) {
    return std::normal_distribution<float>(0.0f, deviation)(engine_);
  }
  size_t Below(size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(engine_);
  }
  std::vector<float> Normals(size_t count, float deviation = 1.0f) {
    std::vector<float> values(count);
    for (float& v : values) v = Normal(deviation);
    return values;
  }
  // `rows` rows of k elements of a tensor type, all bit patterns of quants,
  // finite scales and values.
  std::vector<uint8_t> Weights(TensorType type, size_t rows, size_t k) {
    std::vector<uint8_t> bytes(rows * RowBytes(type, k));
    const size_t unit = InfoOf(type).block_bytes;
    for (size_t at = 0; at < bytes.size(); at += unit) {
      const float value = Normal();
      if (type == TensorType::kF32) {
        std::memcpy(&bytes[at], &value, 4);
      } else if (type == TensorType::kBF16) {
        const BF16 half = ToBF16(value);
        std::memcpy(&bytes[at], &half, 2);
      } else if (type == TensorType::kF16) {
        const F16 half = ToF16(value);
        std::memcpy(&bytes[at], &half, 2);
      } else {
        for (size_t i = 0; i < unit; ++i)
          bytes[at + i] = static_cast<uint8_t>(Below(256));
        for (size_t offset : HalfOffsets(type)) {
          const F16 half = ToF16(Normal());
          std::memcpy(&bytes[at + offset], &half, 2);
        }
        if (type == TensorType::kMXFP4)
          bytes[at] = static_cast<uint8_t>(118 + Below(16));
      }
    }
    return bytes;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace dapple::kernels

#endif  // DAPPLE_TESTS_KERNELS_KERNEL_TEST_H_
