#include "model/huge_weights.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "util/checked.h"
#include "util/mmap_file.h"

namespace dapple {
namespace {

// Copied, and given back, at a time by a thread.
constexpr size_t kSlabBytes = 1 << 20;
// Each matrix begins on a cache line.
constexpr uint64_t kAlignment = 64;

bool IsTied(const ModelWeights& weights) {
  return weights.head.data == weights.embedding.data;
}

// Calls fn(matrix) for each that is copied.
template <class Weights, class Fn>
void ForMatrices(Weights& weights, Fn&& fn) {
  for (auto& layer : weights.layers)
    for (auto* w : {&layer.query, &layer.key, &layer.value, &layer.output,
                    &layer.gate, &layer.up, &layer.down})
      fn(*w);
  fn(weights.head);
}

uint64_t MatrixBytes(const ModelWeights& weights) {
  uint64_t total = 0;
  ForMatrices(weights, [&](const WeightMatrix& w) {
    total += AlignUp(PagesOf(w).size(), kAlignment);
  });
  return total;
}

struct Slab {
  std::span<const std::byte> from;
  std::byte* to;
};

}  // namespace

uint64_t HugeWeights::Bytes(const ModelWeights& weights, uint64_t page_bytes) {
  return AlignUp(MatrixBytes(weights), page_bytes);
}

std::shared_ptr<const HugeWeights> HugeWeights::Copy(
    const ModelWeights& weights, const Parallel& parallel) {
  HugePages pages = HugePages::Reserve(MatrixBytes(weights));
  std::byte* to = pages.bytes().data();
  if (to == nullptr) return nullptr;
  std::shared_ptr<HugeWeights> copy(new HugeWeights(weights, std::move(pages)));
  std::vector<Slab> slabs;
  ForMatrices(copy->weights_, [&](WeightMatrix& w) {
    const std::span<const std::byte> bytes = PagesOf(w);
    ExpectUse(bytes, PageUse::kNormal);
    w.data = to;
    for (size_t at = 0; at < bytes.size(); at += kSlabBytes)
      slabs.push_back(
          {bytes.subspan(at, std::min(kSlabBytes, bytes.size() - at)),
           to + at});
    to += AlignUp(bytes.size(), kAlignment);
  });
  if (IsTied(weights)) copy->weights_.embedding.data = copy->weights_.head.data;
  const AllowHugePages allowed;
  parallel.For(slabs.size(), [&](size_t i, int) {
    std::memcpy(slabs[i].to, slabs[i].from.data(), slabs[i].from.size());
    ReleaseTouchedPages(slabs[i].from);
  });
  // Pages at the seams, which another thread touched again.
  ForMatrices(weights,
              [](const WeightMatrix& w) { ReleaseTouchedPages(PagesOf(w)); });
  return copy;
}

}  // namespace dapple
