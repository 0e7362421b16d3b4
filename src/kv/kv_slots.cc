#include "kv/kv_slots.h"

#include <algorithm>

namespace dapple {

KvSlots::KvSlots(const Shape& shape, size_t capacity,
                 std::span<std::byte> memory)
    : shape_(shape),
      runs_(shape.layers * shape.kv_heads),
      counts_(shape.layers * shape.kv_heads, 0) {
  const size_t run = AlignUp(capacity * shape.RowBytes(), kRunAlignment);
  std::byte* next = memory.data();
  for (KvRun& slots : runs_) {
    slots.keys = next;
    slots.values = next + run;
    slots.capacity = capacity;
    next += 2 * run;
  }
}

void KvSlots::Clear() { std::fill(counts_.begin(), counts_.end(), 0); }

}  // namespace dapple
