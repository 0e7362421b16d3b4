#include "convert/hf_tokenizer.h"

#include <doctest/doctest.h>
#include <sentencepiece_processor.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "convert/sentencepiece_model.h"
#include "model_folder.h"
#include "test_files.h"

namespace dapple {
namespace {

using nlohmann::json;
using testing::ModelFolder;
using testing::Raw;
using testing::ReadBytes;
using testing::TempDir;
using testing::TestData;
using testing::WriteBytes;

// Protobuf, by hand.
std::string Field(int number, const std::string& bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  out += static_cast<char>(bytes.size());  // messages here are short
  return out + bytes;
}
std::string Field(int number, int value) {
  const int tag = number << 3;
  std::string out;
  if (tag < 128) {
    out += static_cast<char>(tag);
  } else {
    out += static_cast<char>((tag & 127) | 128);
    out += static_cast<char>(tag >> 7);
  }
  return out + static_cast<char>(value);
}
std::string Piece(const std::string& text, float score, int type) {
  std::string out = Field(1, text);
  out += static_cast<char>(2 << 3 | 5);
  out += Raw(score);
  if (type != 1) out += Field(3, type);
  return Field(1, out);
}

// <unk> <s> </s> <|a|> [b] x, in the layout that sentencepiece writes.
std::string SmallModel(int model_type = 2) {
  return Piece("<unk>", 0, 2) + Piece("<s>", 0, 3) + Piece("</s>", 0, 3) +
         Piece("<|a|>", 0, 4) + Piece("[b]", 0, 4) + Piece("x", -1.5f, 1) +
         Field(2, Field(3, model_type)) +
         Field(3, Field(1, std::string("identity")) + Field(4, 0));
}

Result<HfTokenizer> ReadSmall(const TempDir& folder, uint64_t vocab_size) {
  HfConfig config;
  config.vocab_size = vocab_size;
  return HfTokenizer::Read(folder.path(), config);
}

TEST_CASE("tokenizer.model is decoded as the sentencepiece library does") {
  const std::string path = TestData("llama/tokenizer.model");
  const auto model = SentencePieceModel::Read(path);
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  sentencepiece::SentencePieceProcessor library;
  REQUIRE(library.Load(path).ok());
  REQUIRE(static_cast<int>(model->pieces.size()) == library.GetPieceSize());
  for (int i = 0; i < library.GetPieceSize(); ++i) {
    const auto& piece = model->pieces[static_cast<size_t>(i)];
    REQUIRE(piece.text == library.IdToPiece(i));
    REQUIRE(piece.score == library.GetScore(i));
    CHECK(library.IsByte(i) == (piece.type == PieceType::kByte));
    CHECK(library.IsControl(i) == (piece.type == PieceType::kControl));
    CHECK(library.IsUnknown(i) == (piece.type == PieceType::kUnknown));
  }
  CHECK(model->bos_id == library.bos_id());
  CHECK(model->eos_id == library.eos_id());
  CHECK(model->unk_id == library.unk_id());
  CHECK(model->pad_id == library.pad_id());  // -1: sign-extended on the wire
  CHECK(model->add_dummy_prefix);
  CHECK_FALSE(model->remove_extra_whitespaces);
  CHECK(model->normalizer == "identity");
}

TEST_CASE("piece types follow GGUF's; chat markers become control tokens") {
  const TempDir folder;
  WriteBytes(folder / "tokenizer.model", SmallModel());
  const auto tokenizer = ReadSmall(folder, 8);
  REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.status().message());
  CHECK(tokenizer->tokens == std::vector<std::string>{"<unk>", "<s>", "</s>",
                                                      "<|a|>", "[b]", "x",
                                                      "[PAD6]", "[PAD7]"});
  CHECK(tokenizer->types == std::vector<int32_t>{2, 3, 3, 3, 4, 1, 5, 5});
  CHECK(tokenizer->scores[5] == -1.5f);
  CHECK(tokenizer->bos_id == 1u);
  CHECK(tokenizer->eos_id == 2u);
  CHECK(tokenizer->unk_id == 0u);
  CHECK_FALSE(tokenizer->pad_id.has_value());
  CHECK(tokenizer->add_bos);
  CHECK_FALSE(tokenizer->add_eos);
  CHECK(tokenizer->add_space_prefix);
  CHECK(tokenizer->chat_template.empty());
  CHECK(tokenizer->notes.empty());
}

TEST_CASE("tokenizer_config.json overrides what tokenizer.model says") {
  const TempDir folder;
  WriteBytes(folder / "tokenizer.model", SmallModel());
  WriteBytes(folder / "added_tokens.json", R"({"<tool>": 6, "far": 99})");
  WriteBytes(folder / "tokenizer_config.json",
             json{{"eos_token", {{"content", "<|a|>"}}},
                  {"bos_token", "no such token"},
                  {"add_bos_token", false},
                  {"add_prefix_space", false},
                  {"chat_template",
                   json::array({{{"name", "tools"}, {"template", "T"}},
                                {{"name", "default"}, {"template", "D"}}})},
                  {"added_tokens_decoder",
                   {{"7", {{"content", "<end>"}, {"special", true}}},
                    {"4", {{"content", "[b]"}, {"special", true}}},
                    {"5", {{"content", "x"}, {"special", false}}}}}}
                 .dump());
  const auto tokenizer = ReadSmall(folder, 8);
  REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.status().message());
  CHECK(tokenizer->tokens[6] == "<tool>");
  CHECK(tokenizer->tokens[7] == "<end>");
  CHECK(tokenizer->types == std::vector<int32_t>{2, 3, 3, 3, 3, 1, 4, 3});
  CHECK(tokenizer->eos_id == 3u);
  CHECK(tokenizer->bos_id == 1u);  // falls back
  CHECK_FALSE(tokenizer->add_bos);
  CHECK_FALSE(tokenizer->add_space_prefix);
  CHECK(tokenizer->chat_template == "D");
  REQUIRE(tokenizer->notes.size() == 1);
  CHECK(tokenizer->notes[0].find("'far'") != std::string::npos);

  WriteBytes(folder / "chat_template.jinja", "J\n");
  CHECK(ReadSmall(folder, 8)->chat_template == "J\n");
}

TEST_CASE("contradictory tokenizer files are refused") {
  struct Lie {
    const char* says;
    const char* file;
    std::string bytes;
  };
  const std::vector<Lie> lies = {
      {"model type 1", "tokenizer.model", SmallModel(1)},
      {"not a SentencePiece model", "tokenizer.model", "hello, world"},
      {"not a SentencePiece model", "tokenizer.model", SmallModel() + "\x0A"},
      {"piece 0 is malformed", "tokenizer.model", Piece("x", 0, 9)},
      {"not a SentencePiece model", "tokenizer.model", Piece("x", 0, 1)},
      {"two tokens have the text 'x'", "tokenizer.model",
       SmallModel() + Piece("x", 0, 1)},
      {"two tokens have the text", "added_tokens.json", R"({"x": 6})"},
      {"no token id", "added_tokens.json", R"({"y": -1})"},
      {"not valid JSON", "tokenizer_config.json", "{"},
      {"'add_bos_token' is neither", "tokenizer_config.json",
       R"({"add_bos_token": 1})"},
      {"'added_tokens_decoder' has a malformed entry '7x'",
       "tokenizer_config.json",
       R"({"added_tokens_decoder": {"7x": {"content": "a"}}})"},
      {"no content for '7'", "tokenizer_config.json",
       R"({"added_tokens_decoder": {"7": {}}})"},
      {"'chat_template' is not a string", "tokenizer_config.json",
       R"({"chat_template": 5})"},
  };
  for (const Lie& lie : lies) {
    CAPTURE(std::string(lie.says));
    const TempDir folder;
    WriteBytes(folder / "tokenizer.model", SmallModel());
    WriteBytes(folder / lie.file, lie.bytes);
    const auto tokenizer = ReadSmall(folder, 8);
    REQUIRE_FALSE(tokenizer.ok());
    CAPTURE(tokenizer.status().message());
    CHECK(tokenizer.status().message().find(lie.says) != std::string::npos);
    CHECK(tokenizer.status().message().starts_with(folder.path()));
  }
}

TEST_CASE("a vocabulary larger than the embeddings is refused") {
  const TempDir folder;
  WriteBytes(folder / "tokenizer.model", SmallModel());
  const auto tokenizer = ReadSmall(folder, 5);
  REQUIRE_FALSE(tokenizer.ok());
  CHECK(tokenizer.status().message().find("6 pieces") != std::string::npos);
}

TEST_CASE("token ids beyond the vocabulary are refused") {
  const TempDir folder;
  WriteBytes(folder / "tokenizer.model", SmallModel());
  HfConfig config;
  config.vocab_size = 6;
  config.eos_id = 6;
  CHECK_FALSE(HfTokenizer::Read(folder.path(), config).ok());
  config.eos_id = 5;
  CHECK(HfTokenizer::Read(folder.path(), config).ok());
}

TEST_CASE("a folder with another kind of tokenizer is refused by name") {
  const TempDir folder;
  WriteBytes(folder / "tokenizer.json", R"({"model": {"type": "WordPiece"}})");
  const auto tokenizer = ReadSmall(folder, 8);
  CHECK(tokenizer.status().code() == StatusCode::kUnsupported);
  CHECK(tokenizer.status().message().find("tokenizer.json") !=
        std::string::npos);
}

TEST_CASE("a tokenizer.model with random damage is read or refused") {
  const TempDir folder;
  const std::string good = SmallModel();
  std::mt19937 random(3);
  size_t opened = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = good;
    for (size_t i = 0; i < 1 + random() % 3; ++i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size() + 1);
    WriteBytes(folder / "tokenizer.model", bytes);
    opened += ReadSmall(folder, 8).ok();
  }
  CHECK(opened > 50);
  CHECK(opened < 1900);
}

}  // namespace
}  // namespace dapple
