#include "kernels/kv_rows.h"

#include <algorithm>
#include <limits>

#include "kernel_test.h"
#include "kernels/reference.h"

namespace dapple::kernels {
namespace {

const KvType kTypes[] = {KvType::kF16, KvType::kF32, KvType::kQ8, KvType::kQ4};

// Stores `count` rows on every target, holds their bytes against the
// reference's, and what is loaded from them too.
void CheckRows(KvType type, const std::vector<float>& x, size_t stride,
               size_t count, size_t dim) {
  CAPTURE(static_cast<int>(type));
  CAPTURE(dim);
  const size_t row_bytes = KvRowBytes(type, dim);
  std::vector<uint8_t> want(count * row_bytes);
  std::vector<float> wide(count * dim);
  for (size_t r = 0; r < count; ++r) {
    reference::StoreKvRow(type, &x[r * stride], dim, &want[r * row_bytes]);
    reference::LoadKvRow(type, &want[r * row_bytes], dim, &wide[r * dim]);
  }
  ForEachTarget([&] {
    Guarded<uint8_t> rows(count * row_bytes, 2);
    StoreKvRows(type, x.data(), stride, count, dim, rows.data());
    rows.Check();
    REQUIRE(std::memcmp(rows.data(), want.data(), want.size()) == 0);
    Guarded<float> got(count * dim);
    LoadKvRows(type, rows.data(), count, dim, got.data(), dim);
    got.Check();
    for (size_t i = 0; i < wide.size(); ++i)
      REQUIRE(
          (got[i] == wide[i] || (std::isnan(got[i]) && std::isnan(wide[i]))));
  });
}

TEST_CASE("rows of every type equal the reference's bytes and values") {
  Random random(1);
  for (KvType type : kTypes)
    for (size_t dim : {8, 16, 24, 32, 40, 56, 64, 80, 96, 112, 128, 256})
      for (float deviation : {0.0f, 1e-6f, 0.01f, 1.0f, 1000.0f}) {
        const size_t stride = dim + 3;
        CheckRows(type, random.Normals(5 * stride, deviation), stride, 5, dim);
      }
}

TEST_CASE("quantized rows are as near as their scale allows") {
  Random random(2);
  for (size_t dim : {24, 64, 128})
    for (float offset : {0.0f, 5.0f}) {
      auto x = random.Normals(dim);
      for (float& v : x) v += offset;
      float largest = 0.0f;
      for (float v : x) largest = std::max(largest, std::fabs(v));
      std::vector<float> got(dim);
      std::vector<uint8_t> row(KvRowBytes(KvType::kQ8, dim));
      StoreKvRows(KvType::kQ8, x.data(), dim, 1, dim, row.data());
      LoadKvRows(KvType::kQ8, row.data(), 1, dim, got.data(), dim);
      for (size_t i = 0; i < dim; ++i)
        REQUIRE(std::fabs(got[i] - x[i]) <= largest / 127 * 0.501f);

      row.resize(KvRowBytes(KvType::kQ4, dim));
      StoreKvRows(KvType::kQ4, x.data(), dim, 1, dim, row.data());
      LoadKvRows(KvType::kQ4, row.data(), 1, dim, got.data(), dim);
      for (size_t b = 0; b < dim; b += kQ4KvBlock) {
        const size_t end = std::min(dim, b + kQ4KvBlock);
        const auto [least, most] =
            std::minmax_element(x.begin() + b, x.begin() + end);
        for (size_t i = b; i < end; ++i)
          REQUIRE(std::fabs(got[i] - x[i]) <=
                  (*most - *least) / 15 * 0.51f + std::fabs(*least) * 0x1p-11f);
      }
    }
}

TEST_CASE("rows survive extremes, and what is not finite stays visible") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (KvType type : kTypes) {
    std::vector<float> x(40, 1.0f);
    CheckRows(type, x, 40, 1, 40);  // all equal
    x[3] = 3e38f;
    x[4] = -3e38f;
    CheckRows(type, x, 40, 1, 40);
    x.assign(40, -7e4f);
    CheckRows(type, x, 40, 1, 40);
    if (type == KvType::kF16 || type == KvType::kF32) continue;
    for (float bad : {kInf, -kInf, kNan})
      for (size_t at : {0, 17, 39}) {
        x.assign(40, 1.0f);
        x[at] = bad;
        CheckRows(type, x, 40, 1, 40);
        std::vector<uint8_t> row(KvRowBytes(type, 40));
        std::vector<float> got(40);
        StoreKvRows(type, x.data(), 40, 1, 40, row.data());
        LoadKvRows(type, row.data(), 1, 40, got.data(), 40);
        CHECK(std::isnan(got[at]));
      }
  }
}

TEST_CASE("rows are as long as their layout says") {
  CHECK(KvRowBytes(KvType::kF32, 64) == 256);
  CHECK(KvRowBytes(KvType::kF16, 64) == 128);
  CHECK(KvRowBytes(KvType::kQ8, 64) == 66);
  CHECK(KvRowBytes(KvType::kQ4, 64) == 40);
  CHECK(KvRowBytes(KvType::kQ4, 80) == 60);
}

}  // namespace
}  // namespace dapple::kernels
