#include "model_options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>

#include "command.h"

namespace dapple::tool {

void ModelOptions::AddTo(CLI::App& command) {
  command
      .add_option("-m,--model", model,
                  "GGUF model (default: $DAPPLE_MODEL, else the embedded one)")
      ->type_name("FILE");
  command
      .add_option("-t,--threads", threads,
                  "threads (default: one per physical core)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  command
      .add_option("--compute", compute,
                  "default, or f32 for the slow float reference path")
      ->check(CLI::IsMember({"default", "f32"}));
  command.add_option("--gemm", gemm, "prefill products: auto, onednn, highway")
      ->check(CLI::IsMember({"auto", "onednn", "highway"}));
  command
      .add_option("--tile-rows", tile_rows,
                  "prompt rows computed at a time (default: chosen)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  command.add_flag("--beyond-context", beyond_context,
                   "allow prompts longer than the model was trained for");
}

Result<std::unique_ptr<Engine>> ModelOptions::Open() const {
  return Open(compute == "f32" ? Compute::kF32 : Compute::kDefault);
}

Result<std::unique_ptr<Engine>> ModelOptions::Open(
    Compute kind, bool bf16_rope_frequencies) const {
  EngineOptions options;
  options.model_path = model.empty() ? DefaultModelPath() : model;
  if (options.model_path.empty())
    return InvalidArgument(
        "no model: the embedded one was not found, name one with -m FILE");
  options.threads = threads;
  options.compute = kind;
  options.gemm = gemm;
  options.tile_rows = tile_rows;
  options.bf16_rope_frequencies = bf16_rope_frequencies;
  return Engine::Open(options);
}

void GenerationOptions::AddTo(CLI::App& command, size_t default_tokens) {
  max_new_tokens = default_tokens;
  command
      .add_option("-n,--max-tokens", max_new_tokens,
                  "longest answer, in tokens")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  command
      .add_option("--temperature,--temp", sampler.temperature,
                  "0 is greedy; higher is more random")
      ->capture_default_str();
  command.add_option("--top-k", sampler.top_k, "keep the k likeliest; 0: all")
      ->capture_default_str();
  command
      .add_option("--top-p", sampler.top_p,
                  "keep the likeliest tokens of this total probability")
      ->capture_default_str();
  command
      .add_option("--min-p", sampler.min_p,
                  "drop tokens below this share of the likeliest")
      ->capture_default_str();
  command
      .add_option("--repeat-penalty", sampler.repetition_penalty,
                  "above 1 discourages tokens of the last 64")
      ->capture_default_str();
  command.add_option("--seed", sampler.seed, "of the random numbers")
      ->capture_default_str();
  command
      .add_option("--progress", progress,
                  "auto (a bar on terminals), plain (lines), none")
      ->check(CLI::IsMember({"auto", "plain", "none"}))
      ->capture_default_str();
  command.add_flag("--json", json, "print one JSON object a document");
  command.add_flag("--quiet", quiet, "no progress, no figures on stderr");
}

}  // namespace dapple::tool
