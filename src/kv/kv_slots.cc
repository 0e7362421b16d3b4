#include "kv/kv_slots.h"

#include <algorithm>

namespace dapple {

bool KvSlots::Bytes(const Shape& shape, std::span<const size_t> capacities,
                    uint64_t* bytes) {
  *bytes = 0;
  for (size_t capacity : capacities) {
    uint64_t run, layer;
    if (!CheckedMul(capacity, shape.RowBytes(), &run) ||
        !CheckedAlignUp(run, kRunAlignment, &run) ||
        !CheckedMul(run, 2 * shape.kv_heads, &layer) ||
        !CheckedAdd(*bytes, layer, bytes))
      return false;
  }
  return true;
}

KvSlots::KvSlots(const Shape& shape, std::span<const size_t> capacities,
                 std::span<std::byte> memory)
    : shape_(shape),
      runs_(shape.layers * shape.kv_heads),
      counts_(shape.layers * shape.kv_heads, 0) {
  std::byte* next = memory.data();
  for (size_t i = 0; i < runs_.size(); ++i) {
    const size_t capacity = capacities[i / shape.kv_heads];
    const size_t run = AlignUp(capacity * shape.RowBytes(), kRunAlignment);
    runs_[i] = {next, next + run, capacity};
    next += 2 * run;
  }
}

void KvSlots::Clear() { std::fill(counts_.begin(), counts_.end(), 0); }

}  // namespace dapple
