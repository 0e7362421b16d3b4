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
  command.add_flag("--pin", pin, "keep each thread on a core of its own");
  command
      .add_option("--compute", compute,
                  "default, or f32 for the slow float reference path")
      ->check(CLI::IsMember({"default", "f32"}));
  command
      .add_option("--gemm", gemm,
                  "prefill products: auto, onednn, highway, int8")
      ->check(CLI::IsMember({"auto", "onednn", "highway", "int8"}));
  command
      .add_option("--tile-rows", tile_rows,
                  "prompt rows computed at a time (default: chosen)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  command.add_flag("--beyond-context", beyond_context,
                   "allow prompts longer than the model was trained for");
  memory.AddTo(command);
}

Result<EngineOptions> ModelOptions::Resolve() const {
  EngineOptions options;
  options.model_path = model.empty() ? DefaultModelPath() : model;
  if (options.model_path.empty())
    return InvalidArgument(
        "no model: the embedded one was not found, name one with -m FILE");
  options.threads = threads;
  options.pin_threads = pin;
  options.compute = compute == "f32" ? Compute::kF32 : Compute::kDefault;
  options.gemm = gemm;
  options.tile_rows = tile_rows;
  return options;
}

Result<std::unique_ptr<Engine>> ModelOptions::Open() const {
  DAPPLE_ASSIGN_OR_RETURN(const EngineOptions options, Resolve());
  return Engine::Open(options);
}

Result<std::unique_ptr<Engine>> ModelOptions::Open(
    Compute kind, bool bf16_rope_frequencies) const {
  DAPPLE_ASSIGN_OR_RETURN(EngineOptions options, Resolve());
  options.compute = kind;
  options.bf16_rope_frequencies = bf16_rope_frequencies;
  return Engine::Open(options);
}

void EvictionFlags::AddTo(CLI::App& command) {
  command
      .add_option("--policy", policy,
                  "which keys and values of the prompt are kept")
      ->check(CLI::IsMember(EvictionPolicies()))
      ->capture_default_str();
  command
      .add_option("--keep", keep,
                  "keys kept a head: a number (256), a share (3%) or auto "
                  "(all that fit)")
      ->check([](const std::string& text) {
        const auto budget = KeepBudget::Parse(text);
        return budget.ok() ? std::string() : budget.status().message();
      })
      ->capture_default_str()
      ->type_name("BUDGET");
  command
      .add_option("--probe-tokens", probe_tokens,
                  "pseudo tokens that ask what to keep (dapq)")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->type_name("N");
  command
      .add_option("--probe-content", probe_content,
                  "of the pseudo tokens: the prompt's first and last tokens, "
                  "its last ones, or random ids")
      ->check(CLI::IsMember({"prefix-suffix", "suffix", "random"}))
      ->capture_default_str();
  command
      .add_option("--pool", pool,
                  "scores are max-pooled over this many neighbours (odd)")
      ->capture_default_str()
      ->type_name("N");
  command.add_option("--sinks", sinks, "first tokens always kept (streaming)")
      ->capture_default_str()
      ->type_name("N");
  command
      .add_option("--recent", recent,
                  "newest tokens always kept (snapkv, pyramidkv)")
      ->capture_default_str()
      ->type_name("N");
  command.add_flag("--value-weighted", value_weighted,
                   "weigh scores by what the values add to the output");
  command
      .add_option("--reserve", reserve,
                  "slots for the answer's own keys (default: -n)")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N");
  command
      .add_option("--on-full", on_full,
                  "when the reserve is full: stop, or recent (drop the oldest "
                  "generated token)")
      ->check(CLI::IsMember({"stop", "recent"}))
      ->capture_default_str();
}

Status EvictionFlags::Apply(SessionOptions* session) const {
  EvictionOptions options;
  options.policy = policy;
  DAPPLE_ASSIGN_OR_RETURN(options.keep, KeepBudget::Parse(keep));
  options.pool = pool;
  options.sinks = sinks;
  options.recent = recent;
  options.value_weighted = value_weighted;
  options.seed = seed;
  DAPPLE_RETURN_IF_ERROR(options.Validate());
  session->eviction = {options};
  session->probe_tokens = probe_tokens;
  session->probe_content = probe_content == "random" ? ProbeContent::kRandom
                           : probe_content == "suffix"
                               ? ProbeContent::kSuffix
                               : ProbeContent::kPrefixSuffix;
  session->probe_seed = seed;
  session->generation_slots = reserve;
  session->on_full = on_full == "recent" ? SessionOptions::OnFull::kDropOldest
                                         : SessionOptions::OnFull::kStop;
  return Status::Ok();
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
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--top-k", sampler.top_k, "keep the k likeliest; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--top-p", sampler.top_p,
                  "keep the likeliest tokens of this total probability")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  command
      .add_option("--min-p", sampler.min_p,
                  "drop tokens below this share of the likeliest")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      .add_option("--repeat-penalty", sampler.repetition_penalty,
                  "above 1 discourages tokens of the last 64")
      ->check(CLI::Range(1e-3, 1e3))
      ->capture_default_str();
  command.add_option("--seed", sampler.seed, "of the random numbers")
      ->capture_default_str();
  command
      .add_option("--progress", progress,
                  "auto (a bar on terminals), plain (lines), none")
      ->check(CLI::IsMember({"auto", "plain", "none"}))
      ->capture_default_str();
  command.add_flag("--json", json, "print one JSON object a document");
  command
      .add_option("--report", report,
                  "append that JSON object to FILE, and print the text")
      ->type_name("FILE");
  command.add_flag("--quiet", quiet, "no progress, no figures on stderr");
  trace->AddTo(command);
}

}  // namespace dapple::tool
