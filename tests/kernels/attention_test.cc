#include "kernels/attention.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "kernel_test.h"
#include "kernels/reference.h"

namespace dapple::kernels {
namespace {

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

float RoundToBF16(float v) { return ToFloat(ToBF16(v)); }

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

void RequireClose(const float* got, const float* want, size_t count,
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

// All parts of decode attention, the last first, and their merger.
void DecodeAttention(const KvView& kv, const float* q, size_t group,
                     size_t count, const AttentionParams& params, float* out) {
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

TEST_CASE("prefill attention agrees with the reference at every shape") {
  ForEachTarget([] {
    Random random(1);
    for (size_t dim : {8, 16, 24, 32, 64, 80, 128, 256}) {
      CheckPrefill<F16>(random, dim, 5, 3, 70, 1.0f);
      CheckPrefill<F16>(random, dim, 17, 1, 0, 1.0f);
      CheckPrefill<float>(random, dim, 9, 2, 33, 1.0f);
    }
    for (size_t group = 1; group <= 8; ++group)
      CheckPrefill<F16>(random, 32, 13, group, 31, 1.0f);
    for (size_t rows : {1, 2, 16, 48, 63, 64})
      CheckPrefill<float>(random, 16, rows, 2, 100, 1.0f);
    for (size_t first : {0, 1, 62, 63, 64, 65, 300})
      CheckPrefill<F16>(random, 64, 7, 4, first, 1.0f);
    CheckPrefill<F16>(random, 64, PrefillAttentionRows(4), 4, 150, 1.0f);
  });
}

TEST_CASE("prefill attention stays finite with scores in the thousands") {
  ForEachTarget([] {
    Random random(2);
    CheckPrefill<F16>(random, 64, 20, 2, 130, 30.0f);
    CheckPrefill<float>(random, 16, 20, 3, 65, 60.0f);
    CheckPrefill<F16>(random, 32, 4, 1, 65, 0.0f);  // all scores equal
  });
}

TEST_CASE("prefill attention's exponential is as exact as it says") {
  // One key of logit 0 and value 1 before `others` of logit x and value 0:
  // 1 / (1 + others * 2^x). Products are exact: in bf16 as x is in two parts,
  // in integers as a row has one number.
  const size_t dim = 8;
  const size_t others = 7;
  std::vector<float> q(dim, 0.0f);
  q[0] = 1.0f;
  const AttentionParams params{1.0f / 1.44269504f, 0, 0.0f};
  std::vector<float> scratch(PrefillAttentionScratch(1, 1, dim));
  ForEachTarget([&] {
    const bool integers = MultipliesInInt16<F16>();
    const double relative =
        integers || MultipliesInBF16<F16>() ? 0x1p-17 : 0x1p-22;
    q[1] = integers ? 0.0f : 1.0f;
    for (int whole = 0; whole > -20; --whole)
      for (int part = 0; part < 256; ++part) {
        float logit =
            static_cast<float>(whole) - static_cast<float>(part) / 256.0f;
        if (integers) logit = ToFloat(ToF16(logit));
        std::vector<F16> keys((1 + others) * dim, F16{0});
        std::vector<F16> values(keys.size(), F16{0});
        for (size_t i = 0; i < dim; ++i) values[i] = ToF16(1.0f);
        for (size_t j = 1; j <= others; ++j) {
          keys[j * dim] = ToF16(integers ? logit : static_cast<float>(whole));
          if (!integers)
            keys[j * dim + 1] = ToF16(logit - static_cast<float>(whole));
        }
        std::vector<float> out(dim);
        PrefillAttention(KvHeadView<F16>{keys.data(), values.data(), dim},
                         q.data(), dim, 1, 1, others, params, scratch.data(),
                         out.data(), dim);
        const double p = others * std::exp2(static_cast<double>(logit));
        // That p off by a relative error moves 1 / (1 + p) by.
        const double bound =
            relative * p / ((1 + p) * (1 + p)) + 0x1p-21 / (1 + p);
        REQUIRE(std::fabs(static_cast<double>(out[3]) - 1 / (1 + p)) <= bound);
      }
  });
}

TEST_CASE("the largest rows do not leave the integers that hold their sums") {
  ForEachTarget([] {
    const size_t rows = 9, first = 200;
    for (size_t dim : {8, 64, 96, 128, 256}) {
      CAPTURE(dim);
      const size_t count = first + rows;
      std::vector<F16> keys(count * dim), values(count * dim);
      std::vector<float> q(rows * dim);
      for (bool even : {false, true}) {
        // Query and key along one axis or along the diagonal, the same for all:
        // probabilities are equal, and sums of values as large as can be.
        for (size_t i = 0; i < dim; ++i) {
          const float x = even || i == 3 ? 65504.0f : 0.0f;
          for (size_t j = 0; j < count; ++j) {
            keys[j * dim + i] = ToF16(x);
            values[j * dim + i] = ToF16(i % 2 == 0 ? 65504.0f : -65504.0f);
          }
          for (size_t r = 0; r < rows; ++r) q[r * dim + i] = x;
        }
        std::vector<float> scratch(PrefillAttentionScratch(rows, 1, dim));
        std::vector<float> out(rows * dim);
        PrefillAttention(KvHeadView<F16>{keys.data(), values.data(), dim},
                         q.data(), dim, rows, 1, first, {1e-9f}, scratch.data(),
                         out.data(), dim);
        for (size_t i = 0; i < rows * dim; ++i) {
          const float want = i % 2 == 0 ? 65504.0f : -65504.0f;
          REQUIRE(std::fabs(out[i] - want) <= 65504.0f * 0x1p-9f);
        }
      }
    }
  });
}

TEST_CASE("a key that is not a number spoils only rows that see it") {
  ForEachTarget([] {
    Random random(11);
    const size_t dim = 64, rows = 40;
    for (bool in_value : {false, true}) {
      Head<F16> head(random, rows, dim, 1.0f);
      (in_value ? head.values : head.keys)[21 * dim + 5] = F16{0x7E00};
      const auto q = random.Normals(rows * dim);
      std::vector<float> scratch(PrefillAttentionScratch(rows, 1, dim));
      std::vector<float> out(rows * dim);
      PrefillAttention(head.View(), q.data(), dim, rows, 1, 0, {0.2f},
                       scratch.data(), out.data(), dim);
      for (size_t r = 21; r < rows; ++r) CHECK(std::isnan(out[r * dim + 5]));
      // A hidden value's weight is 0, and 0 times it may be NaN as well.
      if (in_value) continue;
      for (size_t r = 0; r < 21; ++r) CHECK(std::isfinite(out[r * dim + 5]));
    }
  });
}

TEST_CASE("16-bit integers cost a fraction of what bf16 does") {
  ForEachTarget([] {
    if (!MultipliesInInt16<F16>()) return;
    Random random(10);
    const size_t rows = 24, group = 2, first = 300;
    for (size_t dim : {64, 128, 256})
      for (float outlier : {1.0f, 40.0f}) {
        CAPTURE(dim);
        CAPTURE(outlier);
        Head<F16> head(random, first + rows, dim, 1.0f);
        auto q = random.Normals(rows * group * dim);
        // As in some models, a dimension of keys far larger than the others.
        for (size_t j = 0; j < first + rows; ++j) {
          head.wide_keys[j * dim + 5] *= outlier;
          head.keys[j * dim + 5] = ToF16(head.wide_keys[j * dim + 5]);
          head.wide_keys[j * dim + 5] = ToFloat(head.keys[j * dim + 5]);
        }
        const AttentionParams params{1.0f / std::sqrt(static_cast<float>(dim))};
        const size_t width = group * dim;
        const auto exact = [&](const Head<F16>& h,
                               const std::vector<float>& x) {
          std::vector<float> out(rows * width);
          reference::PrefillAttention(h.Wide(), x.data(), width, rows, group,
                                      first, params, out.data(), width);
          return out;
        };
        const auto want = exact(head, q);
        std::vector<float> scratch(PrefillAttentionScratch(rows, group, dim));
        std::vector<float> got(rows * width);
        PrefillAttention(head.View(), q.data(), width, rows, group, first,
                         params, scratch.data(), got.data(), width);
        Head<F16> rounded = head;
        std::vector<float> rounded_q = q;
        RoundOperands(params, &rounded, &rounded_q);
        const auto bf16 = exact(rounded, rounded_q);
        const auto distance = [&](const std::vector<float>& x) {
          double sum = 0;
          for (size_t i = 0; i < x.size(); ++i) {
            const double off = static_cast<double>(x[i] - want[i]);
            sum += off * off;
          }
          return std::sqrt(sum);
        };
        const double share = distance(got) / distance(bf16);
        CAPTURE(share);
        CHECK(share < 1.0 / 6);
      }
  });
}

TEST_CASE("later keys of the tile do not reach earlier rows") {
  ForEachTarget([] {
    Random random(3);
    const size_t dim = 32;
    const size_t rows = 40;
    Head<float> head(random, 100 + rows, dim, 1.0f);
    const auto q = random.Normals(rows * dim);
    std::vector<float> scratch(PrefillAttentionScratch(rows, 1, dim));
    std::vector<float> before(rows * dim);
    PrefillAttention(head.View(), q.data(), dim, rows, 1, 100, {0.2f},
                     scratch.data(), before.data(), dim);
    // Key 121 is row 21's own: it changes row 21 and later ones only.
    for (size_t i = 0; i < dim; ++i) {
      head.keys[121 * dim + i] += 3.0f;
      head.values[121 * dim + i] = 1e6f;
    }
    std::vector<float> after(rows * dim);
    PrefillAttention(head.View(), q.data(), dim, rows, 1, 100, {0.2f},
                     scratch.data(), after.data(), dim);
    for (size_t r = 0; r < rows; ++r)
      REQUIRE((std::memcmp(&before[r * dim], &after[r * dim],
                           dim * sizeof(float)) == 0) == (r < 21));
  });
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

TEST_CASE("decode attention agrees with the reference at every shape") {
  ForEachTarget([] {
    Random random(4);
    for (size_t dim : {8, 16, 24, 32, 64, 80, 128, 256}) {
      CheckDecode<F16>(random, dim, 4, 77, 1.0f);
      CheckDecode<F16>(random, dim, 6, 77, 1.0f);
      CheckDecode<float>(random, dim, 3, 130, 1.0f);
    }
    for (size_t group = 1; group <= 9; ++group)
      CheckDecode<F16>(random, 64, group, 100, 1.0f);
    for (size_t count : {1, 2, 3, 4, 5, 31, 63, 64, 65, 127, 1000})
      CheckDecode<F16>(random, 32, 2, count, 1.0f);
    // Several parts, up to more keys than kMaxDecodeParts of the least size.
    for (size_t count : {512, 513, 1025, 2000, 20000})
      CheckDecode<F16>(random, 64, count % 8 + 1, count, 1.0f);
    CheckDecode<F16>(random, 64, 17, 700, 1.0f);
    CheckDecode<Q8KvByte>(random, 128, 7, 1500, 1.0f, 1100);
    CheckDecode<F16>(random, 64, 2, 200, 30.0f);
    CheckDecode<float>(random, 16, 2, 200, 60.0f);
  });
}

TEST_CASE("attention reads quantized keys and values") {
  ForEachTarget([] {
    Random random(9);
    for (size_t dim : {8, 16, 24, 32, 64, 80, 96, 128, 256}) {
      CheckPrefill<Q8KvByte>(random, dim, 7, 3, 70, 1.0f);
      CheckPrefill<Q4KvByte>(random, dim, 7, 3, 70, 1.0f);
      CheckDecode<Q8KvByte>(random, dim, 4, 150, 1.0f);
      CheckDecode<Q4KvByte>(random, dim, 4, 150, 1.0f);
      CheckDecode<Q8KvByte>(random, dim, 8, 150, 1.0f);
      CheckDecode<Q4KvByte>(random, dim, 8, 150, 1.0f);
    }
    for (size_t group = 1; group <= 9; ++group) {
      CheckPrefill<Q8KvByte>(random, 64, 18, group, 131, 1.0f);
      CheckDecode<Q8KvByte>(random, 64, group, 131, 1.0f);
      CheckDecode<Q4KvByte>(random, 64, group, 131, 1.0f);
    }
    CheckPrefill<Q8KvByte>(random, 64, 18, 4, 300, 1.0f, 77, 20.0f);
    CheckDecode<Q8KvByte>(random, 64, 4, 300, 1.0f, 77, 20.0f);
    CheckDecode<Q4KvByte>(random, 64, 4, 300, 1.0f, 77, 20.0f);
  });
}

TEST_CASE("a sliding window hides older keys from every row") {
  ForEachTarget([] {
    Random random(6);
    // Windows within one row, a key block, several, and past the beginning.
    for (size_t window : {1, 2, 15, 31, 64, 65, 130, 200, 317, 318, 1000}) {
      CheckPrefill<F16>(random, 64, 18, 4, 300, 1.0f, window);
      CheckDecode<F16>(random, 64, 4, 318, 1.0f, window);
    }
    for (size_t first : {0, 1, 40, 63})
      CheckPrefill<float>(random, 24, 100, 1, first, 1.0f, 40);
    CheckPrefill<F16>(random, 128, 5, 3, 90, 1.0f, 33);
    CheckDecode<float>(random, 80, 3, 300, 1.0f, 129);
    CheckPrefill<F16>(random, 32, 4, 1, 65, 1.0f, size_t{1} << 40);
  });
}

TEST_CASE("keys before the window are not read") {
  ForEachTarget([] {
    Random random(7);
    const size_t dim = 32;
    const size_t rows = 20;
    Head<float> head(random, 400 + rows, dim, 1.0f);
    const auto q = random.Normals(rows * dim);
    std::vector<float> scratch(PrefillAttentionScratch(rows, 1, dim));
    const AttentionParams params{0.2f, 100, 0.0f};
    std::vector<float> before(rows * dim);
    PrefillAttention(head.View(), q.data(), dim, rows, 1, 400, params,
                     scratch.data(), before.data(), dim);
    std::vector<float> last(dim);
    DecodeAttention(head.View(), q.data(), 1, 420, params, last.data());
    // Row 0 sees keys 301 to 400; a block of keys starts at 256.
    for (size_t i = 0; i < 256 * dim; ++i)
      head.keys[i] = head.values[i] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> after(rows * dim);
    PrefillAttention(head.View(), q.data(), dim, rows, 1, 400, params,
                     scratch.data(), after.data(), dim);
    CHECK(before == after);
    std::vector<float> again(dim);
    DecodeAttention(head.View(), q.data(), 1, 420, params, again.data());
    CHECK(last == again);
  });
}

TEST_CASE("logits are softly capped") {
  ForEachTarget([] {
    Random random(8);
    for (float cap : {0.5f, 5.0f, 50.0f}) {
      for (size_t dim : {8, 64, 80}) {
        CheckPrefill<F16>(random, dim, 18, 3, 130, 2.0f, 0, cap);
        CheckPrefill<float>(random, dim, 9, 1, 70, 2.0f, 30, cap);
        CheckDecode<F16>(random, dim, 3, 150, 2.0f, 0, cap);
        CheckDecode<float>(random, dim, 5, 150, 2.0f, 70, cap);
        CheckDecode<F16>(random, dim, 7, 151, 2.0f, 0, cap);
      }
    }
  });
}

TEST_CASE("attention over zero keys, or over -inf scores only, is zero") {
  ForEachTarget([] {
    const size_t dim = 16;
    std::vector<float> keys(dim * 3, -3e38f);
    std::vector<float> values(dim * 3, 1.0f);
    const std::vector<float> q(dim, 3e38f);
    std::vector<float> scratch(PrefillAttentionScratch(1, 1, dim));
    std::vector<float> out(dim, 7.0f);
    const KvHeadView<float> kv{keys.data(), values.data(), dim};
    DecodeAttention(kv, q.data(), 1, 0, {1.0f}, out.data());
    for (float v : out) CHECK(v == 0.0f);
    out.assign(dim, 7.0f);
    DecodeAttention(kv, q.data(), 1, 3, {1.0f}, out.data());
    for (float v : out) CHECK(v == 0.0f);
    out.assign(dim, 7.0f);
    PrefillAttention(kv, q.data(), dim, 1, 1, 2, {1.0f}, scratch.data(),
                     out.data(), dim);
    for (float v : out) CHECK(v == 0.0f);
  });
}

TEST_CASE("a NaN query gives NaN for itself and numbers for the others") {
  ForEachTarget([] {
    Random random(5);
    const size_t dim = 32;
    const Head<F16> head(random, 90, dim, 1.0f);
    for (size_t group : {3, 7}) {
      auto q = random.Normals(group * dim);
      q[dim + 3] = std::numeric_limits<float>::quiet_NaN();
      std::vector<float> scratch(PrefillAttentionScratch(1, group, dim));
      std::vector<float> out(group * dim);
      for (bool prefill : {false, true}) {
        if (prefill)
          PrefillAttention(head.View(), q.data(), group * dim, 1, group, 89,
                           {0.2f}, scratch.data(), out.data(), group * dim);
        else
          DecodeAttention(head.View(), q.data(), group, 90, {0.2f}, out.data());
        for (size_t i = 0; i < group * dim; ++i)
          CHECK(std::isnan(out[i]) == (i / dim == 1));
      }
    }
  });
}

}  // namespace
}  // namespace dapple::kernels
