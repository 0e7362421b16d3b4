#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "converted.h"
#include "dapple/convert.h"
#include "model_folder.h"
#include "test_files.h"

namespace dapple {
namespace {

using nlohmann::json;
using testing::Converted;
using testing::ModelFolder;
using testing::ReadBytes;
using testing::TempDir;
using testing::TestData;

struct Spoiled {
  const char* says;
  const char* file;  // that the message names
  void (*spoil)(const ModelFolder&);
};

TEST_CASE("spoiled folders are refused and leave no output") {
  const std::vector<Spoiled> cases = {
      {"No such file", "config.json",
       [](const ModelFolder& f) { f.Remove("config.json"); }},
      {"No such file", "model.safetensors",
       [](const ModelFolder& f) { f.Remove("model.safetensors"); }},
      {"No such file", "tokenizer.model",
       [](const ModelFolder& f) { f.Remove("tokenizer.model"); }},
      {"empty", "tokenizer.model",
       [](const ModelFolder& f) { f.Write("tokenizer.model", ""); }},
      {"'model.norm.weight' is missing", "",
       [](const ModelFolder& f) {
         f.EditTensors([](json& h) { h.erase("model.norm.weight"); });
       }},
      {"'model.layers.4.input_layernorm.weight' is missing", "",
       [](const ModelFolder& f) {
         f.Edit("config.json", [](json& c) { c["num_hidden_layers"] = 5; });
       }},
      {"'lm_head.weight' is missing", "",
       [](const ModelFolder& f) {
         f.Edit("config.json",
                [](json& c) { c["tie_word_embeddings"] = false; });
       }},
      // Fewer layers: the fourth's tensors would silently go missing.
      {"'model.layers.3.input_layernorm.weight' is not part", "",
       [](const ModelFolder& f) {
         f.Edit("config.json", [](json& c) { c["num_hidden_layers"] = 3; });
       }},
      {"has shape [1024, 64], but config.json says [2147483648, 64]", "",
       [](const ModelFolder& f) {
         f.Edit("config.json", [](json& c) { c["vocab_size"] = 2147483648; });
       }},
      {"has shape [64, 64], but config.json says [96, 64]", "",
       [](const ModelFolder& f) {
         f.Edit("config.json", [](json& c) { c["num_attention_heads"] = 6; });
       }},
      {"not part of a llama model", "",
       [](const ModelFolder& f) {
         f.EditTensors([](json& h) {
           h["model.layers.0.self_attn.q_norm.weight"] = {
               {"dtype", "BF16"}, {"shape", {0}}, {"data_offsets", {0, 0}}};
         });
       }},
      {"has dtype U16", "model.safetensors",
       [](const ModelFolder& f) {
         f.EditTensors(
             [](json& h) { h["model.norm.weight"]["dtype"] = "U16"; });
       }},
      {"not finite", "model.safetensors",
       [](const ModelFolder& f) {
         f.Poke("model.layers.2.mlp.up_proj.weight", "\xC0\x7F");
       }},
      {"too large for q8_0", "model.safetensors",
       [](const ModelFolder& f) {
         f.Poke("model.layers.2.mlp.up_proj.weight",
                std::string("\x00\x7E", 2));
       }},
  };
  for (const Spoiled& spoiled : cases) {
    CAPTURE(std::string(spoiled.says));
    const ModelFolder folder("llama");
    spoiled.spoil(folder);
    const Converted made(folder.path(), "q8_0");
    REQUIRE_FALSE(made.result.ok());
    CAPTURE(made.result.status().message());
    CHECK(made.result.status().message().starts_with(folder.path()));
    CHECK(made.result.status().message().find(spoiled.says) !=
          std::string::npos);
    CHECK(made.result.status().message().find(spoiled.file) !=
          std::string::npos);
    CHECK(made.folder.file_count() == 0);
  }
}

TEST_CASE("older files' stored rope frequencies are ignored") {
  const ModelFolder folder("llama");
  folder.EditTensors([](json& h) {
    h["model.layers.0.self_attn.rotary_emb.inv_freq"] = {
        {"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {0, 0}}};
  });
  CHECK(
      Convert({folder.path(), folder / "x.gguf", "f16", "", "", {}, {}}).ok());
}

TEST_CASE("cancelling keeps the old file and leaves nothing else") {
  const TempDir folder;
  const std::string path = testing::WriteBytes(folder / "out.gguf", "old");
  ConvertOptions options;
  options.input_dir = TestData("llama");
  options.output_path = path;
  size_t calls = 0;
  options.progress = [&calls](const ConvertProgress& progress) {
    CHECK(progress.bytes_done <= progress.bytes_total);
    CHECK(progress.tensors_total == 38);
    return ++calls < 10;
  };
  const auto result = Convert(options);
  REQUIRE_FALSE(result.ok());
  CHECK(result.status().code() == StatusCode::kCancelled);
  CHECK(calls == 10);
  CHECK(ReadBytes(path) == "old");
  CHECK(folder.file_count() == 1);

  uint64_t last = 0;
  uint64_t total = 0;
  options.progress = [&](const ConvertProgress& progress) {
    last = progress.bytes_done;
    total = progress.bytes_total;
    return true;
  };
  REQUIRE(Convert(options).ok());
  CHECK(last == total);
  CHECK(ReadBytes(path).starts_with("GGUF"));
  CHECK(folder.file_count() == 1);
}

TEST_CASE("bad arguments of a conversion are named") {
  const TempDir folder;
  ConvertOptions options;
  options.input_dir = TestData("llama");
  options.output_path = folder / "x.gguf";
  options.type = "iq1_s";
  CHECK(Convert(options).status().code() == StatusCode::kInvalidArgument);
  options.type = "f16";
  options.output_path = folder.path();
  CHECK(Convert(options).status().code() == StatusCode::kInvalidArgument);
  options.output_path = folder / "no/x.gguf";
  CHECK(Convert(options).status().code() == StatusCode::kNotFound);
  options.input_dir = folder / "no";
  CHECK(Convert(options).status().code() == StatusCode::kNotFound);
  options.input_dir = TestData("llama/config.json");
  CHECK(Convert(options).status().code() == StatusCode::kInvalidArgument);
  CHECK(folder.file_count() == 0);
}

}  // namespace
}  // namespace dapple
