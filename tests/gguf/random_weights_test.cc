#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "dapple/convert.h"
#include "gguf/gguf_file.h"
#include "gguf/quantize.h"
#include "test_files.h"

namespace dapple {
namespace {

using nlohmann::json;
using testing::ReadBytes;
using testing::TempDir;
using testing::WriteBytes;

json Shape(const char* type) {
  return {{"model_type", type},
          {"vocab_size", 2000},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 24},
          {"intermediate_size", 96},
          {"max_position_embeddings", 512},
          {"hidden_activation", nullptr}};
}

struct Made {
  TempDir folder;
  Result<ConvertResult> result = Internal("not run");
  std::string path() const { return folder / "out.gguf"; }

  explicit Made(const json& config, const std::string& type = "q8_0",
                bool as_folder = false) {
    ConvertOptions options;
    options.input_dir = WriteBytes(folder / "config.json", config.dump());
    if (as_folder) options.input_dir = folder.path();
    options.output_path = path();
    options.type = type;
    options.random_weights = true;
    result = Convert(options);
  }
};

TEST_CASE("random weights have the shape that config.json describes") {
  const Made made(Shape("qwen2"), "q4_0");
  REQUIRE_MESSAGE(made.result.ok(), made.result.status().message());
  const auto file = GgufFile::Open(made.path());
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  CHECK(*file->String("general.architecture").value() == "qwen2");
  CHECK(*file->Uint("qwen2.attention.key_length").value() == 24);
  const struct {
    const char* name;
    std::vector<uint64_t> dims;
    TensorType type;
  } tensors[] = {
      {"token_embd.weight", {64, 2000}, TensorType::kQ4_0},
      {"output.weight", {64, 2000}, TensorType::kQ8_0},
      {"blk.1.attn_q.weight", {64, 96}, TensorType::kQ4_0},
      {"blk.1.attn_k.weight", {64, 48}, TensorType::kQ4_0},
      {"blk.0.attn_k.bias", {48}, TensorType::kF32},
      {"blk.1.ffn_down.weight", {96, 64}, TensorType::kQ4_0},
  };
  for (const auto& wanted : tensors) {
    CAPTURE(std::string(wanted.name));
    const GgufTensor* tensor = file->FindTensor(wanted.name);
    REQUIRE(tensor != nullptr);
    CHECK(std::vector<uint64_t>(
              tensor->dims, tensor->dims + tensor->dim_count) == wanted.dims);
    CHECK(tensor->type == wanted.type);
  }
}

TEST_CASE("random matrices keep the size of what they multiply") {
  const Made made(Shape("llama"), "f32");
  REQUIRE(made.result.ok());
  const auto file = GgufFile::Open(made.path());
  REQUIRE(file.ok());
  for (const char* name : {"blk.0.attn_q.weight", "blk.1.ffn_down.weight"}) {
    const GgufTensor* tensor = file->FindTensor(name);
    REQUIRE(tensor != nullptr);
    std::vector<float> values(tensor->elements());
    DecodeRow(tensor->type, tensor->data, values);
    double squares = 0, sum = 0;
    for (const float value : values) {
      squares += double{value} * value;
      sum += value;
    }
    const double count = static_cast<double>(values.size());
    // Variance 1 / columns: a unit vector in, values of size 1 / sqrt(rows).
    CHECK(squares / count * static_cast<double>(tensor->dims[0]) ==
          doctest::Approx(1.0).epsilon(0.05));
    CHECK(std::fabs(sum / count) < 0.01);
  }
  // Two matrices of one shape differ.
  const GgufTensor* a = file->FindTensor("blk.0.attn_q.weight");
  const GgufTensor* b = file->FindTensor("blk.1.attn_q.weight");
  CHECK_FALSE(std::ranges::equal(a->data, b->data));
}

TEST_CASE("a file of random weights can be made again, from file or folder") {
  const Made a(Shape("llama"));
  const Made b(Shape("llama"), "q8_0", /*as_folder=*/true);
  REQUIRE(a.result.ok());
  REQUIRE(b.result.ok());
  const std::string left = ReadBytes(a.path()), right = ReadBytes(b.path());
  // The name comes from the path: only that may differ.
  CHECK(left.substr(left.size() / 2) == right.substr(right.size() / 2));
}

TEST_CASE("the made-up vocabulary has unique pieces and every byte") {
  for (const int size : {512, 2000, 40000}) {
    json config = Shape("llama");
    config["vocab_size"] = size;
    const Made made(config);
    REQUIRE_MESSAGE(made.result.ok(), made.result.status().message());
    const auto file = GgufFile::Open(made.path());
    REQUIRE(file.ok());
    const auto tokens = file->Strings("tokenizer.ggml.tokens");
    REQUIRE(tokens.ok());
    REQUIRE((*tokens)->size() == static_cast<size_t>(size));
    const std::set<std::string> unique((*tokens)->begin(), (*tokens)->end());
    CHECK(unique.size() == static_cast<size_t>(size));
    CHECK(unique.contains("<0x00>"));
    CHECK(unique.contains("<0xFF>"));
    CHECK(unique.contains("~"));
  }
}

TEST_CASE("shapes beyond any model are refused before a byte is written") {
  const std::pair<const char*, uint64_t> sizes[] = {
      {"vocab_size", 100},
      {"vocab_size", 1u << 30},
      {"hidden_size", 1u << 30},
      {"num_hidden_layers", 100000},
      {"intermediate_size", 1u << 30}};
  for (const auto& [key, value] : sizes) {
    json config = Shape("llama");
    config[key] = value;
    config["head_dim"] = 24;
    const Made made(config);
    REQUIRE_FALSE(made.result.ok());
    CHECK(made.result.status().message().find(key) != std::string::npos);
    CHECK(made.result.status().message().find("config.json") !=
          std::string::npos);
    CHECK_FALSE(GgufFile::Open(made.path()).ok());
  }
}

}  // namespace
}  // namespace dapple
