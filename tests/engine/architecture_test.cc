// Every architecture against plain double loops, with and without eviction.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "../emulated.h"
#include "dapple/engine.h"
#include "eviction_reference.h"
#include "tiny_model.h"

namespace dapple::test {
namespace {

TinyShape ShapeOf(const std::string& architecture, size_t window = 0) {
  TinyShape shape;
  shape.architecture = architecture;
  shape.window = window;
  // Every kind of layer; what is repeated costs an emulator most of its time.
  shape.layers = shape.Is("gemma3")                   ? 7
                 : shape.Is("smollm3") || !Emulated() ? 4
                                                      : 2;
  shape.vocab = 280;
  return shape;
}

// Llama 3's frequencies.
TinyShape Llama3() {
  TinyShape shape = ShapeOf("llama");
  shape.rope_factors = true;
  return shape;
}

// Phi-4-mini's heads, of which three quarters rotate.
TinyShape PartlyRotated() {
  TinyShape shape = ShapeOf("phi3");
  shape.rope_dims = 12;
  return shape;
}

// Phi-3.5-mini's LongRoPE, beyond its original context, and Phi-3's window.
TinyShape LongRope(size_t window) {
  TinyShape shape = ShapeOf("phi3", window);
  shape.original_context = 32;
  return shape;
}

// One of each; a llama with a window is Mistral v0.1.
std::vector<TinyShape> Shapes(size_t window) {
  return {ShapeOf("llama"),
          ShapeOf("llama", window),
          Llama3(),
          ShapeOf("qwen2"),
          ShapeOf("qwen3"),
          ShapeOf("gemma2", window),
          ShapeOf("gemma3", window),
          PartlyRotated(),
          LongRope(window),
          ShapeOf("smollm3")};
}

double MaxDifference(std::span<const float> ours,
                     const std::vector<double>& theirs) {
  double worst = 0;
  for (size_t i = 0; i < ours.size(); ++i)
    worst = std::max(worst, std::abs(ours[i] - theirs[i]));
  return worst;
}

TEST_CASE("each architecture agrees with plain double loops, row by row") {
  for (const TinyShape& shape : Shapes(23)) {
    CAPTURE(shape.architecture);
    CAPTURE(shape.window);
    const TinyModel model(shape, 7);
    const auto ids = RandomIds(90, shape.vocab, 3);
    const auto reference = model.ReferenceLogits(ids);
    const auto engine = OpenTiny(model, Compute::kF32, 2, 16);
    SessionOptions options;
    options.prompt_tokens = ids.size();
    options.row_logits = true;
    const auto session = engine->NewSession(options);
    REQUIRE_MESSAGE(session.ok(), session.status().message());
    double worst = 0;
    PrefillHooks hooks;
    hooks.on_logits = [&](size_t first, size_t rows, const float* logits) {
      for (size_t row = 0; row < rows; ++row)
        worst = std::max(
            worst, MaxDifference({logits + row * shape.vocab, shape.vocab},
                                 reference[first + row]));
    };
    REQUIRE((*session)->Prefill(ids, hooks).ok());
    CHECK(worst < 5e-4);
  }
}

TEST_CASE("each architecture decodes as it prefills, beyond its window") {
  for (const TinyShape& shape : Shapes(23)) {
    CAPTURE(shape.architecture);
    CAPTURE(shape.window);
    const TinyModel model(shape, 11);
    const auto ids = RandomIds(80, shape.vocab, 5);
    const auto reference = model.ReferenceLogits(ids);
    for (const Compute compute : {Compute::kF32, Compute::kDefault}) {
      const auto engine = OpenTiny(model, compute, 1);
      // Shorter than, as long as, and longer than the window.
      for (const size_t prompt :
           {size_t{3}, size_t{22}, size_t{23}, size_t{24}, size_t{50}}) {
        CAPTURE(prompt);
        const auto session =
            NewSession(*engine, prompt, {}, ids.size() - prompt);
        REQUIRE(session->Prefill(std::span(ids).first(prompt), {}).ok());
        double worst = MaxDifference(session->logits(), reference[prompt - 1]);
        for (size_t i = prompt; i < ids.size(); ++i) {
          REQUIRE(session->Append(ids[i]).ok());
          worst =
              std::max(worst, MaxDifference(session->logits(), reference[i]));
        }
        CHECK(worst < (compute == Compute::kF32 ? 5e-4 : 0.3));
      }
    }
  }
}

TEST_CASE("files that would be computed wrongly are refused in one line") {
  struct Lie {
    const char* says;
    TinyShape shape;
  };
  const auto number = [](const char* architecture, const char* key,
                         uint32_t value) {
    TinyShape shape = ShapeOf(architecture, 23);
    shape.extra_numbers = {{key, value}};
    return shape;
  };
  const auto text = [](const char* key, const char* value) {
    TinyShape shape = ShapeOf("llama");
    shape.extra_texts = {{key, value}};
    return shape;
  };
  const auto tensor = [](const char* name) {
    TinyShape shape = ShapeOf("llama");
    shape.extra_tensor = name;
    return shape;
  };
  const Lie lies[] = {
      {"architecture 'mamba' is not supported (supported: llama, qwen2",
       ShapeOf("mamba")},
      {"mixture-of-experts", number("llama", "expert_count", 8)},
      {"RoPE scaling 'dynamic' is not supported",
       text("rope.scaling.type", "dynamic")},
      {"yarn RoPE scaling needs llama.rope.scaling.factor",
       text("rope.scaling.type", "yarn")},
      {"sliding window pattern of 4",
       number("gemma3", "attention.sliding_window_pattern", 4)},
      {"gemma3.attention.sliding_window is missing", ShapeOf("gemma3")},
      {"tensor 'blk.0.attn_output.bias' is not one that Dapple knows",
       tensor("blk.0.attn_output.bias")},
      {"tensor 'blk.1.ffn_gate_inp.weight'",
       tensor("blk.1.ffn_gate_inp.weight")},
  };
  for (const Lie& lie : lies) {
    CAPTURE(std::string(lie.says));
    const TinyModel model(lie.shape);
    EngineOptions options;
    options.model_path = model.path();
    const auto engine = Engine::Open(options);
    REQUIRE_FALSE(engine.ok());
    const std::string& message = engine.status().message();
    CAPTURE(message);
    CHECK(message.starts_with(model.path()));
    CHECK(message.find(lie.says) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
}

// A layer with a window: the choice among the keys that the next token sees.
std::vector<uint32_t> ChooseSeen(const std::vector<double>& scores,
                                 size_t window, size_t keep, size_t first,
                                 size_t last, size_t pool) {
  const size_t length = scores.size();
  const size_t begin = window == 0 || length < window ? 0 : length + 1 - window;
  const std::vector<double> seen(scores.begin() + static_cast<long>(begin),
                                 scores.end());
  keep = std::min(keep, seen.size());
  last = std::min(last, keep);
  std::vector<uint32_t> kept =
      Choose(seen, keep, std::min(first, keep - last), last, pool);
  for (uint32_t& key : kept) key += static_cast<uint32_t>(begin);
  return kept;
}

TEST_CASE("policies keep what the reference says, with windows and caps") {
  constexpr size_t kPrompt = 101;
  for (const TinyShape& shape : Shapes(40)) {
    CAPTURE(shape.architecture);
    CAPTURE(shape.window);
    const TinyModel model(shape, 43);
    const auto ids = RandomIds(kPrompt, shape.vocab, 14);
    auto with_probe = ids;
    with_probe.insert(with_probe.end(), ids.begin(), ids.begin() + 4);
    with_probe.insert(with_probe.end(), ids.end() - (kProbe - 4), ids.end());
    std::vector<TinyModel::LayerTrace> trace;
    model.ReferenceLogits(with_probe, &trace);
    const auto engine = OpenTiny(model, Compute::kF32, 2, 32);
    // More and fewer keys than a window has.
    for (const size_t keep : {size_t{20}, size_t{60}}) {
      CAPTURE(keep);
      const auto run = [&](const char* policy) {
        const auto session = NewSession(
            *engine, kPrompt, {Eviction(policy, std::to_string(keep))});
        return Prefill(*session, ids, 1).kept[0];
      };
      const auto reference = [&](size_t first_row, size_t rows, size_t last,
                                 size_t pool) {
        std::map<Key, std::vector<uint32_t>> kept;
        for (size_t layer = 0; layer < shape.layers; ++layer)
          for (size_t head = 0; head < shape.kv_heads; ++head)
            kept[{layer, head}] =
                ChooseSeen(MeanAttention(trace[layer], shape, head, first_row,
                                         rows, kPrompt),
                           trace[layer].window, keep, 0, last, pool);
        return kept;
      };
      CheckAgrees(run("dapq"), reference(kPrompt, kProbe, 0, 7));
      CheckAgrees(run("snapkv"), reference(kPrompt - 8, 8, 8, 7));
      CheckAgrees(run("tova"), reference(kPrompt - 1, 1, 1, 1));
      CheckAgrees(run("h2o"), reference(0, kPrompt, keep / 2, 1));
    }
  }
}

TEST_CASE("layers with a window retain no more than their window") {
  const TinyShape shape = ShapeOf("gemma3", 40);
  const TinyModel model(shape, 5);
  const auto ids = RandomIds(200, shape.vocab, 1);
  const auto engine = OpenTiny(model, Compute::kDefault);
  const auto session = NewSession(*engine, ids.size(), {});
  REQUIRE(session->Prefill(ids, {}).ok());
  const KeptReport kept = session->Kept();
  REQUIRE(kept.layers.size() == 7);
  for (size_t layer = 0; layer < 7; ++layer) {
    CHECK(kept.layers[layer].max_kept == (layer == 5 ? 200 : 39));
    CHECK(kept.layers[layer].coverage == 1.0);
  }
}

// The prompt's logits and those after each further token, all in one row.
std::vector<float> Logits(Engine& engine, const std::vector<TokenId>& ids,
                          size_t prompt, const std::string& keep,
                          Schedule schedule, size_t chunk) {
  SessionOptions options;
  options.prompt_tokens = prompt;
  options.max_new_tokens = ids.size() - prompt;
  options.memory.schedule = schedule;
  options.memory.chunk_tokens = chunk;
  options.eviction = {Eviction("dapq", keep)};
  const auto session = engine.NewSession(options);
  REQUIRE_MESSAGE(session.ok(), session.status().message());
  REQUIRE((*session)->planned().schedule == schedule);
  REQUIRE((*session)->Prefill(std::span(ids).first(prompt), {}).ok());
  std::vector<float> logits;
  for (size_t i = prompt; i <= ids.size(); ++i) {
    logits.insert(logits.end(), (*session)->logits().begin(),
                  (*session)->logits().end());
    if (i < ids.size()) REQUIRE((*session)->Append(ids[i]).ok());
  }
  return logits;
}

TEST_CASE("streaming that drops nothing sees what the whole prompt sees") {
  for (const TinyShape& shape : Shapes(23)) {
    CAPTURE(shape.architecture);
    CAPTURE(shape.window);
    const TinyModel model(shape, 13);
    const auto ids = RandomIds(120, shape.vocab, 2);
    const auto engine = OpenTiny(model, Compute::kDefault, 1);
    // Layers without a window keep every key. With one in every layer, a
    // budget that covers it is enough.
    const bool every_layer = shape.window != 0 && !shape.gemma();
    const std::string keep = every_layer ? "22" : "1000";
    const auto exact =
        Logits(*engine, ids, 100, "1000", Schedule::kExact, 1024);
    for (const size_t chunk : {size_t{10}, size_t{33}, size_t{64}}) {
      CAPTURE(chunk);
      const auto streamed =
          Logits(*engine, ids, 100, keep, Schedule::kStreaming, chunk);
      REQUIRE(streamed.size() == exact.size());
      double worst = 0;
      for (size_t i = 0; i < exact.size(); ++i)
        worst = std::max(worst, std::abs(double{exact[i]} - streamed[i]));
      // Blocks of keys begin elsewhere, so bf16 sums differ in the last bits.
      CHECK(worst < 0.06);
    }
  }
}

TEST_CASE("every policy runs on every architecture, and repeats itself") {
  for (const TinyShape& shape : Shapes(23)) {
    const TinyModel model(shape, 43);
    const auto ids = RandomIds(Emulated() ? 40 : 101, shape.vocab, 14);
    const auto engine = OpenTiny(model, Compute::kDefault, 1);
    for (const std::string& policy : EvictionPolicies()) {
      CAPTURE(shape.architecture);
      CAPTURE(shape.window);
      CAPTURE(policy);
      const auto run = [&] {
        const auto session =
            NewSession(*engine, ids.size(), {Eviction(policy, "12")}, 26);
        REQUIRE(session->Prefill(ids, {}).ok());
        std::vector<float> logits;
        for (TokenId id = 0; id < 26; ++id) {
          logits.insert(logits.end(), session->logits().begin(),
                        session->logits().end());
          REQUIRE(session->Append(id).ok());
        }
        return logits;
      };
      const std::vector<float> logits = run();
      CHECK(std::ranges::all_of(logits,
                                [](float x) { return std::isfinite(x); }));
      if (!Emulated() || policy == "dapq") CHECK(run() == logits);
    }
  }
}

}  // namespace
}  // namespace dapple::test
