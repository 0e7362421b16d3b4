// tokenizer.json to GGUF and back to ids, through `convert` as users have it.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../gguf/converted.h"
#include "../gguf/model_folder.h"
#include "bpe_vocabulary.h"

namespace dapple::testing {
namespace {

using nlohmann::json;

constexpr char kLlama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

json Split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}
json ByteLevel(bool words) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", words}};
}
json Sequence(const std::vector<json>& steps) {
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

BpeVocabulary Trained() {
  BpeVocabulary made;
  made.Train(ReadBytes("/usr/share/common-licenses/GPL-3").substr(0, 9000),
             200);
  made.pre = "llama-bpe";
  return made;
}

// Of `vocabulary`, less its last two tokens, which are added ones.
json TokenizerJson(const BpeVocabulary& vocabulary, bool pairs) {
  const size_t proper = vocabulary.tokens.size() - 2;
  json object = {{"version", "1.0"}, {"normalizer", nullptr}};
  json& model = object["model"];
  model = {{"type", "BPE"}, {"byte_fallback", false}, {"ignore_merges", true}};
  for (size_t i = 0; i < proper; ++i) model["vocab"][vocabulary.tokens[i]] = i;
  for (const std::string& merge : vocabulary.merges) {
    const size_t space = merge.find(' ');
    if (pairs)
      model["merges"].push_back(
          {merge.substr(0, space), merge.substr(space + 1)});
    else
      model["merges"].push_back(merge);
  }
  object["pre_tokenizer"] = Sequence({Split(kLlama3), ByteLevel(false)});
  object["added_tokens"] = {{{"id", proper},
                             {"content", vocabulary.tokens[proper]},
                             {"special", true},
                             {"rstrip", true}},
                            {{"id", proper + 1},
                             {"content", vocabulary.tokens[proper + 1]},
                             {"special", false}}};
  object["post_processor"] = {{"type", "Sequence"},
                              {"processors",
                               {{{"type", "ByteLevel"}},
                                {{"type", "TemplateProcessing"},
                                 {"single",
                                  {{{"SpecialToken", {{"id", "<|begin|>"}}}},
                                   {{"Sequence", {{"id", "A"}}}}}}}}}};
  return object;
}

TEST_CASE("a converted tokenizer.json gives the ids of its vocabulary") {
  BpeVocabulary vocabulary = Trained();
  const TokenId begin = vocabulary.AddSpecial("<|begin|>", kControl);
  const TokenId tag = vocabulary.AddSpecial("<tool>", kUserDefined);
  vocabulary.bos = static_cast<uint32_t>(begin);
  vocabulary.rstrip = {begin};
  const auto expected = MustOpen(vocabulary);
  for (const bool pairs : {false, true}) {
    ModelFolder folder("llama");
    folder.Remove("tokenizer.model");
    folder.Write("tokenizer.json", TokenizerJson(vocabulary, pairs).dump());
    folder.Write("tokenizer_config.json",
                 json{{"bos_token", "<|begin|>"},
                      {"eos_token", {{"content", "<|begin|>"}}},
                      {"chat_template", "{{ messages|length }}"}}
                     .dump());
    folder.Write("generation_config.json",
                 json{{"eos_token_id", {begin, 7, 9}}}.dump());
    const Converted converted(folder.path(), "f32");
    REQUIRE_MESSAGE(converted.result.ok(), converted.result.status().message());
    const auto tokenizer = Tokenizer::Create(*converted.file);
    REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.status().message());
    CHECK((*tokenizer)->vocab_size() == 1024);
    CHECK((*tokenizer)->bos() == begin);
    CHECK((*tokenizer)->adds_bos());
    CHECK((*tokenizer)->end_ids() == std::vector<TokenId>{7, 9, begin});
    CHECK((*tokenizer)->chat_template() == "{{ messages|length }}");
    CHECK((*tokenizer)->IsControl(tag));
    for (const std::string text :
         {"You may convey covered works.", "<|begin|> \n x<tool> 12345\n\n",
          "\xFF\u4E2D", "the Program's  LL's"}) {
      for (const bool special : {false, true}) {
        const Tokenizer::EncodeOptions options = {.parse_special = special};
        CHECK(*(*tokenizer)->Encode(text, options) ==
              *expected->Encode(text, options));
      }
    }
  }
}

TEST_CASE("pre-tokenizers are known by their steps, others refused") {
  BpeVocabulary vocabulary = Trained();
  vocabulary.AddSpecial("<|begin|>", kControl);
  vocabulary.AddSpecial("<tool>", kUserDefined);
  const json good = TokenizerJson(vocabulary, false);
  const auto pre_of = [&](const auto& change) -> std::string {
    json object = good;
    change(object);
    ModelFolder folder("llama");
    folder.Remove("tokenizer.model");
    folder.Write("tokenizer.json", object.dump());
    const Converted converted(folder.path(), "f32");
    if (!converted.result.ok()) {
      CHECK(converted.result.status().message().starts_with(folder.path()));
      return converted.result.status().message();
    }
    return std::string(**converted.file->String("tokenizer.ggml.pre"));
  };
  const auto with = [&](const json& pre_tokenizer, bool ignore_merges) {
    return pre_of([&](json& object) {
      object["pre_tokenizer"] = pre_tokenizer;
      object["model"]["ignore_merges"] = ignore_merges;
    });
  };
  std::string qwen = kLlama3;
  qwen.replace(qwen.find("{1,3}"), 5, "");
  CHECK(with(good["pre_tokenizer"], true) == "llama-bpe");
  CHECK(with(good["pre_tokenizer"], false) == "smaug-bpe");
  CHECK(with(Sequence({Split(qwen), ByteLevel(false)}), false) == "qwen2");
  CHECK(with(ByteLevel(true), false) == "gpt-2");
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  CHECK(with(Sequence({digits, ByteLevel(true)}), false) == "smollm");
  const auto refused = [](const std::string& message, const char* why) {
    CAPTURE(message);
    CHECK(message.find(why) != std::string::npos);
  };
  refused(with(Sequence({Split(qwen), ByteLevel(false)}), true),
          "with this ignore_merges is not supported");
  refused(with(Split("x+"), false), "'split x+' is not supported");
  refused(with({{"type", "Metaspace"}}, false), "step 'Metaspace'");
  refused(with(nullptr, false), "step '(none)'");
  refused(pre_of([](json& o) { o["model"]["type"] = "Unigram"; }),
          "type 'Unigram' is not supported");
  refused(pre_of([](json& o) { o["model"]["byte_fallback"] = true; }),
          "tokenizer.model; that file is missing");
  refused(pre_of([](json& o) {
            o["normalizer"] = {{"type", "Lowercase"}};
          }),
          "the normalizer 'Lowercase'");
  refused(pre_of([](json& o) { o["model"].erase("merges"); }), "no merges");
  refused(pre_of([](json& o) { o["model"]["merges"] = {{"a"}}; }),
          "merge 0 is not two tokens");
  refused(pre_of([](json& o) { o["model"]["vocab"]["q?"] = 5; }),
          "id 5 is both");
  refused(pre_of([](json& o) { o["model"]["vocab"]["q?"] = "x"; }),
          "'q?' has no token id");
  refused(pre_of([](json& o) { o["added_tokens"][0]["content"] = ""; }),
          "malformed entry");
  refused(pre_of([](json& o) { o.erase("model"); }), "'model' is missing");
}

}  // namespace
}  // namespace dapple::testing
