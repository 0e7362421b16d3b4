// dapple eval overlap: how much of what the decoder really attends to was kept
// (arXiv 2603.11564 §3.3).
//
// For each prompt: the answer is generated with everything kept; then the
// prompt is prefilled once more with exactly that answer as the probe. Its
// tokens stand at the positions of the decoded ones and see the same keys, so
// the probe's attention is the decoder's. Against it stand the sets that each
// policy kept. Reported per layer: the share of that attention on kept keys,
// and the share of its top-K keys (K the number kept) that were kept.

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "dapple/chat.h"
#include "eval.h"
#include "model_options.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  EvictionFlags flags;
  std::vector<std::string> files;
  std::vector<std::string> policies = {"dapq", "snapkv"};
  std::vector<std::string> keeps = {"256"};
  std::string instruction;
  std::string lead_in;
  size_t tokens = 32;
  bool json = false;
};

using HeadKey = std::pair<size_t, size_t>;  // layer, KV head

// Sums over prompts and heads, of one variant and layer.
struct Overlap {
  double coverage = 0;
  double recall = 0;
  size_t count = 0;
};

// Share of the `kept.size()` largest scores' keys that are in kept (sorted).
double Recall(const std::vector<float>& scores,
              const std::vector<uint32_t>& kept) {
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(kept.size());
  std::nth_element(
      order.begin(), middle, order.end(), [&](uint32_t a, uint32_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
      });
  size_t found = 0;
  for (auto it = order.begin(); it != middle; ++it)
    found += std::binary_search(kept.begin(), kept.end(), *it);
  return static_cast<double>(found) / static_cast<double>(kept.size());
}

double Covered(const std::vector<float>& scores,
               const std::vector<uint32_t>& kept) {
  double total = 0, covered = 0;
  for (float score : scores) total += score;
  for (uint32_t j : kept) covered += scores[j];
  return total > 0 ? covered / total : 1;
}

class OverlapRun {
 public:
  OverlapRun(const Options& options, Engine& engine)
      : options_(options), engine_(engine) {}

  Status AddVariants() {
    for (const std::string& policy : options_.policies) {
      for (const std::string& keep : options_.keeps) {
        EvictionFlags flags = options_.flags;
        flags.policy = policy;
        flags.keep = keep;
        DAPPLE_RETURN_IF_ERROR(flags.Apply(&base_));
        variants_.push_back(base_.eviction[0]);
      }
    }
    return Status::Ok();
  }

  Status AddPrompt(const std::vector<TokenId>& prompt) {
    base_.prompt_tokens = prompt.size();
    base_.beyond_context = options_.model.beyond_context;
    DAPPLE_ASSIGN_OR_RETURN(const std::vector<TokenId> answer, Answer(prompt));
    DAPPLE_ASSIGN_OR_RETURN(const auto truth, TrueAttention(prompt, answer));
    SessionOptions session_options = base_;
    session_options.eviction = variants_;
    DAPPLE_ASSIGN_OR_RETURN(const auto session,
                            engine_.NewSession(session_options));
    PrefillHooks hooks;
    hooks.on_scores = [&](size_t variant, size_t layer, size_t head,
                          std::span<const float>,
                          std::span<const uint32_t> kept) {
      const std::vector<uint32_t> set(kept.begin(), kept.end());
      const std::vector<float>& scores = truth.at({layer, head});
      Overlap& sum = overlaps_[{variant, layer}];
      sum.coverage += Covered(scores, set);
      sum.recall += Recall(scores, set);
      ++sum.count;
    };
    return session->Prefill(prompt, hooks);
  }

  void Print() const {
    for (size_t v = 0; v < variants_.size(); ++v) {
      std::printf("%s, keep %s\n", variants_[v].policy.c_str(),
                  variants_[v].keep.ToString().c_str());
      std::printf("  layer   attention kept   recall@K\n");
      Overlap all;
      for (const auto& [key, sum] : overlaps_) {
        if (key.first != v) continue;
        const double n = static_cast<double>(sum.count);
        std::printf("  %5zu   %12.1f %%   %6.1f %%\n", key.second,
                    100 * sum.coverage / n, 100 * sum.recall / n);
        all.coverage += sum.coverage;
        all.recall += sum.recall;
        all.count += sum.count;
      }
      const double n = static_cast<double>(all.count);
      std::printf("    all   %12.1f %%   %6.1f %%\n", 100 * all.coverage / n,
                  100 * all.recall / n);
    }
  }

  void PrintJson() const {
    for (size_t v = 0; v < variants_.size(); ++v) {
      nlohmann::ordered_json json;
      json["policy"] = variants_[v].policy;
      json["keep"] = variants_[v].keep.ToString();
      for (const auto& [key, sum] : overlaps_) {
        if (key.first != v) continue;
        const double n = static_cast<double>(sum.count);
        json["attention_kept"].push_back(sum.coverage / n);
        json["recall_at_k"].push_back(sum.recall / n);
      }
      std::printf("%s\n", json.dump().c_str());
    }
  }

 private:
  // Greedy, with every key kept.
  Result<std::vector<TokenId>> Answer(const std::vector<TokenId>& prompt) {
    SessionOptions session_options = base_;
    session_options.eviction.clear();
    session_options.max_new_tokens = options_.tokens;
    DAPPLE_ASSIGN_OR_RETURN(const auto session,
                            engine_.NewSession(session_options));
    DAPPLE_RETURN_IF_ERROR(session->Prefill(prompt, {}));
    Sampler sampler({}, engine_.vocab());
    std::vector<TokenId> answer;
    const auto& ends = engine_.tokenizer().end_ids();
    while (answer.size() < options_.tokens) {
      const TokenId id = sampler.Sample(session->logits(), {});
      if (std::find(ends.begin(), ends.end(), id) != ends.end()) break;
      answer.push_back(id);
      DAPPLE_RETURN_IF_ERROR(session->Append(id));
    }
    if (answer.empty()) answer.push_back(prompt.back());
    return answer;
  }

  Result<std::map<HeadKey, std::vector<float>>> TrueAttention(
      const std::vector<TokenId>& prompt, const std::vector<TokenId>& answer) {
    SessionOptions session_options = base_;
    session_options.probe_ids = answer;
    session_options.eviction = {EvictionOptions()};
    session_options.eviction[0].policy = "dapq";
    session_options.eviction[0].keep = *KeepBudget::Parse("1");
    DAPPLE_ASSIGN_OR_RETURN(const auto session,
                            engine_.NewSession(session_options));
    std::map<HeadKey, std::vector<float>> truth;
    PrefillHooks hooks;
    hooks.on_scores = [&](size_t, size_t layer, size_t head,
                          std::span<const float> scores,
                          std::span<const uint32_t>) {
      truth[{layer, head}] = {scores.begin(), scores.end()};
    };
    DAPPLE_RETURN_IF_ERROR(session->Prefill(prompt, hooks));
    return truth;
  }

  const Options& options_;
  Engine& engine_;
  SessionOptions base_;
  std::vector<EvictionOptions> variants_;
  std::map<std::pair<size_t, size_t>, Overlap> overlaps_;  // variant, layer
};

Status RunOverlap(const Options& options) {
  std::vector<std::string> texts;
  for (const std::string& file : options.files) {
    DAPPLE_ASSIGN_OR_RETURN(texts.emplace_back(), ReadText(file));
  }
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  OverlapRun run(options, *engine);
  DAPPLE_RETURN_IF_ERROR(run.AddVariants());
  const Tokenizer& tokenizer = engine->tokenizer();
  for (std::string text : texts) {
    if (!options.instruction.empty()) text += "\n\n" + options.instruction;
    std::vector<TokenId> prompt;
    if (SupportsChat(tokenizer)) {
      DAPPLE_ASSIGN_OR_RETURN(
          prompt, EncodeChat(tokenizer, {"", text, options.lead_in}, false));
    } else {
      DAPPLE_ASSIGN_OR_RETURN(prompt,
                              tokenizer.Encode(text + options.lead_in, {}));
    }
    DAPPLE_RETURN_IF_ERROR(run.AddPrompt(prompt));
  }
  if (options.json)
    run.PrintJson();
  else
    run.Print();
  return Status::Ok();
}

}  // namespace

void AddEvalOverlap(CLI::App& eval, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand(
      "overlap", "How much of the decoder's attention the kept keys hold");
  command->add_option("files", options->files, "prompts, one a file")
      ->required()
      ->type_name("FILE");
  command->add_option("--policies", options->policies, "policies to compare")
      ->delimiter(',')
      ->check(CLI::IsMember(EvictionPolicies()));
  command->add_option("--keeps", options->keeps, "budgets to compare")
      ->delimiter(',');
  command->add_option("--instruction", options->instruction,
                      "asked after each prompt's text");
  command->add_option("--lead-in", options->lead_in,
                      "text that begins the answer");
  command->add_option("-n,--max-tokens", options->tokens, "answer tokens")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object a variant");
  options->model.AddTo(*command);
  options->flags.AddTo(*command);
  command->callback([options, &run] {
    run = [options] {
      const Status status = RunOverlap(*options);
      return status.ok() ? kExitOk : Fail(status);
    };
  });
}

}  // namespace dapple::tool
