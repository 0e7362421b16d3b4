#include "convert/hf_config.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "test_files.h"

namespace dapple {
namespace {

using nlohmann::json;
using testing::TempDir;
using testing::TestData;
using testing::WriteBytes;

json Minimal() {
  return {{"model_type", "llama"},
          {"vocab_size", 100},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"intermediate_size", 96},
          {"max_position_embeddings", 512}};
}

Result<HfConfig> ReadJson(const json& object) {
  const TempDir folder;
  return HfConfig::Read(WriteBytes(folder / "config.json", object.dump()));
}

TEST_CASE("a configuration that says little gets the format's defaults") {
  const auto config = ReadJson(Minimal());
  REQUIRE_MESSAGE(config.ok(), config.status().message());
  CHECK(config->kv_heads == 4);
  CHECK(config->head_dim == 16);
  CHECK(config->rope.theta == 10000.0);
  CHECK_FALSE(config->tied_embeddings);
  CHECK_FALSE(config->sliding_window.has_value());
  CHECK_FALSE(config->bos_id.has_value());
  CHECK(config->rope.Llama3Factors(16).empty());
}

TEST_CASE("rope is read from old and new places") {
  json old_style = Minimal();
  old_style["rope_theta"] = 5e5;
  old_style["rope_scaling"] = {{"type", "llama3"},
                               {"factor", 8},
                               {"low_freq_factor", 1},
                               {"high_freq_factor", 4},
                               {"original_max_position_embeddings", 8192}};
  json new_style = Minimal();
  new_style["rope_parameters"] = old_style["rope_scaling"];
  new_style["rope_parameters"].erase("type");
  new_style["rope_parameters"]["rope_type"] = "llama3";
  new_style["rope_parameters"]["rope_theta"] = 5e5;
  const auto a = ReadJson(old_style);
  const auto b = ReadJson(new_style);
  REQUIRE_MESSAGE(a.ok(), a.status().message());
  REQUIRE_MESSAGE(b.ok(), b.status().message());
  CHECK(a->rope.theta == 5e5);
  CHECK(b->rope.theta == 5e5);
  CHECK(a->rope.Llama3Factors(16) == b->rope.Llama3Factors(16));
  CHECK(a->rope.Llama3Factors(16).size() == 8);
}

// The definition in the wording of the reference implementation: wavelengths.
TEST_CASE("llama-3 rope factors equal the published formula") {
  const auto config = HfConfig::Read(TestData("llama3-rope/config.json"));
  REQUIRE_MESSAGE(config.ok(), config.status().message());
  const std::vector<float> factors = config->rope.Llama3Factors(16);
  REQUIRE(factors.size() == 8);
  const double context = 8192;
  const double factor = 32;
  bool seen[3] = {};
  for (size_t i = 0; i < factors.size(); ++i) {
    const double frequency =
        std::pow(500000.0, -2.0 * static_cast<double>(i) / 16.0);
    const double wavelength = 2 * 3.14159265358979323846 / frequency;
    double scaled = frequency;
    int kind = 0;
    if (wavelength > context / 1.0) {
      scaled = frequency / factor;
      kind = 1;
    } else if (wavelength >= context / 4.0) {
      const double smooth = (context / wavelength - 1.0) / (4.0 - 1.0);
      scaled = (1 - smooth) * frequency / factor + smooth * frequency;
      kind = 2;
    }
    seen[kind] = true;
    CHECK(frequency / factors[i] == doctest::Approx(scaled).epsilon(1e-6));
  }
  CHECK(seen[0]);
  CHECK(seen[1]);
  CHECK(seen[2]);  // all three branches of the formula
}

TEST_CASE("token ids may be one or a list") {
  json object = Minimal();
  object["bos_token_id"] = 1;
  object["eos_token_id"] = {7, 8};
  object["pad_token_id"] = nullptr;
  const auto config = ReadJson(object);
  REQUIRE(config.ok());
  CHECK(config->bos_id == 1u);
  CHECK(config->eos_id == 7u);
  CHECK_FALSE(config->pad_id.has_value());
}

TEST_CASE("each family's own defaults hold where the file is silent") {
  json object = Minimal();
  object["model_type"] = "gemma2";
  const auto gemma2 = ReadJson(object);
  REQUIRE_MESSAGE(gemma2.ok(), gemma2.status().message());
  CHECK(gemma2->head_dim == 256);
  CHECK(gemma2->tied_embeddings);
  CHECK(gemma2->sliding_window == 4096u);
  CHECK(gemma2->attention_softcap == 50.0);
  CHECK(gemma2->logit_softcap == 30.0);
  CHECK(gemma2->query_factor == 1.0);
  object["query_pre_attn_scalar"] = 64;
  object["attn_logit_softcapping"] = nullptr;
  const auto scaled = ReadJson(object);
  REQUIRE(scaled.ok());
  CHECK(scaled->query_factor == 2.0);
  CHECK(scaled->attention_softcap == 0.0);
  // The one size that GGUF readers know to scale by the width a head.
  object["num_hidden_layers"] = 46;
  const auto wide = ReadJson(object);
  REQUIRE(wide.ok());
  CHECK(wide->query_factor == doctest::Approx(0.5));

  object = Minimal();
  object["model_type"] = "qwen3";
  object["sliding_window"] = 100;  // without use_sliding_window
  const auto qwen3 = ReadJson(object);
  REQUIRE(qwen3.ok());
  CHECK(qwen3->head_dim == 128);
  CHECK_FALSE(qwen3->tied_embeddings);
  CHECK_FALSE(qwen3->sliding_window.has_value());
}

TEST_CASE("Gemma 3 is read alone and as a part of a model with images") {
  json text = Minimal();
  text["model_type"] = "gemma3_text";
  text["rope_local_base_freq"] = 5e3;
  text["rope_scaling"] = {{"factor", 8.0}, {"rope_type", "linear"}};
  const auto alone = ReadJson(text);
  REQUIRE_MESSAGE(alone.ok(), alone.status().message());
  CHECK_FALSE(alone->nested);
  CHECK(alone->rope.theta == 1e6);
  CHECK(alone->rope.local_theta == 5e3);
  CHECK(alone->rope.factor == 8.0);
  text.erase("vocab_size");
  const auto part = ReadJson({{"model_type", "gemma3"}, {"text_config", text}});
  REQUIRE_MESSAGE(part.ok(), part.status().message());
  CHECK(part->nested);
  CHECK(part->vocab_size == 262208);
}

TEST_CASE("longrope and yarn are read with their attention factors") {
  json object = Minimal();
  object["model_type"] = "phi3";
  object["max_position_embeddings"] = 131072;
  object["original_max_position_embeddings"] = 4096;
  object["rope_scaling"] = {{"type", "longrope"},
                            {"short_factor", {1, 1, 1, 1, 1, 1, 1, 2}},
                            {"long_factor", {1, 2, 3, 4, 5, 6, 7, 8}}};
  const auto phi3 = ReadJson(object);
  REQUIRE_MESSAGE(phi3.ok(), phi3.status().message());
  CHECK(phi3->rope.long_factors.size() == 8);
  // sqrt(1 + ln 32 / ln 4096)
  CHECK(phi3->rope.attention_factor == doctest::Approx(1.19023807));
  object["rope_scaling"]["long_factor"] = {1, 2};
  CHECK_FALSE(ReadJson(object).ok());

  object = Minimal();
  object["rope_scaling"] = {{"rope_type", "yarn"},
                            {"factor", 4.0},
                            {"original_max_position_embeddings", 256}};
  const auto yarn = ReadJson(object);
  REQUIRE(yarn.ok());
  CHECK(yarn->rope.original_context == 256);
  CHECK(yarn->rope.attention_factor == 1.0);
  object["rope_scaling"]["attention_factor"] = 2 * (0.1 * std::log(4.0) + 1);
  CHECK(ReadJson(object)->rope.attention_factor == doctest::Approx(2.0));
}

TEST_CASE("configurations that would convert wrongly are refused by name") {
  struct Lie {
    const char* says;
    const char* key;
    json value;
    StatusCode code = StatusCode::kCorrupt;
  };
  const StatusCode unsupported = StatusCode::kUnsupported;
  const std::vector<Lie> lies = {
      {"'model_type' is missing", "model_type", nullptr},
      {"'qwen9'", "model_type", "qwen9", unsupported},
      {"'model_type' is not a string", "model_type", 3},
      {"'vocab_size' is missing", "vocab_size", nullptr},
      {"'hidden_size' is 0", "hidden_size", 0},
      {"'hidden_size' is not a non-negative", "hidden_size", -64},
      {"'hidden_size' is not a non-negative", "hidden_size", 64.5},
      {"'num_hidden_layers' is 99999999999", "num_hidden_layers", 99999999999},
      {"does not divide", "num_key_value_heads", 3},
      {"'head_dim' is missing", "hidden_size", 66},
      {"'head_dim' is odd", "head_dim", 15},
      {"'rms_norm_eps' is not a positive", "rms_norm_eps", -1.0},
      {"'rope_theta' is not a positive", "rope_theta", 0},
      {"'rope_theta' is not a number", "rope_theta", "1e4"},
      {"'sliding_window' is 0", "sliding_window", 0},
      {"'tie_word_embeddings' is neither", "tie_word_embeddings", 1},
      {"'eos_token_id' is not a token id", "eos_token_id", json::array()},
      {"'attention_bias'", "attention_bias", true, unsupported},
      {"'mlp_bias'", "mlp_bias", true, unsupported},
      {"'gelu'", "hidden_act", "gelu", unsupported},
      {"'partial_rotary_factor'", "partial_rotary_factor", 0.5, unsupported},
      {"already quantized", "quantization_config", json::object(), unsupported},
      {"'dynamic'", "rope_scaling", {{"rope_type", "dynamic"}}, unsupported},
      {"'rope_scaling' is not an object", "rope_scaling", 4},
      {"'layer_types' of layer 1",
       "layer_types",
       {"full_attention", "sliding_attention"},
       unsupported},
      {"'use_bidirectional_attention'", "use_bidirectional_attention", true,
       unsupported},
      {"'final_logit_softcapping'", "final_logit_softcapping", 30.0,
       unsupported},
      {"differs by layer",
       "rope_parameters",
       {{"full_attention", {{"rope_theta", 1e4}}}},
       unsupported},
      {"high_freq_factor",
       "rope_scaling",
       {{"rope_type", "llama3"},
        {"low_freq_factor", 4},
        {"high_freq_factor", 4}}},
  };
  for (const Lie& lie : lies) {
    CAPTURE(std::string(lie.says));
    json object = Minimal();
    object[lie.key] = lie.value;
    const auto config = ReadJson(object);
    REQUIRE_FALSE(config.ok());
    CAPTURE(config.status().message());
    CHECK(config.status().code() == lie.code);
    CHECK(config.status().message().find(lie.says) != std::string::npos);
    CHECK(config.status().message().find("config.json") != std::string::npos);
  }
}

}  // namespace
}  // namespace dapple
