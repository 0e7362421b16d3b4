// The work whose instructions are counted (tests/instructions/check): reads
// one tile of a prompt with the embedded model, or writes one token.
//
//   measured_work MODEL prefill|decode TARGET
//
// Everything else happens outside of MeasuredPrefill and MeasuredDecode, which
// callgrind is told to watch. One thread: which thread takes what must not
// change the count.
#include <cstdio>
#include <cstring>
#include <vector>

#include "dapple/engine.h"
#include "kernels/targets.h"

namespace {

constexpr size_t kPromptTokens = 64;

}  // namespace

extern "C" [[gnu::noinline]] bool MeasuredPrefill(
    dapple::Session* session, const std::vector<dapple::TokenId>& prompt) {
  return session->Prefill(prompt, {}).ok();
}

extern "C" [[gnu::noinline]] bool MeasuredDecode(dapple::Session* session) {
  return session->Append(77).ok();
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int64_t target = dapple::kernels::FindTarget(argv[3]);
  if (target == 0) {
    std::fprintf(stderr, "no target %s here\n", argv[3]);
    return 77;  // meson: skipped
  }
  dapple::kernels::ForceTarget(target);
  dapple::EngineOptions options;
  options.model_path = argv[1];
  options.threads = 1;
  // The same on every machine; auto asks for what the processor has.
  options.gemm = "int8";
  options.tile_rows = kPromptTokens;
  const auto engine = dapple::Engine::Open(options);
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", engine.status().message().c_str());
    return 1;
  }
  const bool decode = std::strcmp(argv[2], "decode") == 0;
  dapple::SessionOptions wanted;
  wanted.prompt_tokens = kPromptTokens;
  wanted.max_new_tokens = 1;
  const auto session = (*engine)->NewSession(wanted);
  if (!session.ok()) return 1;
  std::vector<dapple::TokenId> prompt(decode ? 1 : kPromptTokens);
  for (size_t i = 0; i < prompt.size(); ++i)
    prompt[i] = static_cast<dapple::TokenId>(100 + 37 * i);
  bool good = MeasuredPrefill(session->get(), prompt);
  if (decode) good = good && MeasuredDecode(session->get());
  return good ? 0 : 1;
}
