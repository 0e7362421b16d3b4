// dapple bench eviction: what a policy costs in time to first token, and what
// it gains in decoding, against keeping everything. The two run in turn (A B A
// B …) on random token ids, so that a machine whose speed drifts disturbs both
// alike; the ratio is taken pair by pair.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "bench.h"
#include "model_options.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  EvictionFlags flags;
  std::vector<std::string> lengths = {"2k", "8k", "32k"};
  size_t tokens = 32;
  size_t repeat = 5;
  bool json = false;
};

struct Timing {
  double first_token_s = 0;
  double tokens_per_s = 0;
};

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since)
      .count();
}

Result<Timing> Measure(Engine& engine, const SessionOptions& options,
                       const std::vector<TokenId>& prompt) {
  DAPPLE_ASSIGN_OR_RETURN(const auto session, engine.NewSession(options));
  Timing timing;
  auto start = std::chrono::steady_clock::now();
  DAPPLE_RETURN_IF_ERROR(session->Prefill(prompt, {}));
  timing.first_token_s = Seconds(start);
  start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < options.max_new_tokens; ++i)
    DAPPLE_RETURN_IF_ERROR(session->Append(prompt[i % prompt.size()]));
  timing.tokens_per_s =
      static_cast<double>(options.max_new_tokens) / Seconds(start);
  return timing;
}

struct Series {
  std::vector<double> values;

  double At(double share) const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<size_t>(
        share * static_cast<double>(sorted.size() - 1) + 0.5)];
  }
  nlohmann::ordered_json Json() const {
    return {{"median", At(0.5)}, {"min", At(0)}, {"max", At(1)}};
  }
};

Status RunLength(const Options& options, Engine& engine, size_t length) {
  std::mt19937 random(1);
  std::vector<TokenId> prompt(length);
  for (TokenId& id : prompt)
    id = static_cast<TokenId>(random() % static_cast<uint32_t>(engine.vocab()));
  SessionOptions full;
  full.prompt_tokens = length;
  full.max_new_tokens = options.tokens;
  full.beyond_context = true;
  SessionOptions evicting = full;
  DAPPLE_RETURN_IF_ERROR(options.flags.Apply(&evicting));
  Series full_first, full_rate, first, rate, cost, gain;
  for (size_t i = 0; i < options.repeat; ++i) {
    DAPPLE_ASSIGN_OR_RETURN(const Timing a, Measure(engine, full, prompt));
    DAPPLE_ASSIGN_OR_RETURN(const Timing b, Measure(engine, evicting, prompt));
    full_first.values.push_back(a.first_token_s);
    full_rate.values.push_back(a.tokens_per_s);
    first.values.push_back(b.first_token_s);
    rate.values.push_back(b.tokens_per_s);
    cost.values.push_back(b.first_token_s / a.first_token_s);
    gain.values.push_back(b.tokens_per_s / a.tokens_per_s);
  }
  if (options.json) {
    nlohmann::ordered_json json;
    json["prompt_tokens"] = length;
    json["policy"] = options.flags.policy;
    json["keep"] = options.flags.keep;
    json["full_first_token_s"] = full_first.Json();
    json["first_token_s"] = first.Json();
    json["first_token_ratio"] = cost.Json();
    json["full_decode_tokens_per_s"] = full_rate.Json();
    json["decode_tokens_per_s"] = rate.Json();
    json["decode_ratio"] = gain.Json();
    std::printf("%s\n", json.dump().c_str());
  } else {
    std::printf(
        "%8zu %9.3f s %9.3f s %7.3f (%.3f-%.3f) %9.1f/s %9.1f/s %6.2f "
        "(%.2f-%.2f)\n",
        length, full_first.At(0.5), first.At(0.5), cost.At(0.5), cost.At(0),
        cost.At(1), full_rate.At(0.5), rate.At(0.5), gain.At(0.5), gain.At(0),
        gain.At(1));
  }
  std::fflush(stdout);
  return Status::Ok();
}

Status RunBench(const Options& options) {
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  if (!options.json)
    std::printf(
        "%s, %d threads, %zu rounds, median (min-max); %s keeping %s\n"
        "%8s %11s %11s %21s %11s %11s %18s\n",
        engine->model_name().c_str(), engine->threads(), options.repeat,
        options.flags.policy.c_str(), options.flags.keep.c_str(), "tokens",
        "full first", "first", "ratio", "full decode", "decode", "ratio");
  for (const std::string& text : options.lengths) {
    DAPPLE_ASSIGN_OR_RETURN(const size_t length, ParseLength(text));
    DAPPLE_RETURN_IF_ERROR(RunLength(options, *engine, length));
  }
  return Status::Ok();
}

}  // namespace

void AddBenchEviction(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  options->flags.keep = "3%";
  CLI::App* command = bench.add_subcommand(
      "eviction", "A policy's cost and gain against keeping everything");
  command
      ->add_option("--length", options->lengths, "prompt lengths, as 2k,8k,32k")
      ->delimiter(',');
  command->add_option("--tg", options->tokens, "tokens decoded")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--repeat", options->repeat, "rounds")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object a length");
  options->model.AddTo(*command);
  options->flags.AddTo(*command);
  command->callback([options, &run] {
    run = [options] {
      const Status status = RunBench(*options);
      return status.ok() ? kExitOk : Fail(status);
    };
  });
}

}  // namespace dapple::tool
