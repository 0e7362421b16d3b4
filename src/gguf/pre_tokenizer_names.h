// The names that tokenizer.ggml.pre may have, and what each stands for.
//
// One table serves the inspector and the tokenizer, so that a file which is
// said to run is a file whose words can be cut. The patterns themselves are in
// src/text/pre_tokenizer_rules.cc.
#ifndef DAPPLE_GGUF_PRE_TOKENIZER_NAMES_H_
#define DAPPLE_GGUF_PRE_TOKENIZER_NAMES_H_

#include <string>
#include <string_view>

#include "gguf/printable.h"

namespace dapple {

enum class PreTokenizerKind {
  kGpt2,
  kDigits,  // GPT-2's, each digit a word
  kLlama3,
  kCl100k,  // Llama 3's, by merges alone
  kQwen2,
  kO200k,
  kTekken,
  kFalcon,
  kDeepSeekLlm,
  kDeepSeekCoder,
  kDeepSeekV3,
};

struct PreTokenizerName {
  const char* name;
  PreTokenizerKind kind;
};

inline constexpr PreTokenizerName kPreTokenizerNames[] = {
    {"gpt-2", PreTokenizerKind::kGpt2},
    {"phi-2", PreTokenizerKind::kGpt2},
    {"olmo", PreTokenizerKind::kGpt2},
    {"jais", PreTokenizerKind::kGpt2},
    {"mpt", PreTokenizerKind::kGpt2},
    {"trillion", PreTokenizerKind::kGpt2},
    {"exaone4", PreTokenizerKind::kGpt2},
    {"granite-docling", PreTokenizerKind::kGpt2},
    {"jina-es", PreTokenizerKind::kGpt2},
    {"jina-de", PreTokenizerKind::kGpt2},
    {"jina-v2-es", PreTokenizerKind::kGpt2},
    {"jina-v2-de", PreTokenizerKind::kGpt2},
    {"jina-v2-code", PreTokenizerKind::kGpt2},
    {"roberta-bpe", PreTokenizerKind::kGpt2},
    {"gigachat", PreTokenizerKind::kGpt2},
    {"a.x-4.0", PreTokenizerKind::kGpt2},
    {"mellum", PreTokenizerKind::kGpt2},
    {"starcoder", PreTokenizerKind::kDigits},
    {"refact", PreTokenizerKind::kDigits},
    {"command-r", PreTokenizerKind::kDigits},
    {"smollm", PreTokenizerKind::kDigits},
    {"codeshell", PreTokenizerKind::kDigits},
    {"exaone", PreTokenizerKind::kDigits},
    {"minerva-7b", PreTokenizerKind::kDigits},
    {"llama-bpe", PreTokenizerKind::kLlama3},
    {"llama3", PreTokenizerKind::kLlama3},
    {"llama-v3", PreTokenizerKind::kLlama3},
    {"falcon3", PreTokenizerKind::kLlama3},
    {"falcon-h1", PreTokenizerKind::kLlama3},
    {"pixtral", PreTokenizerKind::kLlama3},
    {"midm-2.0", PreTokenizerKind::kLlama3},
    {"lfm2", PreTokenizerKind::kLlama3},
    {"smaug-bpe", PreTokenizerKind::kCl100k},
    {"dbrx", PreTokenizerKind::kCl100k},
    {"glm4", PreTokenizerKind::kCl100k},
    {"chatglm-bpe", PreTokenizerKind::kCl100k},
    {"qwen2", PreTokenizerKind::kQwen2},
    {"stablelm2", PreTokenizerKind::kQwen2},
    {"deepseek-r1-qwen", PreTokenizerKind::kQwen2},
    {"hunyuan", PreTokenizerKind::kQwen2},
    {"megrez", PreTokenizerKind::kQwen2},
    {"kormo", PreTokenizerKind::kQwen2},
    {"gpt-4o", PreTokenizerKind::kO200k},
    {"llama4", PreTokenizerKind::kO200k},
    {"tekken", PreTokenizerKind::kTekken},
    {"falcon", PreTokenizerKind::kFalcon},
    {"deepseek-llm", PreTokenizerKind::kDeepSeekLlm},
    {"deepseek-coder", PreTokenizerKind::kDeepSeekCoder},
    {"deepseek-v3", PreTokenizerKind::kDeepSeekV3},
    {"hunyuan-dense", PreTokenizerKind::kDeepSeekV3},
};

// Why a byte-level BPE vocabulary whose tokenizer.ggml.pre is `pre` ("" where
// the key is missing) cannot be used; "" if it can.
inline std::string PreTokenizerObstacle(std::string_view pre) {
  // Files from before the key existed: guessing would give wrong ids.
  if (pre.empty() || pre == "default")
    return "it does not say how its tokenizer cuts words (tokenizer.ggml.pre " +
           std::string(pre.empty() ? "is missing" : "is \"default\"") +
           "): convert the model anew";
  for (const PreTokenizerName& known : kPreTokenizerNames)
    if (pre == known.name) return {};
  return "pre-tokenizer " + Quoted(pre) +
         " (tokenizer.ggml.pre) is not supported";
}

}  // namespace dapple

#endif  // DAPPLE_GGUF_PRE_TOKENIZER_NAMES_H_
