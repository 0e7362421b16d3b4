#include "kernels/probe_score.h"

#include <algorithm>
#include <cfloat>
#include <limits>

#include "kernel_test.h"
#include "kernels/reference.h"

namespace dapple::kernels {
namespace {

// One call's arguments. Keys, queries, scratch and scores lie between guard
// zones, one element off a vector's alignment.
template <class T>
struct Call {
  size_t dim;
  size_t rows;
  size_t group;
  size_t first_visible;
  size_t scored;
  size_t q_stride;
  float scale;
  float weight = 0.25f;
  size_t window = 0;
  float softcap = 0.0f;
  Guarded<T> keys;
  Guarded<float> q;

  Call(Random& random, size_t head_dim, size_t row_count, size_t group_size,
       size_t before, size_t scored_keys, float deviation = 1.0f)
      : dim(head_dim),
        rows(row_count),
        group(group_size),
        first_visible(before),
        scored(scored_keys),
        q_stride(group_size * head_dim + 5),
        scale(1.0f / std::sqrt(static_cast<float>(head_dim))),
        keys((before + row_count) * KvRowStep<T>(head_dim)),
        q(row_count * q_stride) {
    for (size_t r = 0; r < visible(); ++r)
      reference::StoreKvRow(kKvTypeOf<T>, random.Normals(dim, deviation).data(),
                            dim, keys.data() + r * KvRowStep<T>(dim));
    // The strides' gaps too: reading them would spoil a score.
    std::fill(q.data(), q.data() + q.size(),
              std::numeric_limits<float>::quiet_NaN());
    for (size_t r = 0; r < rows; ++r)
      for (size_t i = 0; i < group * dim; ++i)
        q[r * q_stride + i] = random.Normal(deviation);
  }

  // The keys as float, for the reference.
  std::vector<float> WideKeys() const {
    std::vector<float> wide(visible() * dim);
    for (size_t r = 0; r < visible(); ++r)
      reference::LoadKvRow(kKvTypeOf<T>, keys.data() + r * KvRowStep<T>(dim),
                           dim, &wide[r * dim]);
    return wide;
  }

  size_t visible() const { return first_visible + rows; }

  void Add(Guarded<float>& scores, size_t skew = 1) const {
    Guarded<float> scratch(ProbeScoreScratch(rows, group, dim), skew);
    AddProbeScores(keys.data(), dim, q.data(), q_stride, rows, group,
                   first_visible, scored, {scale, window, softcap}, weight,
                   scratch.data(), scores.data());
    scratch.Check();
    scores.Check();
  }
  Guarded<float> Run(size_t skew = 1) const {
    Guarded<float> scores(scored);
    std::fill(scores.data(), scores.data() + scored, 0.0f);
    Add(scores, skew);
    return scores;
  }
  std::vector<double> Reference() const {
    std::vector<double> scores(scored, 0.0);
    reference::AddProbeScores(WideKeys().data(), dim, q.data(), q_stride, rows,
                              group, first_visible, scored,
                              {scale, window, softcap}, weight, scores.data());
    return scores;
  }

  // How far a logit (natural log) of the kernel may be off: a product of `dim`
  // terms in float. Worst case dim * 2^-24 * Σ |q_i k_i|; sums of random signs
  // stay far below, and this bound takes a sixteenth of it.
  double LogitError() const {
    const std::vector<float> wide_keys = WideKeys();
    double worst = 0.0;
    for (size_t r = 0; r < rows; ++r)
      for (size_t g = 0; g < group; ++g)
        for (size_t j = 0; j <= first_visible + r; ++j) {
          double terms = 0.0;
          for (size_t i = 0; i < dim; ++i)
            terms +=
                std::fabs(static_cast<double>(q[r * q_stride + g * dim + i]) *
                          static_cast<double>(wide_keys[j * dim + i]));
          worst = std::max(worst, terms);
        }
    return worst * static_cast<double>(scale) *
           std::max(2.0, static_cast<double>(dim) / 16.0) * 0x1p-24;
  }
};

// |got - want| <= relative * want + absolute, relative being exp(2 e) - 1 for
// logits off by e, plus 2e-6 for the exponentials and sums, and absolute
// 1e-9 of the mass that all queries together may give one key.
template <class T>
void RequireClose(const Call<T>& call, const Guarded<float>& got,
                  const std::vector<double>& want) {
  const double relative = std::expm1(2.0 * call.LogitError()) + 2e-6;
  const double absolute =
      1e-9 * static_cast<double>(call.weight * static_cast<float>(call.rows)) *
      static_cast<double>(call.group);
  CAPTURE(relative);
  double worst = 0.0;
  bool finite = true;
  for (size_t j = 0; j < call.scored; ++j) {
    finite = finite && std::isfinite(got[j]);
    const double bound = relative * want[j] + absolute;
    worst = std::max(worst,
                     std::fabs(static_cast<double>(got[j]) - want[j]) / bound);
  }
  REQUIRE(finite);
  REQUIRE(worst <= 1.0);
}

template <class T>
void CheckCall(const Call<T>& call) {
  CAPTURE(call.dim);
  CAPTURE(call.rows);
  CAPTURE(call.group);
  CAPTURE(call.first_visible);
  CAPTURE(call.scored);
  CAPTURE(call.window);
  CAPTURE(call.softcap);
  const auto want = call.Reference();
  ForEachTarget([&] { RequireClose(call, call.Run(), want); });
}

double Sum(const Guarded<float>& scores) {
  double sum = 0.0;
  for (size_t j = 0; j < scores.size(); ++j)
    sum += static_cast<double>(scores[j]);
  return sum;
}

TEST_CASE("probe scores agree with the reference at every head size") {
  Random random(1);
  for (size_t dim : {32, 40, 64, 80, 96, 128, 256}) {
    CheckCall(Call<F16>(random, dim, 5, 3, 96, 97));
    CheckCall(Call<float>(random, dim, 5, 3, 96, 97));
  }
}

TEST_CASE("probe scores agree with the reference at every group size") {
  Random random(2);
  for (size_t group : {1, 2, 4, 7, 8}) {
    CheckCall(Call<F16>(random, 64, 32, group, 333, 333));
    CheckCall(Call<float>(random, 64, 9, group, 333, 340));
  }
}

TEST_CASE("probe scores agree with the reference for short and odd prompts") {
  Random random(3);
  for (size_t rows : {1, 2, 3, 11, 17})
    for (size_t first : {0, 1, 7, 8, 9, 63, 64, 65, 127, 129}) {
      const size_t all = first + rows;
      CheckCall(Call<F16>(random, 64, rows, 2, first, all));
      CheckCall(Call<F16>(random, 128, rows, 1, first, (all + 1) / 2));
    }
}

TEST_CASE("probe scores agree with the reference in windows, capped or not") {
  Random random(14);
  for (size_t window : {1, 5, 16, 40, 63, 200, 300})
    for (float softcap : {0.0f, 3.0f}) {
      Call<F16> call(random, 64, 19, 3, 130, 149);
      call.window = window;
      call.softcap = softcap;
      CheckCall(call);
      call.scored = 100;
      CheckCall(call);
      Call<float> first(random, 40, 33, 2, 0, 33);
      first.window = window;
      first.softcap = softcap;
      CheckCall(first);
    }
}

TEST_CASE("probe scores read quantized keys") {
  Random random(15);
  for (size_t dim : {32, 40, 64, 80, 128}) {
    CheckCall(Call<Q8KvByte>(random, dim, 9, 3, 96, 100));
    CheckCall(Call<Q4KvByte>(random, dim, 9, 3, 96, 100));
  }
}

TEST_CASE("probe scores of one key and one row are the weight") {
  Random random(4);
  for (size_t group : {1, 4}) {
    const Call<F16> call(random, 64, 1, group, 0, 1);
    ForEachTarget([&] {
      CHECK(call.Run()[0] == call.weight * static_cast<float>(group));
    });
  }
}

TEST_CASE("probe scores count keys in the softmax that are not scored") {
  Random random(5);
  const Call<F16> call(random, 64, 32, 4, 200, 150, 2.0f);
  CheckCall(call);
  // As the pseudo tokens see the pseudo tokens before them.
  const Call<F16> part(random, 64, 8, 2, 0, 3, 2.0f);
  CheckCall(part);
  ForEachTarget([&] {
    CHECK(Sum(call.Run()) < static_cast<double>(call.weight) * 32 * 4 * 0.99);
  });
}

TEST_CASE("probe scores leave everything alone where nothing is scored") {
  Random random(6);
  const Call<F16> none(random, 64, 4, 2, 20, 0);
  ForEachTarget([&] {
    auto scores = none.Run();
    scores.Check();
    // No rows: an existing score stays, bit for bit.
    Guarded<float> kept(3);
    kept.Assign({1.0f, -2.0f, 3.0f});
    Guarded<float> scratch(ProbeScoreScratch(1, 2, 64));
    AddProbeScores(none.keys.data(), 64, none.q.data(), none.q_stride, 0, 2, 3,
                   3, {0.125f}, 1.0f, scratch.data(), kept.data());
    CHECK(kept[0] == 1.0f);
    CHECK(kept[1] == -2.0f);
    CHECK(kept[2] == 3.0f);
  });
}

TEST_CASE("probe scores give equal keys equal scores") {
  Random random(7);
  Call<F16> call(random, 64, 32, 4, 301, 301);
  for (size_t j = 0; j < call.visible(); ++j)
    std::copy(call.keys.data(), call.keys.data() + 64,
              call.keys.data() + j * 64);
  CheckCall(call);
  ForEachTarget([&] {
    const auto scores = call.Run();
    size_t different = 0;
    for (size_t j = 1; j < call.scored; ++j)
      different += scores[j] != scores[0];
    CHECK(different == 0);
  });
  // Two equal keys among others, in different blocks and register tiles.
  Call<F16> pair(random, 64, 32, 4, 301, 301);
  std::copy(pair.keys.data() + 3 * 64, pair.keys.data() + 4 * 64,
            pair.keys.data() + 300 * 64);
  CheckCall(pair);
  ForEachTarget([&] {
    const auto scores = pair.Run();
    CHECK(scores[3] == scores[300]);
  });
}

TEST_CASE("probe scores of zero queries are uniform over what a row sees") {
  Random random(8);
  Call<F16> call(random, 64, 3, 2, 70, 73);
  std::fill(call.q.data(), call.q.data() + call.q.size(), 0.0f);
  CheckCall(call);
}

TEST_CASE("probe scores find one dominating key") {
  Random random(9);
  for (size_t at : {0, 63, 64, 200, 300}) {
    Call<F16> call(random, 64, 32, 4, 301, 301);
    // Every query points along the first axis, as does one key only.
    for (size_t r = 0; r < call.rows; ++r)
      for (size_t g = 0; g < call.group; ++g)
        call.q[r * call.q_stride + g * 64] = 100.0f;
    for (size_t j = 0; j < call.visible(); ++j)
      call.keys[j * 64] = ToF16(j == at ? 10.0f : 0.0f);
    CheckCall(call);
    ForEachTarget([&] {
      const auto scores = call.Run();
      CHECK(scores[at] == doctest::Approx(call.weight * 32 * 4).epsilon(1e-6));
      CHECK(Sum(scores) - static_cast<double>(scores[at]) < 1e-6);
    });
  }
}

TEST_CASE("probe scores survive logits of ten thousand and more") {
  Random random(10);
  // Small integers times powers of two: true logits are multiples of 128, so
  // that two of a query's keys tie exactly or one of them has no mass.
  for (size_t dim : {64, 80}) {
    Call<F16> call(random, dim, 32, 4, 333, 365);
    call.scale = 0.125f;
    for (size_t i = 0; i < call.keys.size(); ++i)
      call.keys[i] = ToF16(128.0f * (static_cast<float>(random.Below(9)) - 4));
    for (size_t r = 0; r < call.rows; ++r)
      for (size_t i = 0; i < call.group * dim; ++i)
        call.q[r * call.q_stride + i] =
            8.0f * (static_cast<float>(random.Below(9)) - 4);
    const auto want = call.Reference();
    double largest = 0.0;
    for (size_t j = 0; j < call.visible(); ++j) {
      double dot = 0.0;
      for (size_t i = 0; i < dim; ++i)
        dot += static_cast<double>(call.q[i]) *
               static_cast<double>(ToFloat(call.keys[j * dim + i]));
      largest = std::max(largest, std::fabs(dot * 0.125));
    }
    REQUIRE(largest > 1e4);
    ForEachTarget([&] {
      const auto got = call.Run();
      double worst = 0.0;
      for (size_t j = 0; j < call.scored; ++j)
        worst =
            std::max(worst, std::fabs(static_cast<double>(got[j]) - want[j]));
      // Only ties can be off: their exponents, up to 4e4, carry the rounding of
      // q * log2(e) and of the sum.
      CHECK(worst < 2e-3 * static_cast<double>(call.weight) * 32);
      CHECK(Sum(got) == doctest::Approx(call.weight * 32 * 4).epsilon(1e-5));
    });
  }
}

TEST_CASE("probe scores stay finite where dot products overflow") {
  Random random(11);
  Call<float> call(random, 64, 3, 2, 100, 103);
  for (size_t i = 0; i < call.keys.size(); ++i)
    call.keys[i] = random.Normal() < 0.0f ? -3e38f : 3e38f;
  for (size_t r = 0; r < call.rows; ++r)
    for (size_t i = 0; i < call.group * call.dim; ++i)
      call.q[r * call.q_stride + i] = random.Normal() < 0.0f ? -3e38f : 3e38f;
  Call<F16> half(random, 64, 3, 2, 100, 103);
  for (size_t i = 0; i < half.keys.size(); ++i)
    half.keys[i] = ToF16(random.Normal() < 0.0f ? -65504.0f : 65504.0f);
  for (size_t r = 0; r < half.rows; ++r)
    for (size_t i = 0; i < half.group * half.dim; ++i)
      half.q[r * half.q_stride + i] = random.Normal() < 0.0f ? -3e38f : 3e38f;
  const auto check = [](const auto& any) {
    const auto scores = any.Run();
    size_t bad = 0;
    for (size_t j = 0; j < any.scored; ++j)
      bad += !(scores[j] >= 0.0f && scores[j] <= any.weight * 6.001f);
    CHECK(bad == 0);
    CHECK(Sum(scores) == doctest::Approx(any.weight * 6).epsilon(1e-5));
  };
  ForEachTarget([&] {
    check(call);
    check(half);
  });
}

TEST_CASE("probe scores of all visible keys add up to the queries' weight") {
  Random random(12);
  for (float deviation : {0.1f, 1.0f, 4.0f}) {
    const Call<F16> call(random, 64, 32, 7, 1000, 1032, deviation);
    ForEachTarget([&] {
      CHECK(Sum(call.Run()) ==
            doctest::Approx(static_cast<double>(call.weight) * 32 * 7)
                .epsilon(2e-6));
    });
  }
}

TEST_CASE("probe scores of two calls add up") {
  Random random(13);
  const Call<F16> call(random, 80, 6, 4, 99, 105);
  ForEachTarget([&] {
    const auto once = call.Run();
    auto twice = call.Run();
    call.Add(twice);
    size_t different = 0;
    for (size_t j = 0; j < call.scored; ++j)
      different += twice[j] != once[j] + once[j];
    CHECK(different == 0);
  });
}

TEST_CASE("probe scores do not depend on the alignment of anything") {
  Random random(14);
  const Call<F16> call(random, 96, 13, 4, 150, 155);
  ForEachTarget([&] {
    const auto first = call.Run(0);
    for (size_t skew = 1; skew < 16; ++skew) {
      Call<F16> moved = call;
      moved.keys = Guarded<F16>(call.keys.size(), skew * 3);
      std::copy(call.keys.data(), call.keys.data() + call.keys.size(),
                moved.keys.data());
      moved.q = Guarded<float>(call.q.size(), skew);
      std::copy(call.q.data(), call.q.data() + call.q.size(), moved.q.data());
      const auto again = moved.Run(skew);
      REQUIRE(std::memcmp(first.data(), again.data(),
                          call.scored * sizeof(float)) == 0);
    }
  });
}

TEST_CASE("probe scores need no more scratch than a larger call's") {
  CHECK(ProbeScoreScratch(32, 4, 64) >= ProbeScoreScratch(31, 4, 64));
  CHECK(ProbeScoreScratch(1, 8, 256) >= ProbeScoreScratch(1, 7, 256));
  Random random(15);
  const Call<F16> call(random, 64, 3, 4, 90, 93);
  ForEachTarget([&] {
    const auto want = call.Run();
    Guarded<float> scratch(ProbeScoreScratch(32, 4, 64));
    Guarded<float> scores(call.scored);
    std::fill(scores.data(), scores.data() + call.scored, 0.0f);
    AddProbeScores(call.keys.data(), 64, call.q.data(), call.q_stride, 3, 4, 90,
                   call.scored, {call.scale}, call.weight, scratch.data(),
                   scores.data());
    CHECK(std::memcmp(want.data(), scores.data(),
                      call.scored * sizeof(float)) == 0);
  });
}

}  // namespace
}  // namespace dapple::kernels
