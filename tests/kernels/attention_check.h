// Attention of random heads against the double-precision reference, within
// bounds that follow from how the active target multiplies.
#ifndef DAPPLE_TESTS_KERNELS_ATTENTION_CHECK_H_
#define DAPPLE_TESTS_KERNELS_ATTENTION_CHECK_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

#include "kernel_test.h"
#include "kernels/attention.h"
#include "kernels/reference.h"
#include "kernels/targets.h"

namespace dapple::kernels {

template <class T>
struct Head {
  std::vector<T> keys;
  std::vector<T> values;
  // The same as float, for the reference.
  std::vector<float> wide_keys;
  std::vector<float> wide_values;
  size_t dim;

  Head(Random& random, size_t count, size_t head_dim, float key_deviation)
      : keys(count * KvRowStep<T>(head_dim)),
        values(keys.size()),
        wide_keys(count * head_dim),
        wide_values(wide_keys.size()),
        dim(head_dim) {
    for (size_t i = 0; i < count * head_dim; ++i) {
      wide_keys[i] = random.Normal(key_deviation);
      wide_values[i] = random.Normal();
    }
    Round(count, &keys, &wide_keys);
    Round(count, &values, &wide_values);
  }
  KvHeadView<T> View() const { return {keys.data(), values.data(), dim}; }
  KvHeadView<float> Wide() const {
    return {wide_keys.data(), wide_values.data(), dim};
  }

 private:
  void Round(size_t count, std::vector<T>* rows, std::vector<float>* x) {
    for (size_t r = 0; r < count; ++r) {
      T* row = rows->data() + r * KvRowStep<T>(dim);
      reference::StoreKvRow(kKvTypeOf<T>, x->data() + r * dim, dim, row);
      reference::LoadKvRow(kKvTypeOf<T>, row, dim, x->data() + r * dim);
    }
  }
};

// Whether attention over rows of T multiplies in bf16 on this target.
template <class T>
bool MultipliesInBF16() {
  return HasNativeBF16Dot() && !std::is_same_v<T, float>;
}

// Whether prefill attention over rows of T multiplies in 16-bit integers.
template <class T>
bool MultipliesInInt16() {
  return PrefillAttentionProducts() == AttentionProducts::kInt16 &&
         !std::is_same_v<T, float>;
}

inline float RoundToBF16(float v) { return ToFloat(ToBF16(v)); }

// What a result may differ by: the error of a score, a sum of `dim` products
// in float, moves the weights of values that are at most max |v|.
template <class T>
double Bound(const Head<T>& head, const std::vector<float>& q, float scale) {
  double q_max = 0.0;
  double k_max = 0.0;
  double v_max = 0.0;
  const auto larger = [](double a, float b) {
    return std::max(a, static_cast<double>(std::fabs(b)));
  };
  for (float v : q) q_max = larger(q_max, v);
  for (float v : head.wide_keys) k_max = larger(k_max, v);
  for (float v : head.wide_values) v_max = larger(v_max, v);
  const double magnitude = q_max * k_max * static_cast<double>(head.dim) *
                           static_cast<double>(scale);
  return v_max * (1e-5 + magnitude * 0x1p-22);
}

template <class T>
double LargestValue(const Head<T>& head) {
  float largest = 0.0f;
  for (float v : head.wide_values) largest = std::max(largest, std::fabs(v));
  return static_cast<double>(largest);
}

inline void RequireClose(const float* got, const float* want, size_t count,
                         double bound) {
  double worst = 0.0;
  bool finite = true;
  for (size_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(got[i]);
    worst = std::max(worst, static_cast<double>(std::fabs(got[i] - want[i])));
  }
  REQUIRE(finite);
  REQUIRE(worst <= bound);
}

// Six standard deviations of what a logit is off by where rows of `dim` numbers
// of a deviation are rounded to integers of norm 32,700 (uniformly, both
// sides), and a share of the largest value for rounding probabilities and
// values.
template <class T>
double Int16Bound(const Head<T>& head, float deviation, float scale) {
  const double norm2 = static_cast<double>(deviation) *
                       static_cast<double>(deviation) *
                       static_cast<double>(head.dim);
  const double logit =
      static_cast<double>(scale) * norm2 * std::sqrt(2.0 / 12) / 32700.0;
  return LargestValue(head) * (std::min(2.0, 2 * 6 * logit) + 0x1p-9);
}

// The same for decode attention where queries of a deviation are rounded to
// 2^-16 of their largest element, and probabilities to 2^-16 of a block's
// largest (kDecodeKeys of them, of a deviation of 2^-16 / sqrt(12)).
template <class T>
double ByteDecodeBound(const Head<T>& head, const std::vector<float>& q,
                       float deviation, float scale) {
  float largest = 0.0f;
  for (float v : q) largest = std::max(largest, std::fabs(v));
  const double step = static_cast<double>(largest) * 0x1p-15;
  const double logit = static_cast<double>(scale * deviation) * step *
                       std::sqrt(static_cast<double>(head.dim) / 12.0);
  return LargestValue(head) *
         (2 * 6 * logit + 6 * 0x1p-16 * std::sqrt(128.0 / 12.0));
}

// All parts of decode attention, the last first, and their merger.
inline void DecodeAttention(const KvView& kv, const float* q, size_t group,
                            size_t count, const AttentionParams& params,
                            float* out) {
  const size_t parts = DecodeParts(count, params);
  const size_t floats = DecodePartFloats(group, kv.head_dim);
  REQUIRE(parts >= 1);
  REQUIRE(parts <= kMaxDecodeParts);
  Guarded<float> scratch(DecodeAttentionScratch(group, kv.head_dim));
  Guarded<float> outcomes(parts * floats);
  for (size_t part = parts; part-- > 0;)
    DecodeAttentionPart(kv, q, group, count, params, part, scratch.data(),
                        outcomes.data() + part * floats);
  MergeDecodeParts(outcomes.data(), parts, group, kv.head_dim, out);
  scratch.Check();
  outcomes.Check();
}

// Operands as a target with a bf16 dot product rounds them before the products.
template <class T>
void RoundOperands(const AttentionParams& params, Head<T>* head,
                   std::vector<float>* q) {
  for (float& v : head->wide_keys) v = RoundToBF16(v);
  for (float& v : head->wide_values) v = RoundToBF16(v);
  const float factor = params.softcap == 0.0f ? params.scale * 1.44269504f
                                              : params.scale / params.softcap;
  for (float& v : *q) v = RoundToBF16(v * factor) / factor;
}

template <class T>
void CheckPrefill(Random& random, size_t dim, size_t rows, size_t group,
                  size_t first_visible, float deviation, size_t window = 0,
                  float softcap = 0.0f) {
  CAPTURE(window);
  CAPTURE(softcap);
  CAPTURE(dim);
  CAPTURE(rows);
  CAPTURE(group);
  CAPTURE(first_visible);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const AttentionParams params{scale, window, softcap};
  const Head<T> head(random, first_visible + rows, dim, deviation);
  const size_t width = group * dim;
  const size_t q_stride = width + 5;
  const size_t out_stride = width + 3;
  const auto q = random.Normals(rows * q_stride, deviation);
  std::vector<float> want(rows * out_stride);
  // In bf16, against the exact attention of operands that were rounded before
  // the products; what remains is the rounding of the probabilities.
  double bound = Bound(head, q, scale);
  Head<T> rounded = head;
  std::vector<float> rounded_q = q;
  if (MultipliesInBF16<T>()) {
    bound += LargestValue(head) * 0x1.1p-9;
    RoundOperands(params, &rounded, &rounded_q);
  }
  if (MultipliesInInt16<T>()) bound += Int16Bound(head, deviation, scale);
  reference::PrefillAttention(rounded.Wide(), rounded_q.data(), q_stride, rows,
                              group, first_visible, params, want.data(),
                              out_stride);

  Guarded<float> scratch(PrefillAttentionScratch(rows, group, dim));
  Guarded<float> out(rows * out_stride);
  PrefillAttention(head.View(), q.data(), q_stride, rows, group, first_visible,
                   params, scratch.data(), out.data(), out_stride);
  out.Check();
  scratch.Check();
  for (size_t r = 0; r < rows; ++r)
    RequireClose(&out[r * out_stride], &want[r * out_stride], width, bound);

  // The same rows in calls of other sizes: the same bits.
  Guarded<float> split(rows * out_stride);
  for (size_t r = 0; r < rows;) {
    const size_t now = std::min(rows - r, 1 + random.Below(rows));
    PrefillAttention(head.View(), q.data() + r * q_stride, q_stride, now, group,
                     first_visible + r, params, scratch.data(),
                     split.data() + r * out_stride, out_stride);
    r += now;
  }
  size_t different = 0;
  for (size_t r = 0; r < rows; ++r)
    for (size_t i = 0; i < width; ++i)
      different += split[r * out_stride + i] != out[r * out_stride + i];
  REQUIRE(different == 0);
}

template <class T>
void CheckDecode(Random& random, size_t dim, size_t group, size_t count,
                 float deviation, size_t window = 0, float softcap = 0.0f) {
  CAPTURE(window);
  CAPTURE(softcap);
  CAPTURE(dim);
  CAPTURE(group);
  CAPTURE(count);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const AttentionParams params{scale, window, softcap};
  const Head<T> head(random, count, dim, deviation);
  const auto q = random.Normals(group * dim, deviation);
  double bound = Bound(head, q, scale);
  Head<T> rounded = head;
  std::vector<float> rounded_q = q;
  if (MultipliesInBF16<T>() && group >= 5) {
    bound += LargestValue(head) * 0x1.1p-9;
    RoundOperands(params, &rounded, &rounded_q);
  }
  if (DecodesBytesInInt16() && std::is_same_v<T, Q8KvByte>)
    bound += ByteDecodeBound(head, q, deviation, scale);
  std::vector<float> want(group * dim);
  reference::DecodeAttention(rounded.Wide(), rounded_q.data(), group, count,
                             params, want.data());
  Guarded<float> out(group * dim);
  DecodeAttention(head.View(), q.data(), group, count, params, out.data());
  out.Check();
  RequireClose(out.data(), want.data(), want.size(), bound);

  // A query's result does not depend on the others of its group.
  std::vector<float> other = random.Normals(group * dim, deviation);
  const size_t kept = random.Below(group);
  std::copy_n(&q[kept * dim], dim, &other[kept * dim]);
  Guarded<float> again(group * dim);
  DecodeAttention(head.View(), other.data(), group, count, params,
                  again.data());
  REQUIRE(std::memcmp(&again[kept * dim], &out[kept * dim],
                      dim * sizeof(float)) == 0);
}

}  // namespace dapple::kernels

#endif  // DAPPLE_TESTS_KERNELS_ATTENTION_CHECK_H_
