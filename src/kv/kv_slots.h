// KvSlots: where the keys and values that decoding reads are kept.
//
// Capacity is fixed when the session is planned: every layer and KV head has
// its own run of slots, so budgets may be ragged. Slots are filled from the
// front; a head's keys are contiguous, and so are its values. The memory
// belongs to the session's arena; this class only knows the layout and counts.
#ifndef DAPPLE_KV_KV_SLOTS_H_
#define DAPPLE_KV_KV_SLOTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "util/checked.h"
#include "util/kv_row.h"

namespace dapple {

// One head's slots: keys and values, [capacity] rows of KvType.
struct KvRun {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  size_t capacity = 0;
};

class KvSlots {
 public:
  KvSlots() = default;

  struct Shape {
    size_t layers = 0;
    size_t kv_heads = 0;
    size_t head_dim = 0;
    KvType type = KvType::kF16;

    size_t RowBytes() const { return KvRowBytes(type, head_dim); }
  };

  // Bytes of slots with capacities[layer] rows for each head of a layer.
  // False on overflow. capacities: [layers].
  [[nodiscard]] static bool Bytes(const Shape& shape,
                                  std::span<const size_t> capacities,
                                  uint64_t* bytes);

  // Lays the runs over `memory`, which has Bytes(shape, capacities).
  KvSlots(const Shape& shape, std::span<const size_t> capacities,
          std::span<std::byte> memory);

  const Shape& shape() const { return shape_; }
  const KvRun& Run(size_t layer, size_t head) const {
    return runs_[layer * shape_.kv_heads + head];
  }
  // All heads of a layer: [kv_heads].
  std::span<const KvRun> Runs(size_t layer) const {
    return {&runs_[layer * shape_.kv_heads], shape_.kv_heads};
  }
  // Prompt keys kept.
  size_t Count(size_t layer, size_t head) const {
    return counts_[layer * shape_.kv_heads + head];
  }
  void SetCount(size_t layer, size_t head, size_t count) {
    counts_[layer * shape_.kv_heads + head] = count;
  }
  void Clear();

 private:
  static constexpr uint64_t kRunAlignment = 64;

  Shape shape_;
  std::vector<KvRun> runs_;     // [layers, kv_heads]
  std::vector<size_t> counts_;  // [layers, kv_heads]
};

}  // namespace dapple

#endif  // DAPPLE_KV_KV_SLOTS_H_
