#include "dapple/convert.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "convert/safetensors.h"
#include "converted.h"
#include "gguf/gguf_file.h"
#include "gguf/quantize.h"
#include "model_folder.h"
#include "test_files.h"

namespace dapple {
namespace {

using nlohmann::json;
using testing::Converted;
using testing::ModelFolder;
using testing::ReadBytes;
using testing::TestData;

std::vector<float> Floats(const GgufTensor& tensor) {
  std::vector<float> out(tensor.elements());
  DecodeRow(tensor.type, tensor.data, out);
  return out;
}

// A bf16 tensor of the checkpoint, decoded without the code under test.
std::vector<float> SourceFloats(const Checkpoint& checkpoint,
                                const std::string& name) {
  const Checkpoint::Entry* entry = checkpoint.Find(name);
  REQUIRE(entry != nullptr);
  REQUIRE(entry->tensor->dtype == "BF16");
  const auto data = entry->tensor->data;
  std::vector<float> out(data.size() / 2);
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t bits = 0;
    std::memcpy(reinterpret_cast<char*>(&bits) + 2, data.data() + 2 * i, 2);
    std::memcpy(&out[i], &bits, 4);
  }
  return out;
}

TEST_CASE("f32 conversion keeps every value under the right name") {
  for (const std::string fixture : {"llama", "llama3-rope", "mistral"}) {
    CAPTURE(fixture);
    const std::string input = TestData(fixture);
    const Converted made(input, "f32");
    REQUIRE_MESSAGE(made.result.ok(), made.result.status().message());
    REQUIRE_MESSAGE(made.file.ok(), made.file.status().message());
    CHECK(made.notes.empty());
    CHECK(made.result->output_bytes ==
          std::filesystem::file_size(made.folder / "out.gguf"));
    const auto checkpoint = Checkpoint::Open(input);
    REQUIRE(checkpoint.ok());
    const auto same = [&](const std::string& name, const std::string& source,
                          const std::vector<uint64_t>& dims) {
      CAPTURE(name);
      const GgufTensor* tensor = made.file->FindTensor(name);
      REQUIRE(tensor != nullptr);
      CHECK(tensor->type == TensorType::kF32);
      CHECK(std::vector<uint64_t>(tensor->dims,
                                  tensor->dims + tensor->dim_count) == dims);
      CHECK(Floats(*tensor) == SourceFloats(*checkpoint, source));
    };
    const bool tied = fixture == "llama";
    const uint64_t q = fixture == "mistral" ? 128 : 64;
    same("token_embd.weight", "model.embed_tokens.weight", {64, 1024});
    same("output_norm.weight", "model.norm.weight", {64});
    if (!tied) same("output.weight", "lm_head.weight", {64, 1024});
    CHECK((made.file->FindTensor("output.weight") == nullptr) == tied);
    size_t expected = tied ? 2 : 3;
    for (int layer = 0; layer < 4; ++layer) {
      const std::string to = "blk." + std::to_string(layer) + ".";
      const std::string from = "model.layers." + std::to_string(layer) + ".";
      same(to + "attn_norm.weight", from + "input_layernorm.weight", {64});
      same(to + "ffn_norm.weight", from + "post_attention_layernorm.weight",
           {64});
      same(to + "attn_v.weight", from + "self_attn.v_proj.weight", {64, q / 2});
      same(to + "attn_output.weight", from + "self_attn.o_proj.weight",
           {q, 64});
      same(to + "ffn_gate.weight", from + "mlp.gate_proj.weight", {64, 160});
      same(to + "ffn_up.weight", from + "mlp.up_proj.weight", {64, 160});
      same(to + "ffn_down.weight", from + "mlp.down_proj.weight", {160, 64});
      expected += 9;
    }
    if (fixture == "llama3-rope") ++expected;
    CHECK(made.file->tensors().size() == expected);
    CHECK(made.file->alignment() == 32);
  }
}

TEST_CASE("rows of q and k are interleaved within each head, k by KV heads") {
  const std::string input = TestData("mistral");
  const Converted made(input, "f32");
  REQUIRE(made.file.ok());
  const auto checkpoint = Checkpoint::Open(input);
  REQUIRE(checkpoint.ok());
  const size_t head_dim = 32;
  const size_t d = 64;
  struct Case {
    const char* name;
    const char* source;
    size_t heads;
  };
  for (const Case& c : {Case{"blk.3.attn_q.weight",
                             "model.layers.3.self_attn.q_proj.weight", 4},
                        Case{"blk.3.attn_k.weight",
                             "model.layers.3.self_attn.k_proj.weight", 2}}) {
    const GgufTensor* tensor = made.file->FindTensor(c.name);
    REQUIRE(tensor != nullptr);
    REQUIRE(tensor->dims[1] == c.heads * head_dim);
    const std::vector<float> out = Floats(*tensor);
    const std::vector<float> in = SourceFloats(*checkpoint, c.source);
    // Hugging Face rotates (i, i + 16) by frequency i; here (2i, 2i + 1).
    for (size_t head = 0; head < c.heads; ++head)
      for (size_t i = 0; i < head_dim / 2; ++i)
        for (size_t half = 0; half < 2; ++half)
          for (size_t column = 0; column < d; ++column) {
            const size_t to = head * head_dim + 2 * i + half;
            const size_t from = head * head_dim + half * head_dim / 2 + i;
            REQUIRE(out[to * d + column] == in[from * d + column]);
          }
  }
}

TEST_CASE("keys are the standard ones") {
  const Converted made(TestData("mistral"), "q8_0");
  REQUIRE(made.file.ok());
  const GgufFile& file = *made.file;
  CHECK(*file.String("general.architecture").value() == "llama");
  CHECK(*file.String("general.name").value() == "mistral");
  CHECK(*file.Uint("general.file_type").value() == 7);
  CHECK(*file.Uint("general.quantization_version").value() == 2);
  CHECK(*file.Uint("llama.vocab_size").value() == 1024);
  CHECK(*file.Uint("llama.context_length").value() == 4096);
  CHECK(*file.Uint("llama.embedding_length").value() == 64);
  CHECK(*file.Uint("llama.block_count").value() == 4);
  CHECK(*file.Uint("llama.feed_forward_length").value() == 160);
  CHECK(*file.Uint("llama.attention.head_count").value() == 4);
  CHECK(*file.Uint("llama.attention.head_count_kv").value() == 2);
  CHECK(*file.Uint("llama.attention.key_length").value() == 32);
  CHECK(*file.Uint("llama.attention.value_length").value() == 32);
  CHECK(*file.Uint("llama.rope.dimension_count").value() == 32);
  CHECK(*file.Float("llama.rope.freq_base").value() == 10000.0);
  CHECK(*file.Float("llama.attention.layer_norm_rms_epsilon").value() ==
        doctest::Approx(1e-6));
  CHECK(*file.String("tokenizer.ggml.model").value() == "llama");
  CHECK(file.Strings("tokenizer.ggml.tokens").value()->size() == 1024);
  CHECK(file.Floats("tokenizer.ggml.scores").value()->size() == 1024);
  const auto types = *file.Ints("tokenizer.ggml.token_type").value();
  REQUIRE(types.size() == 1024);
  CHECK(types[0] == 2);
  CHECK(types[1] == 3);
  CHECK(types[3] == 6);
  CHECK(types[1000] == 1);
  CHECK(*file.Uint("tokenizer.ggml.bos_token_id").value() == 1);
  CHECK(*file.Uint("tokenizer.ggml.eos_token_id").value() == 2);
  CHECK(*file.Uint("tokenizer.ggml.unknown_token_id").value() == 0);
  CHECK(*file.Bool("tokenizer.ggml.add_bos_token").value());
  CHECK(*file.Bool("tokenizer.ggml.add_space_prefix").value());
  // heads × head size equals the width here: no key is needed.
  const Converted square(TestData("llama"), "f32");
  REQUIRE(square.file.ok());
  CHECK(square.file->Find("llama.attention.key_length") == nullptr);
}

TEST_CASE("llama-3 rope factors are stored as a tensor") {
  const Converted made(TestData("llama3-rope"), "q4_0");
  REQUIRE(made.file.ok());
  const GgufTensor* tensor = made.file->FindTensor("rope_freqs.weight");
  REQUIRE(tensor != nullptr);
  CHECK(tensor->type == TensorType::kF32);
  REQUIRE(tensor->elements() == 8);
  const std::vector<float> factors = Floats(*tensor);
  CHECK(factors.front() == 1.0f);
  CHECK(factors.back() == 32.0f);
}

TEST_CASE("matrices take the asked type, and vectors stay f32") {
  const struct {
    const char* name;
    TensorType type;
    double tolerance;  // of the largest value of a row
  } types[] = {
      {"f16", TensorType::kF16, 1e-3},
      {"bf16", TensorType::kBF16, 0.0},
      {"q8_0", TensorType::kQ8_0, 0.01},
      {"q4_0", TensorType::kQ4_0, 0.14},
  };
  const auto checkpoint = Checkpoint::Open(TestData("llama"));
  REQUIRE(checkpoint.ok());
  for (const auto& type : types) {
    CAPTURE(std::string(type.name));
    const Converted made(TestData("llama"), type.name);
    REQUIRE(made.file.ok());
    for (const GgufTensor& tensor : made.file->tensors()) {
      // With q4_0, the matrix that makes the logits is q8_0.
      const bool logits =
          tensor.name == "token_embd.weight" && type.type == TensorType::kQ4_0;
      const TensorType expected = tensor.dim_count == 1 ? TensorType::kF32
                                  : logits              ? TensorType::kQ8_0
                                                        : type.type;
      CHECK(tensor.type == expected);
    }
    const std::vector<float> out =
        Floats(*made.file->FindTensor("blk.1.ffn_down.weight"));
    const std::vector<float> in =
        SourceFloats(*checkpoint, "model.layers.1.mlp.down_proj.weight");
    REQUIRE(out.size() == in.size());
    for (size_t i = 0; i < in.size(); ++i) {
      float largest = 0;
      for (size_t j = i / 160 * 160; j < (i / 160 + 1) * 160; ++j)
        largest = std::max(largest, std::fabs(in[j]));
      REQUIRE(std::fabs(double{out[i]} - in[i]) <= type.tolerance * largest);
    }
  }
}

// The fixture as f16 and as f32 tensors, and in two shards.
TEST_CASE("source types and shards do not matter") {
  const Converted plain(TestData("llama"), "bf16");
  REQUIRE(plain.file.ok());
  const std::string expected = ReadBytes(plain.folder / "out.gguf");
  const ModelFolder folder("llama");
  const auto checkpoint = Checkpoint::Open(TestData("llama"));
  REQUIRE(checkpoint.ok());
  std::string data[2];
  json headers[2] = {json::object(), json::object()};
  json map = json::object();
  size_t shard = 0;
  for (const auto& [name, entry] : checkpoint->entries()) {
    const std::vector<float> values = SourceFloats(*checkpoint, name);
    const size_t begin = data[shard].size();
    data[shard].append(reinterpret_cast<const char*>(values.data()),
                       values.size() * 4);
    headers[shard][name] = {{"dtype", "F32"},
                            {"shape", entry.tensor->shape},
                            {"data_offsets", {begin, data[shard].size()}}};
    map[name] = "part-" + std::to_string(shard) + ".safetensors";
    shard ^= 1;
  }
  for (size_t i = 0; i < 2; ++i) {
    const std::string header = headers[i].dump();
    folder.Write("part-" + std::to_string(i) + ".safetensors",
                 testing::U64(header.size()) + header + data[i]);
  }
  folder.Remove("model.safetensors");
  folder.Write("model.safetensors.index.json",
               json{{"weight_map", map}}.dump());
  folder.Edit("config.json",
              [](json& config) { config["_name_or_path"] = "x/llama"; });
  const Converted sharded(folder.path(), "bf16");
  REQUIRE_MESSAGE(sharded.result.ok(), sharded.result.status().message());
  CHECK(ReadBytes(sharded.folder / "out.gguf") == expected);
}

TEST_CASE("rows that quantized blocks do not divide become f16, with a note") {
  const ModelFolder folder("llama");
  // The same bytes, read as a feed-forward layer of another shape: 40 wide.
  folder.Edit("config.json",
              [](json& config) { config["intermediate_size"] = 40; });
  folder.EditTensors([](json& header) {
    for (int layer = 0; layer < 4; ++layer) {
      for (const char* part : {"gate", "up", "down"}) {
        json& entry = header["model.layers." + std::to_string(layer) + ".mlp." +
                             part + "_proj.weight"];
        const size_t begin = entry["data_offsets"][0];
        entry["shape"] = part == std::string("down") ? std::vector<int>{64, 40}
                                                     : std::vector<int>{40, 64};
        entry["data_offsets"] = {begin, begin + 40 * 64 * 2};
      }
    }
  });
  const Converted made(folder.path(), "q8_0");
  REQUIRE_MESSAGE(made.result.ok(), made.result.status().message());
  REQUIRE(made.notes.size() == 1);
  CHECK(made.notes[0].starts_with("4 matrices"));
  CHECK(made.file->FindTensor("blk.0.ffn_down.weight")->type ==
        TensorType::kF16);
  CHECK(made.file->FindTensor("blk.0.ffn_up.weight")->type ==
        TensorType::kQ8_0);
}

TEST_CASE("a sliding window is kept, and the context too") {
  const ModelFolder folder("mistral");
  folder.Edit("config.json",
              [](json& config) { config["sliding_window"] = 1024; });
  const Converted made(folder.path(), "f16");
  REQUIRE(made.file.ok());
  CHECK(*made.file->Uint("llama.context_length").value() == 4096);
  CHECK(*made.file->Uint("llama.attention.sliding_window").value() == 1024);
  CHECK(made.notes.empty());

  folder.Edit("config.json",
              [](json& config) { config["sliding_window"] = nullptr; });
  const Converted whole(folder.path(), "f16");
  CHECK(whole.file->Find("llama.attention.sliding_window") == nullptr);
}

TEST_CASE("the chat template and the end of a turn are kept") {
  const ModelFolder folder("llama");
  const std::string chat = "{% for m in messages %}\n{{ m }}{% endfor %}\n";
  folder.Write("tokenizer_config.json",
               json{{"chat_template", chat}, {"eos_token", "<0x0A>"}}.dump());
  const Converted made(folder.path(), "f16");
  REQUIRE(made.file.ok());
  CHECK(*made.file->String("tokenizer.chat_template").value() == chat);
  CHECK(*made.file->Uint("tokenizer.ggml.eos_token_id").value() == 3 + 10);
}

}  // namespace
}  // namespace dapple
