#include "dapple/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>

namespace dapple {
namespace {

// How often each id comes up in `draws` draws.
std::map<TokenId, int> Histogram(const SamplerOptions& options,
                                 const std::vector<float>& logits, int draws,
                                 std::vector<TokenId> allowed = {}) {
  Sampler sampler(options, logits.size());
  std::map<TokenId, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.Sample(logits, allowed)];
  return counts;
}

TEST_CASE("greedy takes the largest logit, the smallest id among equals") {
  Sampler sampler({}, 5);
  CHECK(sampler.Sample(std::vector<float>{1, 3, 2, 3, -1}, {}) == 1);
  CHECK(sampler.Sample(std::vector<float>{1, 3, 2, 3, -1},
                       std::vector<TokenId>{0, 2, 3}) == 3);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(sampler.Sample(std::vector<float>{nan, 3, nan, 4, nan}, {}) == 3);
}

TEST_CASE("frequencies follow the softmax at the given temperature") {
  const std::vector<float> logits{0.0f, 1.0f, -1.0f, 2.0f};
  for (const float temperature : {0.7f, 1.0f, 2.0f}) {
    SamplerOptions options;
    options.temperature = temperature;
    options.seed = 5;
    const int draws = 40000;
    const auto counts = Histogram(options, logits, draws);
    double total = 0;
    for (float logit : logits) total += std::exp(logit / temperature);
    double chi_squared = 0;
    for (const auto& [id, count] : counts) {
      const double expected =
          draws * std::exp(logits[id] / temperature) / total;
      chi_squared += (count - expected) * (count - expected) / expected;
    }
    CHECK(chi_squared < 16.27);  // p = 0.001 at 3 degrees of freedom
  }
}

TEST_CASE("top-k, top-p and min-p cut what they say") {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f),
                                  std::log(0.15f), std::log(0.05f)};
  SamplerOptions options;
  options.temperature = 1;
  options.top_k = 2;
  CHECK(Histogram(options, logits, 500).size() == 2);
  options.top_k = 0;
  options.top_p = 0.79f;
  CHECK(Histogram(options, logits, 500).size() == 2);
  options.top_p = 0.82f;
  CHECK(Histogram(options, logits, 500).size() == 3);
  options.top_p = 1e-6f;
  CHECK(Histogram(options, logits, 50).size() == 1);
  options.top_p = 1;
  options.min_p = 0.25f;
  const auto counts = Histogram(options, logits, 500);
  CHECK(counts.size() == 3);
  CHECK(counts.count(3) == 0);
}

TEST_CASE("only allowed ids are ever drawn") {
  SamplerOptions options;
  options.temperature = 3;
  const auto counts = Histogram(options, {1, 2, 3, 4, 5, 6}, 500, {1, 4});
  CHECK(counts.size() == 2);
  CHECK(counts.count(1) == 1);
  CHECK(counts.count(4) == 1);
}

TEST_CASE("the repetition penalty lowers positive and negative logits once") {
  SamplerOptions options;
  options.repetition_penalty = 2;
  options.repetition_window = 2;
  Sampler sampler(options, 3);
  CHECK(sampler.Sample(std::vector<float>{4, 3, 1}, {}) == 0);
  sampler.Observe(0);
  sampler.Observe(0);
  CHECK(sampler.Sample(std::vector<float>{4, 3, 1}, {}) == 1);
  CHECK(sampler.Sample(std::vector<float>{4, 1.9f, 1}, {}) == 0);
  CHECK(sampler.Sample(std::vector<float>{-1, -1.5f, -3}, {}) == 1);
  sampler.Observe(2);
  sampler.Observe(2);  // id 0 leaves the window
  CHECK(sampler.Sample(std::vector<float>{4, 3, 1}, {}) == 0);
}

TEST_CASE("the shortcuts over all ids choose as a list of all ids does") {
  // A list of allowed ids has no shortcut.
  std::vector<float> logits(301);
  std::vector<TokenId> all(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = std::round(40 * std::sin(static_cast<float>(i * i))) / 4;
    all[i] = static_cast<TokenId>(i);
  }
  logits[7] = std::numeric_limits<float>::quiet_NaN();
  logits[9] = -std::numeric_limits<float>::infinity();
  for (const float penalty : {0.5f, 1.0f, 1.5f})
    for (const float temperature : {0.0f, 0.3f, 2.0f})
      for (const int top_k : {0, 5})
        for (const float top_p : {0.5f, 1.0f})
          for (const float min_p : {0.0f, 0.1f}) {
            SamplerOptions options;
            options.repetition_penalty = penalty;
            options.temperature = temperature;
            options.top_k = top_k;
            options.top_p = top_p;
            options.min_p = min_p;
            Sampler quick(options, logits.size());
            Sampler listed(options, logits.size());
            for (int i = 0; i < 50; ++i) {
              const TokenId id = quick.Sample(logits, {});
              REQUIRE(listed.Sample(logits, all) == id);
              quick.Observe(id);
              listed.Observe(id);
            }
          }
}

TEST_CASE("the same seed gives the same tokens") {
  SamplerOptions options;
  options.temperature = 1;
  options.seed = 42;
  std::vector<float> logits(50);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = std::sin(static_cast<float>(i));
  Sampler a(options, 50), b(options, 50);
  options.seed = 43;
  Sampler c(options, 50);
  int same = 0;
  for (int i = 0; i < 100; ++i) {
    const TokenId id = a.Sample(logits, {});
    CHECK(b.Sample(logits, {}) == id);
    same += c.Sample(logits, {}) == id;
  }
  CHECK(same < 50);
}

TEST_CASE("options out of range are refused by name") {
  SamplerOptions options;
  CHECK(options.Validate().ok());
  options.temperature = -1;
  CHECK(options.Validate().message().find("temperature") != std::string::npos);
  options = {};
  options.top_p = 0;
  CHECK_FALSE(options.Validate().ok());
  options = {};
  options.min_p = 1.5f;
  CHECK_FALSE(options.Validate().ok());
  options = {};
  options.top_k = -1;
  CHECK_FALSE(options.Validate().ok());
  options = {};
  options.repetition_penalty = 0;
  CHECK_FALSE(options.Validate().ok());
}

}  // namespace
}  // namespace dapple
