// NeedleRandom: numbers that depend on a seed alone.
//
// The standard distributions may differ between C++ libraries; prompts must be
// the same everywhere, so that results can be compared and continued.
// SplitMix64 (Steele et al. 2014) is enough for choosing words.
#ifndef DAPPLE_TOOLS_NEEDLE_RANDOM_H_
#define DAPPLE_TOOLS_NEEDLE_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace dapple::tool {

class NeedleRandom {
 public:
  explicit NeedleRandom(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // [0, count); count >= 1. The bias of the remainder is below 2^-32 here.
  size_t Below(size_t count) { return static_cast<size_t>(Next() % count); }
  // [0, 1)
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

  template <class T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i)
      std::swap((*items)[i - 1], (*items)[Below(i)]);
  }

  // A seed of a name and numbers: FNV-1a, then mixed.
  static uint64_t SeedOf(uint64_t seed, std::string_view name, uint64_t a,
                         uint64_t b) {
    uint64_t hash = 0xCBF29CE484222325u;
    const auto add = [&hash](uint64_t value, int bytes) {
      for (int i = 0; i < bytes; ++i) {
        hash ^= (value >> (8 * i)) & 0xFF;
        hash *= 0x100000001B3u;
      }
    };
    add(seed, 8);
    for (char c : name) add(static_cast<unsigned char>(c), 1);
    add(a, 8);
    add(b, 8);
    return NeedleRandom(hash).Next();
  }

 private:
  uint64_t state_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_RANDOM_H_
