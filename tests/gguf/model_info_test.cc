#include "dapple/model_info.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "dapple/convert.h"
#include "test_files.h"

namespace dapple {
namespace {

using testing::Key;
using testing::RawGguf;
using testing::Str;
using testing::TempDir;
using testing::TestData;
using testing::U32;
using testing::U64;
using testing::WriteBytes;

Result<ModelInfo> InspectFixture(const std::string& name,
                                 const std::string& type) {
  const TempDir folder;
  ConvertOptions options;
  options.input_dir = TestData(name);
  options.output_path = folder / "x.gguf";
  options.type = type;
  const auto converted = Convert(options);
  if (!converted.ok()) return converted.status();
  return InspectModel(options.output_path);
}

TEST_CASE("a converted fixture is described by its own numbers") {
  const auto info = InspectFixture("mistral", "q8_0");
  REQUIRE_MESSAGE(info.ok(), info.status().message());
  CHECK(info->architecture == "llama");
  CHECK(info->name == "mistral");
  CHECK(info->gguf_version == 3);
  CHECK(info->context_length == 4096);
  CHECK(info->embedding_length == 64);
  CHECK(info->layers == 4);
  CHECK(info->heads == 4);
  CHECK(info->kv_heads == 2);
  CHECK(info->key_length == 32);
  CHECK(info->value_length == 32);
  CHECK(info->feed_forward_length == 160);
  CHECK(info->rope_dimensions == 32);
  CHECK(info->rope_base == 10000.0);
  CHECK(info->norm_epsilon == doctest::Approx(1e-6));
  CHECK_FALSE(info->tied_embeddings);
  CHECK_FALSE(info->has_rope_factors);
  CHECK(info->tokenizer.model == "llama");
  CHECK(info->tokenizer.vocab_size == 1024);
  CHECK(info->tokenizer.bos_id == 1u);
  CHECK(info->tokenizer.eos_id == 2u);
  CHECK(info->tokenizer.pad_id == 0u);
  // layers × KV heads × (32 + 32) × 2 bytes
  CHECK(info->kv_bytes_per_token == 4 * 2 * 64 * 2);
  CHECK(info->obstacles.empty());

  // 2 × 1024·64 + 4 layers of (q 128·64, k v 64·64, o 64·128, 3 × 160·64)
  const uint64_t matrices = 2 * 65536 + 4 * (8192 + 2 * 4096 + 8192 + 30720);
  const uint64_t vectors = 9 * 64;
  CHECK(info->parameters == matrices + vectors);
  REQUIRE(info->types.size() == 2);
  CHECK(info->types[0].type == "q8_0");
  CHECK(info->types[0].tensors == 30);
  CHECK(info->types[0].elements == matrices);
  CHECK(info->types[0].bytes == matrices / 32 * 34);
  CHECK(info->types[1].type == "f32");
  CHECK(info->types[1].bytes == vectors * 4);
  CHECK(info->tensor_bytes == info->types[0].bytes + info->types[1].bytes);
  CHECK(info->tensors.size() == 39);
  CHECK(info->tensors[0].name == "token_embd.weight");
  CHECK(info->tensors[0].dims == std::vector<uint64_t>{64, 1024});
}

TEST_CASE("tied embeddings and scaled rope are seen") {
  const auto tied = InspectFixture("llama", "f16");
  REQUIRE(tied.ok());
  CHECK(tied->tied_embeddings);
  CHECK(tied->key_length == 16);  // no key says so: 64 / 4
  const auto scaled = InspectFixture("llama3-rope", "f16");
  REQUIRE(scaled.ok());
  CHECK(scaled->has_rope_factors);
  CHECK_FALSE(scaled->tied_embeddings);
}

Result<ModelInfo> InspectKeys(const std::vector<std::string>& keys) {
  const TempDir folder;
  RawGguf raw;
  raw.keys = keys;
  return InspectModel(WriteBytes(folder / "x.gguf", raw.Bytes()));
}

TEST_CASE("a head count a layer is summed") {
  const auto info =
      InspectKeys({Key("general.architecture", 8, Str("odd")),
                   Key("odd.block_count", 4, U32(3)),
                   Key("odd.embedding_length", 4, U32(64)),
                   Key("odd.attention.head_count", 4, U32(4)),
                   Key("odd.attention.head_count_kv", 9,
                       U32(5) + U64(3) + U32(1) + U32(0) + U32(4))});
  REQUIRE_MESSAGE(info.ok(), info.status().message());
  CHECK(info->kv_heads == 4);
  CHECK(info->kv_bytes_per_token == (1 + 0 + 4) * (16 + 16) * 2);
}

TEST_CASE("what stands in the way of running a file is listed") {
  const auto foreign =
      InspectKeys({Key("general.architecture", 8, Str("ma\x1bmba")),
                   Key("tokenizer.ggml.model", 8, Str("bert"))});
  REQUIRE(foreign.ok());
  REQUIRE(foreign->obstacles.size() == 2);
  CHECK(foreign->obstacles[0] ==
        "architecture 'ma?mba' is not supported (supported: llama, qwen2, "
        "qwen3, gemma2, gemma3, phi3, smollm3)");
  CHECK(foreign->obstacles[1].find("'bert'") != std::string::npos);

  const auto bare = InspectKeys({});
  REQUIRE(bare.ok());
  CHECK(bare->obstacles.size() == 2);

  const auto hollow = InspectKeys({
      Key("general.architecture", 8, Str("llama")),
      Key("tokenizer.ggml.model", 8, Str("llama")),
      Key("llama.block_count", 10, U64(UINT64_MAX)),
      Key("llama.attention.head_count", 4, U32(7)),
      Key("llama.rope.scaling.type", 8, Str("dynamic")),
  });
  REQUIRE(hollow.ok());
  std::string all;
  for (const std::string& obstacle : hollow->obstacles) all += obstacle + "\n";
  CAPTURE(all);
  CHECK(all.find("'llama.embedding_length' is missing") != std::string::npos);
  CHECK(all.find("'dynamic'") != std::string::npos);
  CHECK(all.find("'token_embd.weight' is missing") != std::string::npos);
}

TEST_CASE("how words are cut can stand in the way, too") {
  const auto obstacles = [](const char* model, const char* pre) {
    std::vector<std::string> keys = {
        Key("general.architecture", 8, Str("llama")),
        Key("tokenizer.ggml.model", 8, Str(model))};
    if (*pre != 0) keys.push_back(Key("tokenizer.ggml.pre", 8, Str(pre)));
    const auto info = InspectKeys(keys);
    REQUIRE(info.ok());
    std::string all;
    for (const std::string& line : info->obstacles) all += line + "\n";
    return all;
  };
  CHECK(obstacles("gpt2", "mystery")
            .find("pre-tokenizer 'mystery' (tokenizer.ggml.pre) is not "
                  "supported\n") != std::string::npos);
  CHECK(obstacles("gpt2", "").find("is missing): convert") !=
        std::string::npos);
  CHECK(obstacles("gpt2", "default").find("\"default\"): convert") !=
        std::string::npos);
  CHECK(obstacles("gpt2", "qwen2").find("tokenizer") == std::string::npos);
  // sentencepiece has no such
  CHECK(obstacles("llama", "mystery").find("mystery") == std::string::npos);
}

TEST_CASE("keys of a wrong type are an error, not a guess") {
  const auto info = InspectKeys({Key("general.architecture", 4, U32(1))});
  REQUIRE_FALSE(info.ok());
  CHECK(info.status().message().find("'general.architecture'") !=
        std::string::npos);
  CHECK_FALSE(InspectKeys({Key("general.architecture", 8, Str("llama")),
                           Key("llama.block_count", 6, U32(1))})
                  .ok());
  CHECK_FALSE(InspectKeys({Key("general.architecture", 8, Str("llama")),
                           Key("llama.attention.head_count_kv", 9,
                               U32(5) + U64(1) + U32(~0u))})
                  .ok());
}

}  // namespace
}  // namespace dapple
