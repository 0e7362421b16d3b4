// Schedules, residency of weights and KV precision: what may differ and what
// must not.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <memory>

#include "allocation_counter.h"
#include "dapple/engine.h"
#include "temporary_folder.h"
#include "tiny_model.h"
#include "util/huge_pages.h"

namespace dapple::test {
namespace {

// A folder that is on a disk: the build's own.
std::string DiskFolder() { return std::filesystem::current_path().string(); }

struct Outcome {
  std::vector<std::vector<float>> logits;            // prompt's end, then each
  std::vector<std::vector<uint32_t>> kept;           // [layers * heads]
  std::vector<std::vector<std::vector<float>>> all;  // unused
  size_t allocations = 0;
};

struct Setting {
  MemoryOptions memory;
  std::string policy = "dapq";
  size_t keep = 40;
  int threads = 2;
  size_t tile_rows = 0;
  size_t room = 6;  // for new tokens
};

Outcome Run(const TinyModel& model, const std::vector<TokenId>& ids,
            const Setting& setting) {
  EngineOptions engine_options;
  engine_options.model_path = model.path();
  engine_options.threads = setting.threads;
  engine_options.tile_rows = setting.tile_rows;
  const auto engine = Engine::Open(engine_options);
  REQUIRE(engine.ok());
  constexpr size_t kGenerated = 6;
  SessionOptions options;
  options.prompt_tokens = ids.size() - kGenerated;
  options.max_new_tokens = setting.room;
  options.memory = setting.memory;
  options.probe_tokens = 8;
  EvictionOptions eviction;
  eviction.policy = setting.policy;
  eviction.recent = 8;
  eviction.keep.kind = KeepBudget::Kind::kTokens;
  eviction.keep.tokens = setting.keep;
  options.eviction = {eviction};
  const auto session = (*engine)->NewSession(options);
  REQUIRE_MESSAGE(session.ok(), session.status().message());
  if (setting.memory.schedule != Schedule::kAuto)
    CHECK((*session)->planned().schedule == setting.memory.schedule);
  if (setting.memory.weights != Residency::kAuto)
    CHECK((*session)->planned().weights == setting.memory.weights);
  // Many new tokens are worth a copy of the weights, where it may be had.
  CHECK((*session)->planned().huge_pages ==
        (setting.room >= 32 && setting.memory.weights == Residency::kAuto &&
         HugePageBytes() != 0));
  Outcome outcome;
  const auto note = [&] {
    outcome.logits.emplace_back((*session)->logits().begin(),
                                (*session)->logits().end());
  };
  AllocationCounter counter;
  const Status status =
      (*session)->Prefill(std::span(ids).first(options.prompt_tokens), {});
  outcome.allocations = counter.Stop();
  REQUIRE_MESSAGE(status.ok(), status.message());
  note();
  for (size_t i = options.prompt_tokens; i < ids.size(); ++i) {
    REQUIRE((*session)->Append(ids[i]).ok());
    note();
  }
  // Once more with a listener, for the kept sets.
  PrefillHooks hooks;
  hooks.on_scores = [&](size_t, size_t, size_t, std::span<const float>,
                        std::span<const uint32_t> kept) {
    outcome.kept.emplace_back(kept.begin(), kept.end());
  };
  REQUIRE((*session)
              ->Prefill(std::span(ids).first(options.prompt_tokens), hooks)
              .ok());
  return outcome;
}

double Worst(const Outcome& a, const Outcome& b) {
  double worst = 0;
  for (size_t i = 0; i < a.logits.size(); ++i)
    for (size_t j = 0; j < a.logits[i].size(); ++j)
      worst =
          std::max<double>(worst, std::abs(a.logits[i][j] - b.logits[i][j]));
  return worst;
}

MemoryOptions With(Schedule schedule, Residency weights = Residency::kAuto,
                   KvPrecision kv = KvPrecision::kAuto) {
  MemoryOptions memory;
  memory.schedule = schedule;
  memory.weights = weights;
  memory.kv = kv;
  memory.spill_folder = DiskFolder();
  return memory;
}

}  // namespace

TEST_CASE("where weights and residual live changes no bit of the answer") {
  const TinyModel model(TinyShape{}, 51);
  const auto ids = RandomIds(300, 300, 5);
  const Outcome plain = Run(model, ids, {With(Schedule::kExact)});
  for (const Residency weights :
       {Residency::kResident, Residency::kReread, Residency::kStreamed}) {
    for (const Schedule schedule : {Schedule::kExact, Schedule::kExactSpill}) {
      Setting setting{With(schedule, weights, KvPrecision::kF16)};
      setting.tile_rows = 64;
      const Outcome other = Run(model, ids, setting);
      CHECK(other.logits == plain.logits);
      CHECK(other.kept == plain.kept);
      if (AllocationCounter::Works()) CHECK(other.allocations == 0);
    }
  }
  Setting copied{With(Schedule::kExact)};
  copied.room = 32;
  CHECK(Run(model, ids, copied).logits == plain.logits);
}

TEST_CASE("streaming a prompt in one chunk is the exact schedule") {
  const TinyModel model(TinyShape{}, 52);
  const auto ids = RandomIds(300, 300, 6);
  for (const char* policy : {"dapq", "snapkv", "tova", "keydiff"}) {
    Setting exact{With(Schedule::kExact)};
    exact.policy = policy;
    Setting streaming{With(Schedule::kStreaming)};
    streaming.policy = policy;
    streaming.memory.chunk_tokens = 1000;
    const Outcome a = Run(model, ids, exact), b = Run(model, ids, streaming);
    CHECK(a.logits == b.logits);
    CHECK(a.kept == b.kept);
    if (AllocationCounter::Works()) CHECK(b.allocations == 0);
  }
}

TEST_CASE("streaming that keeps every key gives full attention's answer") {
  const TinyModel model(TinyShape{}, 53);
  const auto ids = RandomIds(250, 300, 7);
  Setting full{With(Schedule::kExact)};
  full.keep = 1000;
  const Outcome a = Run(model, ids, full);
  for (const size_t chunk : {1, 37, 64, 200}) {
    Setting streaming{With(Schedule::kStreaming)};
    streaming.memory.chunk_tokens = chunk;
    streaming.keep = 1000;
    CHECK(Run(model, ids, streaming).logits == a.logits);
  }
}

TEST_CASE("streaming depends on neither threads nor tiles") {
  const TinyModel model(TinyShape{}, 54);
  const auto ids = RandomIds(300, 300, 8);
  Setting setting{With(Schedule::kStreaming)};
  setting.memory.chunk_tokens = 50;
  const Outcome a = Run(model, ids, setting);
  for (const auto& kept : a.kept) CHECK(kept.size() <= 40);
  setting.threads = 1;
  setting.tile_rows = 17;
  const Outcome b = Run(model, ids, setting);
  CHECK(a.logits == b.logits);
  CHECK(a.kept == b.kept);
}

TEST_CASE("eight and four bits of keys and values stay near sixteen") {
  const TinyModel model(TinyShape{}, 55);
  const auto ids = RandomIds(300, 300, 9);
  Setting setting{With(Schedule::kExact)};
  setting.keep = 1000;
  const Outcome f16 = Run(model, ids, setting);
  setting.memory = With(Schedule::kExactQ8);
  const Outcome q8 = Run(model, ids, setting);
  setting.memory = With(Schedule::kExact, Residency::kAuto, KvPrecision::kQ8);
  const Outcome kept_q8 = Run(model, ids, setting);
  setting.memory = With(Schedule::kExact, Residency::kAuto, KvPrecision::kQ4);
  const Outcome kept_q4 = Run(model, ids, setting);
  double largest = 0;
  for (float logit : f16.logits[0])
    largest = std::max<double>(largest, std::abs(logit));
  CHECK(Worst(f16, q8) < 0.05 * largest);
  CHECK(Worst(f16, q8) > 0);
  // Only decoding reads what is retained.
  CHECK(kept_q8.logits[0] == f16.logits[0]);
  CHECK(kept_q8.logits[1] != f16.logits[1]);
  CHECK(Worst(f16, kept_q8) < 0.05 * largest);
  CHECK(Worst(f16, kept_q4) < 0.3 * largest);
  CHECK(Worst(f16, kept_q4) > Worst(f16, kept_q8));
}

TEST_CASE("a spill folder that cannot serve is named before any work") {
  const TinyModel model(TinyShape{}, 56);
  EngineOptions engine_options;
  engine_options.model_path = model.path();
  const auto engine = Engine::Open(engine_options);
  REQUIRE(engine.ok());
  SessionOptions options;
  options.prompt_tokens = 20;
  options.max_new_tokens = 1;
  options.memory.schedule = Schedule::kExactSpill;
  CHECK((*engine)->NewSession(options).status().code() ==
        StatusCode::kInvalidArgument);
  for (const char* folder : {"/nonexistent", "/dev/shm"}) {
    options.memory.spill_folder = folder;
    const auto session = (*engine)->NewSession(options);
    REQUIRE_FALSE(session.ok());
    CHECK(session.status().message().find(folder) != std::string::npos);
  }
}

}  // namespace dapple::test
