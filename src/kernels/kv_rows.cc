#include "kernels/kv_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kv_rows.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway requires.
#include "hwy/highway.h"
#include "kernels/kv_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {

void StoreAll(KvType type, const float* x, size_t x_stride, size_t count,
              size_t head_dim, void* rows) {
  VisitKvRows(type, rows, [&](const auto* visited) HWY_ATTR {
    using T = std::remove_cvref_t<decltype(*visited)>;
    T* row = static_cast<T*>(rows);
    for (size_t r = 0; r < count; ++r) {
      StoreRow(x + r * x_stride, head_dim, row);
      row += KvRowStep<T>(head_dim);
    }
  });
}

void LoadAll(KvType type, const void* rows, size_t count, size_t head_dim,
             float* x, size_t x_stride) {
  VisitKvRows(type, rows, [&](const auto* row) HWY_ATTR {
    using T = std::remove_cvref_t<decltype(*row)>;
    for (size_t r = 0; r < count; ++r) {
      LoadKvRow(row, head_dim, head_dim, x + r * x_stride);
      row += KvRowStep<T>(head_dim);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dapple::kernels {

HWY_EXPORT(StoreAll);
HWY_EXPORT(LoadAll);

void StoreKvRows(KvType type, const float* x, size_t x_stride, size_t count,
                 size_t head_dim, void* rows) {
  HWY_DYNAMIC_DISPATCH(StoreAll)(type, x, x_stride, count, head_dim, rows);
}

void LoadKvRows(KvType type, const void* rows, size_t count, size_t head_dim,
                float* x, size_t x_stride) {
  HWY_DYNAMIC_DISPATCH(LoadAll)(type, rows, count, head_dim, x, x_stride);
}

}  // namespace dapple::kernels
#endif  // HWY_ONCE
