#include <algorithm>
#include <limits>

#include "attention_check.h"

namespace dapple::kernels {
namespace {

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

TEST_CASE("values that are rounded up to a power of two keep their sign") {
  ForEachTarget([] {
    // 127 quants of f16(1 + 2^-7): 127.99, in 2^12 parts of 128 nearer to the
    // whole; 64 of them, all as likely, would be 2^31.
    const size_t dim = 64, count = 64;
    const std::vector<float> x(dim, 127.0f * 1.0078125f);
    std::vector<Q8KvByte> keys(count * KvRowStep<Q8KvByte>(dim)), values = keys;
    const std::vector<float> zeros(dim, 0.0f);
    for (size_t j = 0; j < count; ++j) {
      const size_t at = j * KvRowStep<Q8KvByte>(dim);
      reference::StoreKvRow(kKvTypeOf<Q8KvByte>, zeros.data(), dim, &keys[at]);
      reference::StoreKvRow(kKvTypeOf<Q8KvByte>, x.data(), dim, &values[at]);
    }
    const std::vector<float> q(dim, 1.0f);
    std::vector<float> scratch(PrefillAttentionScratch(1, 1, dim));
    std::vector<float> out(dim);
    PrefillAttention(KvHeadView<Q8KvByte>{keys.data(), values.data(), dim},
                     q.data(), dim, 1, 1, count - 1, {0.1f}, scratch.data(),
                     out.data(), dim);
    for (float v : out) REQUIRE(std::fabs(v - x[0]) <= 0.25f);
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

}  // namespace
}  // namespace dapple::kernels
