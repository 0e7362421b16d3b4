// The engine's eviction and a small reference of the whole algorithm: full
// attention matrices in double, plain loops, no code shared with src/.
#ifndef DAPPLE_TESTS_EVICTION_REFERENCE_H_
#define DAPPLE_TESTS_EVICTION_REFERENCE_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dapple/engine.h"
#include "tiny_model.h"

namespace dapple::test {

using Key = std::pair<size_t, size_t>;  // layer, KV head

constexpr size_t kProbe = 12;  // pseudo tokens

inline std::unique_ptr<Engine> OpenTiny(const TinyModel& model, Compute compute,
                                        int threads = 2, size_t tile_rows = 0) {
  EngineOptions options;
  options.model_path = model.path();
  options.compute = compute;
  options.threads = threads;
  options.tile_rows = tile_rows;
  auto engine = Engine::Open(options);
  REQUIRE_MESSAGE(engine.ok(), engine.status().message());
  return std::move(*engine);
}

inline EvictionOptions Eviction(const std::string& policy,
                                const std::string& keep) {
  EvictionOptions options;
  options.policy = policy;
  options.keep = *KeepBudget::Parse(keep);
  options.recent = 8;
  options.seed = 5;
  return options;
}

inline std::unique_ptr<Session> NewSession(
    Engine& engine, size_t prompt, std::vector<EvictionOptions> eviction,
    size_t generate = 8) {
  SessionOptions options;
  options.prompt_tokens = prompt;
  options.max_new_tokens = generate;
  options.eviction = std::move(eviction);
  options.probe_tokens = kProbe;
  auto session = engine.NewSession(options);
  REQUIRE_MESSAGE(session.ok(), session.status().message());
  return std::move(*session);
}

// What each variant kept, and the raw scores of the first.
struct Choice {
  std::vector<std::map<Key, std::vector<uint32_t>>> kept;
  std::map<Key, std::vector<float>> scores;
};

inline Choice Prefill(Session& session, const std::vector<TokenId>& ids,
                      size_t variants) {
  Choice choice;
  choice.kept.resize(variants);
  PrefillHooks hooks;
  hooks.on_scores = [&](size_t variant, size_t layer, size_t head,
                        std::span<const float> scores,
                        std::span<const uint32_t> kept) {
    choice.kept[variant][{layer, head}] = {kept.begin(), kept.end()};
    if (variant == 0)
      choice.scores[{layer, head}] = {scores.begin(), scores.end()};
  };
  const Status status = session.Prefill(ids, hooks);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return choice;
}

// The reference: mean attention of `rows` query rows on the prompt's keys, for
// one KV head. rows are indices into the trace.
inline std::vector<double> MeanAttention(const TinyModel::LayerTrace& layer,
                                         const TinyShape& shape, size_t kv,
                                         size_t first, size_t rows,
                                         size_t length) {
  const size_t hd = shape.head_dim, group = shape.heads / shape.kv_heads;
  std::vector<double> scores(length, 0.0);
  for (size_t t = first; t < first + rows; ++t) {
    for (size_t g = 0; g < group; ++g) {
      std::vector<double> p(t + 1);
      double largest = -1e300, total = 0;
      for (size_t j = 0; j <= t; ++j) {
        double dot = 0;
        for (size_t i = 0; i < hd; ++i)
          dot += layer.queries[t][(kv * group + g) * hd + i] *
                 layer.keys[j][kv * hd + i];
        p[j] = dot / std::sqrt(static_cast<double>(hd));
        if (layer.cap != 0) p[j] = layer.cap * std::tanh(p[j] / layer.cap);
        if (layer.window != 0 && t - j >= layer.window) p[j] = -1e300;
        largest = std::max(largest, p[j]);
      }
      for (double& v : p) total += v = std::exp(v - largest);
      for (size_t j = 0; j <= t && j < length; ++j)
        scores[j] += p[j] / total / static_cast<double>(rows * group);
    }
  }
  return scores;
}

// Top-K with pins and pooling over the unpinned, by sorting.
inline std::vector<uint32_t> Choose(std::vector<double> scores, size_t keep,
                                    size_t first, size_t last, size_t pool) {
  const size_t n = scores.size();
  std::vector<double> pooled = scores;
  for (size_t i = first; i < n - last; ++i)
    for (size_t j = first; j < n - last; ++j)
      if (std::max(i, j) - std::min(i, j) <= pool / 2)
        pooled[i] = std::max(pooled[i], scores[j]);
  std::vector<uint32_t> middle, kept;
  for (size_t i = 0; i < n; ++i)
    (i < first || i >= n - last ? kept : middle)
        .push_back(static_cast<uint32_t>(i));
  std::stable_sort(middle.begin(), middle.end(), [&](uint32_t a, uint32_t b) {
    return pooled[a] > pooled[b];
  });
  kept.insert(kept.end(), middle.begin(),
              middle.begin() + static_cast<long>(keep - kept.size()));
  std::sort(kept.begin(), kept.end());
  return kept;
}

// Float and double may order near-equal scores differently: one key of a head.
inline void CheckAgrees(const std::map<Key, std::vector<uint32_t>>& ours,
                        const std::map<Key, std::vector<uint32_t>>& reference) {
  REQUIRE(ours.size() == reference.size());
  size_t missing = 0;
  for (const auto& [key, kept] : reference) {
    const std::vector<uint32_t>& mine = ours.at(key);
    REQUIRE(mine.size() == kept.size());
    CHECK(std::is_sorted(mine.begin(), mine.end()));
    for (uint32_t j : kept)
      missing += !std::binary_search(mine.begin(), mine.end(), j);
  }
  CHECK(missing <= 1);
}

}  // namespace dapple::test

#endif  // DAPPLE_TESTS_EVICTION_REFERENCE_H_
