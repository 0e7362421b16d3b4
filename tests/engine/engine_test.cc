#include "dapple/engine.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>

#include "../emulated.h"
#include "allocation_counter.h"
#include "tiny_model.h"

namespace dapple::test {
namespace {

std::unique_ptr<Engine> OpenTiny(const TinyModel& model, Compute compute,
                                 int threads = 2, size_t tile_rows = 0,
                                 const std::string& gemm = "auto") {
  EngineOptions options;
  options.model_path = model.path();
  options.compute = compute;
  options.threads = threads;
  options.tile_rows = tile_rows;
  options.gemm = gemm;
  auto engine = Engine::Open(options);
  REQUIRE_MESSAGE(engine.ok(), engine.status().message());
  return std::move(*engine);
}

std::unique_ptr<Session> NewSession(Engine& engine, size_t prompt,
                                    size_t generate, bool row_logits = false) {
  SessionOptions options;
  options.prompt_tokens = prompt;
  options.max_new_tokens = generate;
  options.row_logits = row_logits;
  auto session = engine.NewSession(options);
  REQUIRE_MESSAGE(session.ok(), session.status().message());
  return std::move(*session);
}

// Logits after prefilling ids[0, prompt) and appending the rest, one by one:
// [1 + appended, vocab].
std::vector<std::vector<float>> Run(Engine& engine,
                                    const std::vector<TokenId>& ids,
                                    size_t prompt) {
  const auto session = NewSession(engine, prompt, ids.size() - prompt);
  std::vector<std::vector<float>> logits;
  const auto keep = [&] {
    logits.emplace_back(session->logits().begin(), session->logits().end());
  };
  REQUIRE(session->Prefill(std::span(ids).first(prompt), {}).ok());
  keep();
  for (size_t i = prompt; i < ids.size(); ++i) {
    REQUIRE(session->Append(ids[i]).ok());
    keep();
  }
  return logits;
}

std::vector<size_t> KeptTokens(const Session& session) {
  std::vector<size_t> kept;
  for (const KeptLayer& layer : session.Kept().layers)
    kept.push_back(layer.min_kept);
  return kept;
}

double MaxDifference(const std::vector<float>& ours,
                     const std::vector<double>& theirs) {
  double worst = 0;
  for (size_t i = 0; i < ours.size(); ++i)
    worst = std::max(worst, std::abs(ours[i] - theirs[i]));
  return worst;
}

TEST_CASE("the float path agrees with plain double loops, row by row") {
  for (const TinyShape& shape :
       {TinyShape{}, TinyShape{2, 40, 56, 5, 1, 8, 270, 512},
        TinyShape{1, 96, 64, 3, 3, 32, 261, 512},
        TinyShape{2, 64, 64, 7, 1, 24, 300, 512}}) {
    const TinyModel model(shape, 7);
    const auto ids = RandomIds(70, shape.vocab, 3);
    const auto reference = model.ReferenceLogits(ids);
    const auto engine = OpenTiny(model, Compute::kF32, 2, 16);
    const auto session = NewSession(*engine, ids.size(), 0, true);
    size_t rows_seen = 0;
    PrefillHooks hooks;
    hooks.on_logits = [&](size_t first, size_t rows, const float* logits) {
      REQUIRE(first == rows_seen);
      for (size_t row = 0; row < rows; ++row) {
        const float* line = logits + row * shape.vocab;
        CHECK(MaxDifference({line, line + shape.vocab},
                            reference[first + row]) < 2e-4);
      }
      rows_seen += rows;
    };
    REQUIRE(session->Prefill(ids, hooks).ok());
    CHECK(rows_seen == ids.size());
  }
}

TEST_CASE("decoding token by token agrees with plain double loops") {
  const TinyModel model(TinyShape{}, 11);
  const auto ids = RandomIds(60, 300, 5);
  const auto reference = model.ReferenceLogits(ids);
  const auto engine = OpenTiny(model, Compute::kF32);
  for (size_t prompt : {size_t{1}, size_t{2}, size_t{33}}) {
    const auto logits = Run(*engine, ids, prompt);
    for (size_t i = 0; i < logits.size(); ++i)
      CHECK(MaxDifference(logits[i], reference[prompt - 1 + i]) < 2e-4);
  }
}

TEST_CASE("the default path stays near the double reference") {
  const TinyModel model(TinyShape{}, 13);
  const auto ids = RandomIds(200, 300, 6);
  const auto reference = model.ReferenceLogits(ids);
  for (const char* gemm : {"auto", "highway"}) {
    const auto engine = OpenTiny(model, Compute::kDefault, 2, 0, gemm);
    const auto logits = Run(*engine, ids, 150);
    for (size_t i = 0; i < logits.size(); ++i)
      CHECK(MaxDifference(logits[i], reference[149 + i]) < 0.15);
  }
}

TEST_CASE("threads and tile size never change a bit of the result") {
  const TinyModel model(TinyShape{}, 17);
  const size_t prompt = Emulated() ? 120 : 290;
  const auto ids = RandomIds(prompt + 11, 300, 8);
  for (const Compute compute : {Compute::kDefault, Compute::kF32}) {
    for (const char* gemm : {"auto", "highway"}) {
      const auto expected =
          Run(*OpenTiny(model, compute, 1, 256, gemm), ids, prompt);
      for (const int threads : {1, 2, 3})
        for (const size_t tile : {size_t{16}, size_t{97}, size_t{400}})
          CHECK(Run(*OpenTiny(model, compute, threads, tile, gemm), ids,
                    prompt) == expected);
    }
  }
}

TEST_CASE("row logits of the last row equal the logits of a plain prefill") {
  const TinyModel model(TinyShape{}, 19);
  const auto ids = RandomIds(90, 300, 9);
  const auto engine = OpenTiny(model, Compute::kF32);
  const auto plain = Run(*engine, ids, ids.size());
  const auto session = NewSession(*engine, ids.size(), 0, true);
  std::vector<float> last;
  PrefillHooks hooks;
  hooks.logits_from = 40;
  hooks.on_logits = [&](size_t first, size_t rows, const float* logits) {
    CHECK(first >= 40);
    last.assign(logits + (rows - 1) * 300, logits + rows * 300);
  };
  REQUIRE(session->Prefill(ids, hooks).ok());
  REQUIRE(last.size() == 300);
  // The head runs through two kernels: equal up to float rounding.
  for (size_t i = 0; i < last.size(); ++i)
    CHECK(std::abs(last[i] - plain[0][i]) < 1e-5);
}

TEST_CASE("a session starts over when it is prefilled again") {
  const TinyModel model(TinyShape{}, 23);
  const auto ids = RandomIds(50, 300, 10);
  const auto engine = OpenTiny(model, Compute::kDefault);
  const auto session = NewSession(*engine, 50, 5);
  REQUIRE(session->Prefill(RandomIds(44, 300, 11), {}).ok());
  REQUIRE(session->Append(3).ok());
  REQUIRE(session->Prefill(ids, {}).ok());
  const std::vector<float> again(session->logits().begin(),
                                 session->logits().end());
  CHECK(again == Run(*engine, ids, 50)[0]);
}

TEST_CASE("nothing is allocated during prefill and decode") {
  const TinyModel model(TinyShape{}, 29);
  const auto ids = RandomIds(300, 300, 12);
  for (const Compute compute : {Compute::kDefault, Compute::kF32}) {
    for (const char* gemm : {"auto", "highway"}) {
      const auto engine = OpenTiny(model, compute, 2, 0, gemm);
      const auto session = NewSession(*engine, 300, 20);
      AllocationCounter counter;
      const Status prefilled = session->Prefill(ids, {});
      bool appended = true;
      for (TokenId id = 0; id < 20; ++id) appended &= session->Append(id).ok();
      const size_t allocations = counter.Stop();
      CHECK(prefilled.ok());
      CHECK(appended);
      if (AllocationCounter::Works()) CHECK(allocations == 0);
    }
  }
}

TEST_CASE("a trace names the phases of prefill and decode, changes nothing") {
  const TinyModel model(TinyShape{}, 29);
  const auto ids = RandomIds(300, 300, 12);
  const auto engine = OpenTiny(model, Compute::kDefault);
  SessionOptions options;
  options.prompt_tokens = 300;
  options.max_new_tokens = 2;
  EvictionOptions keep;
  keep.policy = "dapq";
  keep.keep = *KeepBudget::Parse("40");
  options.eviction = {keep};
  std::vector<float> logits[2];
  Trace trace;
  for (const bool traced : {false, true}) {
    options.trace = traced ? &trace : nullptr;
    const auto session = engine->NewSession(options);
    REQUIRE(session.ok());
    AllocationCounter counter;
    const Status prefilled = (*session)->Prefill(ids, {});
    const Status appended = (*session)->Append(5);
    const size_t allocations = counter.Stop();
    REQUIRE(prefilled.ok());
    REQUIRE(appended.ok());
    if (AllocationCounter::Works()) CHECK(allocations == 0);
    logits[traced].assign((*session)->logits().begin(),
                          (*session)->logits().end());
  }
  CHECK(logits[0] == logits[1]);
  CHECK(trace.overwritten() == 0);
  std::map<std::string, size_t> seen;
  uint64_t phases = 0, whole = 0;
  for (const Trace::Span& span : trace.Spans()) {
    const std::string name = span.name;
    ++seen[name];
    if (name == "prefill" || name == "token")
      whole += span.end_ns - span.begin_ns;
    else if (span.thread == 0 && name != "score" && name != "select" &&
             name != "compaction")
      phases += span.end_ns - span.begin_ns;
  }
  for (const char* name :
       {"prefill", "token", "repack", "qkv", "rope", "attention", "output",
        "gate up", "down", "score", "select", "compaction", "keep", "head"}) {
    CAPTURE(name);
    CHECK(seen[name] > 0);
  }
  CHECK(seen["repack"] == 3);      // layers
  CHECK(seen["compaction"] == 6);  // layers × heads
  CHECK(phases <= whole);
}

TEST_CASE("work counts the operations of a llama by hand") {
  const TinyModel model(TinyShape{}, 3);
  const auto engine = OpenTiny(model, Compute::kDefault);
  const ModelWork work = engine->Work(10);
  // q, k, v, o; gate, up, down of width 64, 32 wide keys and values, ffn 96.
  const double layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64;
  const double keys_values = 2 * 32 * 64;
  CHECK(work.linear_ops ==
        2 * (2 * layer * 10 + keys_values * 10 + (layer - keys_values) * 1));
  // 64 products and 64 sums a key twice over; 55 keys, in the last layer 10.
  CHECK(work.attention_ops == 4 * 64 * (55 + 55 + 10));
}

TEST_CASE("the arena is carved to the last byte of its plan") {
  const TinyModel model(TinyShape{}, 31);
  const auto engine = OpenTiny(model, Compute::kDefault);
  SessionOptions options;
  options.prompt_tokens = 400;
  options.max_new_tokens = 17;
  const auto plan = engine->Plan(options);
  REQUIRE(plan.ok());
  const auto session = engine->NewSession(options);
  REQUIRE(session.ok());
  REQUIRE(plan->fits());
  const MemoryPlan& planned = plan->Chosen().plan;
  CHECK((*session)->plan().ArenaBytes() == planned.ArenaBytes());
  // f16 keys and values of every layer, the one part known by heart.
  for (const MemoryPart& part : planned.parts)
    if (part.name == "KV cache")
      CHECK(part.bytes() == 3 * 2 * 2 * ((417 * 16 * 2 + 63) / 64 * 64));
}

TEST_CASE("bad requests get a status and leave the session usable") {
  const TinyModel model(TinyShape{}, 37);
  const auto engine = OpenTiny(model, Compute::kDefault);
  SessionOptions options;
  options.prompt_tokens = 513;
  const auto refused = engine->NewSession(options);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.status().code() == StatusCode::kDoesNotFit);
  CHECK(refused.status().message().find("513") != std::string::npos);
  CHECK(refused.status().message().find("512") != std::string::npos);
  options.beyond_context = true;
  CHECK(engine->NewSession(options).ok());
  options.prompt_tokens = SIZE_MAX / 3;
  CHECK(engine->Plan(options).status().code() == StatusCode::kDoesNotFit);

  const auto session = NewSession(*engine, 10, 2);
  CHECK(session->Append(1).code() == StatusCode::kInvalidArgument);
  CHECK_FALSE(session->Prefill({}, {}).ok());
  CHECK_FALSE(session->Prefill(RandomIds(11, 300, 1), {}).ok());
  CHECK_FALSE(session->Prefill(std::vector<TokenId>{1, 300}, {}).ok());
  CHECK_FALSE(session->Prefill(std::vector<TokenId>{-1}, {}).ok());
  REQUIRE(session->Prefill(std::vector<TokenId>{1, 2, 3}, {}).ok());
  CHECK(KeptTokens(*session) == std::vector<size_t>{3, 3, 3});
  CHECK_FALSE(session->Append(300).ok());
  CHECK(session->Append(4).ok());
  CHECK(session->Append(5).ok());
  CHECK(session->Append(6).code() == StatusCode::kDoesNotFit);
  CHECK(KeptTokens(*session) == std::vector<size_t>{3, 3, 3});
}

TEST_CASE("prefill reports progress up to its total, and can be cancelled") {
  const TinyModel model(TinyShape{}, 41);
  const auto engine = OpenTiny(model, Compute::kDefault, 2, 16);
  const auto session = NewSession(*engine, 100, 1);
  const auto ids = RandomIds(100, 300, 2);
  PrefillProgress last;
  std::atomic<bool> cancel = false;
  PrefillHooks hooks;
  hooks.cancel = &cancel;
  hooks.progress = [&](const PrefillProgress& progress) {
    CHECK(progress.done > last.done);
    last = progress;
  };
  REQUIRE(session->Prefill(ids, hooks).ok());
  CHECK(last.done == last.total);
  hooks.progress = [&](const PrefillProgress& progress) {
    if (progress.done > 100) cancel = true;
  };
  CHECK(session->Prefill(ids, hooks).code() == StatusCode::kCancelled);
  // A cancelled prompt leaves nothing to generate from.
  CHECK(session->Append(1).code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace dapple::test
