// What a model answers and what DapQ keeps, as numbers that two builds can be
// compared by: the same program runs here and in emulation.
//
//   answer MODEL.gguf TEXT PROMPT_TOKENS KEEP NEW_TOKENS [f32]
//
// Prints "ids" and the greedy continuation of TEXT's first PROMPT_TOKENS
// tokens (0: TEXT as a chat turn, whole), up to the model's end of a turn, and
// for each layer and head "kept LAYER HEAD" and the kept positions.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "dapple/chat.h"
#include "dapple/cpu_report.h"
#include "dapple/engine.h"
#include "dapple/sampler.h"

namespace dapple {
namespace {

Status Run(char** argv) {
  if (const char* target = std::getenv("DAPPLE_TARGET"))
    DAPPLE_RETURN_IF_ERROR(UseTarget(target));
  EngineOptions engine_options;
  engine_options.model_path = argv[1];
  engine_options.threads = 1;
  if (argv[6] != nullptr) engine_options.compute = Compute::kF32;
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, Engine::Open(engine_options));
  std::ifstream file(argv[2], std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const Tokenizer& tokenizer = engine->tokenizer();
  SessionOptions options;
  options.prompt_tokens = std::strtoul(argv[3], nullptr, 10);
  std::vector<TokenId> prompt;
  if (options.prompt_tokens == 0) {
    DAPPLE_ASSIGN_OR_RETURN(prompt,
                            EncodeChat(tokenizer, {"", text, ""}, false));
    options.prompt_tokens = prompt.size();
    std::printf("prompt of %zu tokens\n", prompt.size());
  } else {
    DAPPLE_ASSIGN_OR_RETURN(prompt, tokenizer.Encode(text, {}));
  }
  options.max_new_tokens = std::strtoul(argv[5], nullptr, 10);
  if (prompt.size() < options.prompt_tokens)
    return InvalidArgument("the text has too few tokens");
  prompt.resize(options.prompt_tokens);

  DAPPLE_ASSIGN_OR_RETURN(auto session, engine->NewSession(options));
  DAPPLE_RETURN_IF_ERROR(session->Prefill(prompt, {}));
  Sampler sampler({}, engine->vocab());
  std::vector<TokenId> answer;
  std::printf("ids");
  while (answer.size() < options.max_new_tokens) {
    const TokenId id = sampler.Sample(session->logits(), {});
    const auto& ends = tokenizer.end_ids();
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) break;
    answer.push_back(id);
    std::printf(" %d", static_cast<int>(id));
    DAPPLE_RETURN_IF_ERROR(session->Append(answer.back()));
  }
  std::printf("\n");

  options.eviction = {EvictionOptions()};
  options.eviction[0].policy = "dapq";
  options.eviction[0].keep = *KeepBudget::Parse(argv[4]);
  DAPPLE_ASSIGN_OR_RETURN(session, engine->NewSession(options));
  PrefillHooks hooks;
  hooks.on_scores = [](size_t, size_t layer, size_t head,
                       std::span<const float>, std::span<const uint32_t> kept) {
    std::printf("kept %zu %zu", layer, head);
    for (const uint32_t position : kept) std::printf(" %u", position);
    std::printf("\n");
  };
  return session->Prefill(prompt, hooks);
}

}  // namespace
}  // namespace dapple

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::fprintf(
        stderr,
        "usage: answer MODEL TEXT PROMPT_TOKENS KEEP NEW_TOKENS [f32]\n");
    return 2;
  }
  const dapple::Status status = dapple::Run(argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
  return status.ok() ? 0 : 1;
}
