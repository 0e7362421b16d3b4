#include "kernels/attention.h"

#include <algorithm>
#include <limits>

#include "attention_check.h"

namespace dapple::kernels {
namespace {

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
    for (size_t count : {1, 2, 3, 127, 128, 129, 255, 700})
      CheckDecode<Q8KvByte>(random, 72, count % 17 + 1, count, 2.0f);
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

TEST_CASE("what is no number in a row of bytes is not lost in decoding") {
  ForEachTarget([] {
    Random random(15);
    const size_t dim = 48;
    for (size_t group : {1, 7}) {
      Head<Q8KvByte> head(random, 131, dim, 1.0f);
      auto q = random.Normals(group * dim);
      const size_t row = KvRowStep<Q8KvByte>(dim);
      const auto all_nan = [&] {
        std::vector<float> out(group * dim);
        DecodeAttention(head.View(), q.data(), group, 131, {0.2f}, out.data());
        return std::all_of(out.begin(), out.end(),
                           [](float v) { return std::isnan(v); });
      };
      CHECK_FALSE(all_nan());
      // As a row is stored in which something was not finite.
      for (auto* rows : {&head.keys, &head.values}) {
        const auto good = *rows;
        (*rows)[130 * row].bits = 0x00;
        (*rows)[130 * row + 1].bits = 0x7E;
        CHECK(all_nan());
        *rows = good;
      }
      for (float& v : q) v = std::numeric_limits<float>::infinity();
      CHECK(all_nan());
    }
  });
}

}  // namespace
}  // namespace dapple::kernels
