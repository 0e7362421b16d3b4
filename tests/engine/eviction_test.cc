// The engine's kept sets against the reference of eviction_reference.h.
#include "dapple/eviction.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "allocation_counter.h"
#include "dapple/engine.h"
#include "eviction_reference.h"
#include "tiny_model.h"

namespace dapple::test {
namespace {

constexpr size_t kLength = 157;

struct Setup {
  Setup() : model(TinyShape{3, 64, 96, 4, 2, 16, 300, 512}, 43) {
    ids = RandomIds(kLength, 300, 14);
    with_probe = ids;
    with_probe.insert(with_probe.end(), ids.begin(), ids.begin() + 4);
    with_probe.insert(with_probe.end(), ids.end() - (kProbe - 4), ids.end());
    model.ReferenceLogits(with_probe, &trace);
  }
  TinyModel model;
  std::vector<TokenId> ids, with_probe;
  std::vector<TinyModel::LayerTrace> trace;
};

TEST_CASE("dapq keeps what full attention matrices in double say") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kF32);
  for (const size_t keep : {size_t{1}, size_t{20}, size_t{100}}) {
    for (const size_t pool : {size_t{1}, size_t{7}}) {
      auto options = Eviction("dapq", std::to_string(keep));
      options.pool = pool;
      const auto session = NewSession(*engine, kLength, {options});
      const Choice choice = Prefill(*session, s.ids, 1);
      std::map<Key, std::vector<uint32_t>> reference;
      for (size_t layer = 0; layer < 3; ++layer) {
        for (size_t head = 0; head < 2; ++head) {
          const auto scores = MeanAttention(s.trace[layer], s.model.shape(),
                                            head, kLength, kProbe, kLength);
          for (size_t j = 0; j < kLength; ++j)
            CHECK(choice.scores.at({layer, head})[j] ==
                  doctest::Approx(scores[j]).epsilon(1e-3));
          reference[{layer, head}] = Choose(scores, keep, 0, 0, pool);
        }
      }
      CheckAgrees(choice.kept[0], reference);
    }
  }
}

TEST_CASE("every other policy keeps what its definition says") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kF32);
  constexpr size_t kKeep = 30;
  const TinyShape& shape = s.model.shape();
  const auto run = [&](const EvictionOptions& options) {
    const auto session = NewSession(*engine, kLength, {options});
    return Prefill(*session, s.ids, 1).kept[0];
  };
  const auto reference = [&](auto&& choose) {
    std::map<Key, std::vector<uint32_t>> kept;
    for (size_t layer = 0; layer < 3; ++layer)
      for (size_t head = 0; head < 2; ++head)
        kept[{layer, head}] = choose(layer, head);
    return kept;
  };
  const std::string keep = std::to_string(kKeep);
  const auto window = [&](size_t layer, size_t head, size_t rows) {
    return MeanAttention(s.trace[layer], shape, head, kLength - rows, rows,
                         kLength);
  };

  CheckAgrees(run(Eviction("snapkv", keep)),
              reference([&](size_t layer, size_t head) {
                return Choose(window(layer, head, 8), kKeep, 0, 8, 7);
              }));
  CheckAgrees(run(Eviction("pyramidkv", keep)),
              reference([&](size_t layer, size_t head) {
                // 22 beside the window on average: 43, 22, 1.
                const size_t budgets[] = {8 + 43, 8 + 22, 8 + 1};
                return Choose(window(layer, head, 8), budgets[layer], 0, 8, 7);
              }));
  CheckAgrees(run(Eviction("tova", keep)),
              reference([&](size_t layer, size_t head) {
                return Choose(window(layer, head, 1), kKeep, 0, 1, 1);
              }));
  CheckAgrees(
      run(Eviction("h2o", keep)), reference([&](size_t layer, size_t head) {
        return Choose(window(layer, head, kLength), kKeep, 0, kKeep / 2, 1);
      }));
  CheckAgrees(run(Eviction("streaming", keep)), reference([&](size_t, size_t) {
                return Choose(std::vector<double>(kLength, 0.0), kKeep, 4,
                              kKeep - 4, 1);
              }));
  CheckAgrees(
      run(Eviction("keydiff", keep)), reference([&](size_t layer, size_t head) {
        const size_t hd = shape.head_dim;
        std::vector<double> mean(hd, 0.0), scores(kLength), norms(kLength);
        for (size_t j = 0; j < kLength; ++j) {
          const double* key = &s.trace[layer].keys[j][head * hd];
          for (size_t i = 0; i < hd; ++i) norms[j] += key[i] * key[i];
          norms[j] = std::sqrt(norms[j]);
          for (size_t i = 0; i < hd; ++i) mean[i] += key[i] / norms[j];
        }
        for (size_t j = 0; j < kLength; ++j)
          for (size_t i = 0; i < hd; ++i)
            scores[j] -=
                mean[i] * s.trace[layer].keys[j][head * hd + i] / norms[j];
        return Choose(scores, kKeep, 0, 0, 1);
      }));
  const auto random = run(Eviction("random", keep));
  CHECK(random.at({0, 0}) != random.at({0, 1}));
  CHECK(random.at({0, 0}) != random.at({1, 0}));
  CHECK(random == run(Eviction("random", keep)));
}

TEST_CASE("value weighting multiplies scores by the values' projected norm") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kF32);
  auto options = Eviction("dapq", "25");
  options.value_weighted = true;
  const auto session = NewSession(*engine, kLength, {options});
  const Choice choice = Prefill(*session, s.ids, 1);
  const TinyShape& shape = s.model.shape();
  const size_t hd = shape.head_dim, q_width = shape.heads * hd;
  std::map<Key, std::vector<uint32_t>> reference;
  for (size_t layer = 0; layer < 3; ++layer) {
    const std::vector<float>& wo = s.model.OutputProjection(layer);
    for (size_t head = 0; head < 2; ++head) {
      auto scores =
          MeanAttention(s.trace[layer], shape, head, kLength, kProbe, kLength);
      for (size_t j = 0; j < kLength; ++j) {
        double squares = 0;
        for (size_t g = 0; g < 2; ++g) {
          for (size_t r = 0; r < shape.width; ++r) {
            double sum = 0;
            for (size_t i = 0; i < hd; ++i)
              sum += wo[r * q_width + (head * 2 + g) * hd + i] *
                     s.trace[layer].values[j][head * hd + i];
            squares += sum * sum / 2;
          }
        }
        scores[j] *= std::sqrt(squares);
      }
      reference[{layer, head}] = Choose(scores, 25, 0, 0, 7);
    }
  }
  CheckAgrees(choice.kept[0], reference);
}

// Logits of the prompt and of eight appended tokens.
std::vector<std::vector<float>> Decode(Session& session, size_t variant) {
  REQUIRE(session.SelectVariant(variant).ok());
  std::vector<std::vector<float>> logits;
  for (TokenId id = 0; id < 8; ++id) {
    logits.emplace_back(session.logits().begin(), session.logits().end());
    REQUIRE(session.Append(id * 7).ok());
  }
  logits.emplace_back(session.logits().begin(), session.logits().end());
  return logits;
}

TEST_CASE("keeping everything decodes bit for bit like full") {
  Setup s;
  for (const Compute compute : {Compute::kDefault, Compute::kF32}) {
    const auto engine = OpenTiny(s.model, compute);
    const auto full = NewSession(*engine, kLength, {});
    REQUIRE(full->Prefill(s.ids, {}).ok());
    const auto expected = Decode(*full, 0);
    // Beside a real eviction, so that keys are staged and pseudo tokens run.
    for (const std::string& policy : EvictionPolicies()) {
      const auto session = NewSession(
          *engine, kLength, {Eviction("dapq", "20"), Eviction(policy, "100%")});
      REQUIRE(session->Prefill(s.ids, {}).ok());
      CHECK(Decode(*session, 1) == expected);
      CHECK(session->Kept().KeptShare() == 1.0);
    }
  }
}

TEST_CASE("pseudo tokens change nothing of the prompt, and leave nothing") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kDefault);
  const auto plain = NewSession(*engine, kLength, {Eviction("snapkv", "40")});
  const auto probed = NewSession(
      *engine, kLength, {Eviction("snapkv", "40"), Eviction("dapq", "40")});
  REQUIRE(plain->Prefill(s.ids, {}).ok());
  REQUIRE(probed->Prefill(s.ids, {}).ok());
  CHECK(Decode(*plain, 0) == Decode(*probed, 0));
  REQUIRE(probed->SelectVariant(1).ok());
  for (const KeptLayer& layer : probed->Kept().layers) {
    CHECK(layer.min_kept == 40);
    CHECK(layer.max_kept == 40);
  }
}

TEST_CASE("kept sets depend on neither threads nor tile size") {
  Setup s;
  for (const char* policy : {"dapq", "h2o", "snapkv"}) {
    const auto kept = [&](int threads, size_t tile) {
      const auto engine = OpenTiny(s.model, Compute::kDefault, threads, tile);
      const auto session =
          NewSession(*engine, kLength, {Eviction(policy, "30")});
      return Prefill(*session, s.ids, 1).kept[0];
    };
    const auto expected = kept(1, 256);
    for (const int threads : {1, 2, 3})
      for (const size_t tile : {size_t{48}, size_t{96}, size_t{400}})
        CHECK(kept(threads, tile) == expected);
  }
}

TEST_CASE("variants of one prefill equal runs of their own") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kDefault);
  std::vector<EvictionOptions> variants;
  for (const std::string& policy : EvictionPolicies())
    for (const char* keep : {"16", "25%"})
      variants.push_back(Eviction(policy, keep));
  const auto together = NewSession(*engine, kLength, variants);
  REQUIRE(together->Prefill(s.ids, {}).ok());
  for (size_t v = 0; v < variants.size(); ++v) {
    const auto alone = NewSession(*engine, kLength, {variants[v]});
    REQUIRE(alone->Prefill(s.ids, {}).ok());
    CHECK(Decode(*together, v) == Decode(*alone, 0));
    CHECK(together->Kept().kept_bytes == alone->Kept().kept_bytes);
  }
}

TEST_CASE("short prompts, one key, and more budget than keys work") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kDefault);
  for (const std::string& policy : EvictionPolicies()) {
    for (const size_t length : {size_t{1}, size_t{2}, size_t{5}, size_t{40}}) {
      for (const char* keep : {"1", "3", "1000", "50%", "auto"}) {
        CAPTURE(policy);
        CAPTURE(length);
        const auto session = NewSession(*engine, 64, {Eviction(policy, keep)});
        REQUIRE(session->Prefill(std::span(s.ids).first(length), {}).ok());
        Decode(*session, 0);
        const KeptReport kept = session->Kept();
        for (const KeptLayer& layer : kept.layers)
          CHECK(layer.max_kept <= length);
        CHECK(kept.kept_bytes > 0);
      }
    }
  }
}

TEST_CASE("nothing is allocated while layers are scored and evicted") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kDefault);
  for (const std::string& policy : EvictionPolicies()) {
    auto options = Eviction(policy, "30");
    options.value_weighted = policy == "dapq";
    const auto session = NewSession(*engine, kLength, {options});
    AllocationCounter counter;
    const bool ok = session->Prefill(s.ids, {}).ok() && session->Append(1).ok();
    const size_t allocations = counter.Stop();
    CHECK(ok);
    CAPTURE(policy);
    if (AllocationCounter::Works()) CHECK(allocations == 0);
  }
}

TEST_CASE("a full reserve stops, or drops the oldest generated token") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kF32);
  SessionOptions options;
  options.prompt_tokens = kLength;
  options.max_new_tokens = 12;
  options.generation_slots = 4;
  options.eviction = {Eviction("dapq", "30")};
  const auto stopping = engine->NewSession(options);
  REQUIRE(stopping.ok());
  REQUIRE((*stopping)->Prefill(s.ids, {}).ok());
  for (TokenId id = 0; id < 4; ++id) REQUIRE((*stopping)->Append(id).ok());
  CHECK((*stopping)->Append(4).code() == StatusCode::kDoesNotFit);

  options.on_full = SessionOptions::OnFull::kDropOldest;
  const auto dropping = engine->NewSession(options);
  REQUIRE(dropping.ok());
  REQUIRE((*dropping)->Prefill(s.ids, {}).ok());
  for (TokenId id = 0; id < 12; ++id) REQUIRE((*dropping)->Append(id).ok());
  CHECK((*dropping)->Append(12).code() == StatusCode::kDoesNotFit);
  for (const float logit : (*dropping)->logits()) CHECK(std::isfinite(logit));
  // Memory follows the reserve, not the length of the answer.
  CHECK((*stopping)->plan().ArenaBytes() == (*dropping)->plan().ArenaBytes());
}

TEST_CASE("coverage is the kept share of the probe's attention") {
  Setup s;
  const auto engine = OpenTiny(s.model, Compute::kF32);
  const auto session = NewSession(*engine, kLength, {Eviction("dapq", "30")});
  const Choice choice = Prefill(*session, s.ids, 1);
  const KeptReport report = session->Kept();
  for (size_t layer = 0; layer < 3; ++layer) {
    double mean = 0;
    for (size_t head = 0; head < 2; ++head) {
      double covered = 0, total = 0;
      for (const float score : choice.scores.at({layer, head})) total += score;
      for (const uint32_t j : choice.kept[0].at({layer, head}))
        covered += choice.scores.at({layer, head})[j];
      mean += covered / total / 2;
    }
    CHECK(report.layers[layer].coverage == doctest::Approx(mean));
  }
  CHECK(report.MinCoverage() <= report.MedianCoverage());
  CHECK(report.kept_bytes * kLength == report.full_bytes * 30);
}

TEST_CASE("bad eviction options are refused by name") {
  CHECK(KeepBudget::Parse("256")->Resolve(1000) == 256);
  CHECK(KeepBudget::Parse("256")->Resolve(100) == 100);
  CHECK(KeepBudget::Parse("3%")->Resolve(1000) == 30);
  CHECK(KeepBudget::Parse("0.01%")->Resolve(10) == 1);
  CHECK(KeepBudget::Parse("auto")->Resolve(77) == 77);
  for (const char* bad : {"", "0", "-1", "0%", "101%", "3 %", "x", "1e3",
                          "99999999999999999999999", "%"})
    CHECK_FALSE(KeepBudget::Parse(bad).ok());
  EvictionOptions options;
  options.policy = "best";
  CHECK(options.Validate().message().find("dapq") != std::string::npos);
  options = {};
  options.pool = 4;
  CHECK_FALSE(options.Validate().ok());
  options = {};
  options.recent = 0;
  CHECK_FALSE(options.Validate().ok());
}

}  // namespace
}  // namespace dapple::test
