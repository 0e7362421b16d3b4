// Tokenizers for these tests: from a sentencepiece tokenizer.model, or small
// ones made by hand, all through a GGUF file as users have them.
#ifndef DAPPLE_TESTS_TEXT_TEST_TOKENIZER_H_
#define DAPPLE_TESTS_TEXT_TEST_TOKENIZER_H_

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../gguf/test_files.h"
#include "dapple/tokenizer.h"
#include "gguf/gguf_writer.h"
#include "model_file.h"

namespace dapple::testing {

enum { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// What goes into the file; tests bend it before Write.
struct TestVocabulary {
  std::optional<std::string> model = "llama";
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  std::optional<std::string> pre;
  std::optional<uint32_t> bos, eos, eot, unknown;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::string architecture = "llama";
  std::vector<int32_t> rstrip, lstrip;
  std::string chat_template;

  void Add(const std::string& token, int32_t type, float score = 0) {
    tokens.push_back(token);
    types.push_back(type);
    scores.push_back(score);
  }
  TokenId Find(const std::string& token) const {
    for (size_t i = 0; i < tokens.size(); ++i)
      if (tokens[i] == token) return static_cast<TokenId>(i);
    return -1;
  }

  void Write(const std::string& path) const {
    Result<GgufWriter> writer = GgufWriter::Create(path);
    REQUIRE(writer.ok());
    const std::string key = "tokenizer.ggml.";
    writer->AddString("general.architecture", architecture);
    if (pre) writer->AddString(key + "pre", *pre);
    if (!merges.empty()) writer->AddStrings(key + "merges", merges);
    if (add_eos) writer->AddBool(key + "add_eos_token", *add_eos);
    if (!lstrip.empty()) writer->AddInts("dapple.tokenizer.lstrip", lstrip);
    if (!rstrip.empty()) writer->AddInts("dapple.tokenizer.rstrip", rstrip);
    if (!chat_template.empty())
      writer->AddString("tokenizer.chat_template", chat_template);
    if (model) writer->AddString(key + "model", *model);
    if (!tokens.empty()) writer->AddStrings(key + "tokens", tokens);
    if (!scores.empty()) writer->AddFloats(key + "scores", scores);
    if (!types.empty()) writer->AddInts(key + "token_type", types);
    if (bos) writer->AddUint32(key + "bos_token_id", *bos);
    if (eos) writer->AddUint32(key + "eos_token_id", *eos);
    if (eot) writer->AddUint32(key + "eot_token_id", *eot);
    if (unknown) writer->AddUint32(key + "unknown_token_id", *unknown);
    if (add_bos) writer->AddBool(key + "add_bos_token", *add_bos);
    if (add_space_prefix)
      writer->AddBool(key + "add_space_prefix", *add_space_prefix);
    REQUIRE(writer->BeginData().ok());
    REQUIRE(writer->Finish().ok());
  }

  Result<std::unique_ptr<Tokenizer>> Open() const {
    const TempDir folder;
    Write(folder / "vocabulary.gguf");
    return Tokenizer::Open(folder / "vocabulary.gguf");
  }
};

inline std::string ByteToken(int value) {
  char name[8];
  std::snprintf(name, sizeof(name), "<0x%02X>", value);
  return name;
}

// <unk> <s> </s>, then 256 byte tokens from id 3, then the space.
inline TestVocabulary ByteVocabulary() {
  TestVocabulary vocabulary;
  vocabulary.Add("<unk>", kUnknown);
  vocabulary.Add("<s>", kControl);
  vocabulary.Add("</s>", kControl);
  for (int i = 0; i < 256; ++i) vocabulary.Add(ByteToken(i), kByte);
  vocabulary.Add("\u2581", kNormal);
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  return vocabulary;
}

inline ModelFile FixtureModel() {
  return ReadModelFile(TestData("llama/tokenizer.model"));
}

// The fixtures' 1,024 pieces, with ChatML's marks behind them as 1024, 1025.
inline TestVocabulary ChatVocabulary(int32_t mark_type = kUserDefined) {
  const ModelFile model = FixtureModel();
  TestVocabulary vocabulary;
  vocabulary.tokens = model.pieces;
  vocabulary.scores = model.scores;
  vocabulary.types = model.types;
  vocabulary.Add("<|im_start|>", mark_type);
  vocabulary.Add("<|im_end|>", mark_type);
  vocabulary.bos = 1;
  vocabulary.eos = 1025;
  return vocabulary;
}
constexpr TokenId kImStart = 1024;
constexpr TokenId kImEnd = 1025;

inline std::unique_ptr<Tokenizer> MustOpen(const TestVocabulary& vocabulary) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = vocabulary.Open();
  if (!tokenizer.ok()) FAIL(tokenizer.status().message());
  return std::move(*tokenizer);
}

}  // namespace dapple::testing

#endif  // DAPPLE_TESTS_TEXT_TEST_TOKENIZER_H_
