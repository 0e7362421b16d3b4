// dapple eval perplexity: how surprised a model is by a text.
//
// The text is cut into windows of --ctx tokens; each begins with bos (where
// the model wants one), and the second half of each is scored, so that every
// scored token has at least ctx / 2 tokens before it. This is the convention
// of other runtimes' perplexity tools, so figures can be compared.

//
// --kl BASE compares with the original of a quantized file on the same windows:
// Kullback-Leibler divergence D(base || model) of each scored position.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "eval.h"
#include "logit_base.h"
#include "model_options.h"
#include "progress.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  std::string file;
  size_t context = 2048;
  size_t windows = 0;  // 0: all
  std::string base;    // "": none
  bool json = false;
  std::string progress = "auto";
};

struct Score {
  size_t tokens = 0;
  double sum = 0;      // of -log p
  double squares = 0;  // of (log p)²

  void Add(double nll) {
    ++tokens;
    sum += nll;
    squares += nll * nll;
  }
  double Mean() const { return sum / static_cast<double>(tokens); }
  // Standard error of exp(mean), first order.
  double Error() const {
    const double n = static_cast<double>(tokens);
    const double variance = squares / n - Mean() * Mean();
    return std::exp(Mean()) * std::sqrt(std::max(0.0, variance) / n);
  }
};

// Where another model's distribution differs from this one's.
class Divergence {
 public:
  // logits: [vocab] of this model, sum its LogSumExp; log_p: [vocab] of the
  // base, -inf where its probability is too small to be known.
  void Add(const float* logits, double sum, std::span<const float> log_p) {
    double kl = 0;
    size_t best = 0;
    size_t base_best = 0;
    for (size_t i = 0; i < log_p.size(); ++i) {
      if (logits[i] > logits[best]) best = i;
      if (log_p[i] > log_p[base_best]) base_best = i;
      const double p = std::exp(static_cast<double>(log_p[i]));
      if (p > 0) kl += p * (log_p[i] - (logits[i] - sum));
    }
    kl_.push_back(static_cast<float>(kl));
    agreements_ += best == base_best;
  }

  struct Summary {
    double mean = 0, error = 0, median = 0, p99 = 0, most = 0;
    double top1 = 0;  // share of positions with the same best token
  };
  Summary Summarize() {
    Summary out;
    const double n = static_cast<double>(kl_.size());
    double squares = 0;
    for (const float kl : kl_) {
      out.mean += kl / n;
      squares += static_cast<double>(kl) * kl / n;
    }
    out.error = std::sqrt(std::max(0.0, squares - out.mean * out.mean) / n);
    std::sort(kl_.begin(), kl_.end());
    out.median = kl_[kl_.size() / 2];
    out.p99 = kl_[static_cast<size_t>(0.99 * (n - 1))];
    out.most = kl_.back();
    out.top1 = static_cast<double>(agreements_) / n;
    return out;
  }

 private:
  std::vector<float> kl_;  // of each position
  size_t agreements_ = 0;
};

void PrintDivergence(const std::string& base, const Divergence::Summary& kl) {
  std::printf(
      "KL from %s: mean %.6f +/- %.6f, median %.6f, 99 %% %.6f, most %.6f; "
      "same best token %.2f %%\n",
      base.c_str(), kl.mean, kl.error, kl.median, kl.p99, kl.most,
      100 * kl.top1);
}

nlohmann::ordered_json DivergenceJson(const std::string& base,
                                      const Divergence::Summary& kl) {
  return {{"base", base},
          {"mean", kl.mean},
          {"standard_error", kl.error},
          {"median", kl.median},
          {"percentile_99", kl.p99},
          {"most", kl.most},
          {"top1_agreement", kl.top1}};
}

Status RunPerplexity(const Options& options) {
  DAPPLE_ASSIGN_OR_RETURN(const std::string text, ReadText(options.file));
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, options.model.Open());
  const Tokenizer& tokenizer = engine->tokenizer();
  DAPPLE_ASSIGN_OR_RETURN(std::vector<TokenId> ids, tokenizer.Encode(text, {}));
  const size_t context = options.context;
  size_t windows = ids.size() / context;
  if (windows == 0)
    return InvalidArgument(options.file + ": has " +
                           std::to_string(ids.size()) +
                           " tokens, fewer than one window of " +
                           std::to_string(context) + " (--ctx)");
  if (options.windows != 0) windows = std::min(windows, options.windows);

  std::unique_ptr<LogitBase> base;
  Divergence divergence;
  std::vector<float> log_p;  // [vocab]
  if (!options.base.empty()) {
    const LogitWindows shape{context, windows, engine->vocab(), ids};
    DAPPLE_ASSIGN_OR_RETURN(
        base, LogitBase::Open(options.base, options.model, shape));
    log_p.resize(engine->vocab());
  }
  SessionOptions session_options;
  session_options.prompt_tokens = context;
  session_options.row_logits = true;
  session_options.beyond_context = options.model.beyond_context;
  std::string cap_source;
  DAPPLE_RETURN_IF_ERROR(
      options.model.memory.Apply(&session_options.memory, &cap_source));
  // The cap must be one asked for: a figure may not depend on what else runs.
  if (options.model.memory.ram.empty()) session_options.memory.ram_bytes = 0;
  DAPPLE_ASSIGN_OR_RETURN(const auto session,
                          engine->NewSession(session_options));
  Score score;
  Progress progress(options.progress, false);
  const auto start = std::chrono::steady_clock::now();
  for (size_t window = 0; window < windows; ++window) {
    std::vector<TokenId> prompt(ids.begin() + window * context,
                                ids.begin() + (window + 1) * context);
    if (tokenizer.adds_bos()) prompt[0] = tokenizer.bos();
    if (base != nullptr) DAPPLE_RETURN_IF_ERROR(base->Begin(window, prompt));
    Status base_status = Status::Ok();
    PrefillHooks hooks;
    hooks.logits_from = context / 2;
    hooks.on_logits = [&](size_t first, size_t rows, const float* logits) {
      for (size_t row = 0; row < rows; ++row) {
        const size_t next = first + row + 1;
        if (next >= context) break;
        const float* line = logits + row * engine->vocab();
        const double sum = LogSumExp(line, engine->vocab());
        score.Add(sum - line[static_cast<size_t>(prompt[next])]);
        if (base == nullptr || !base_status.ok()) continue;
        base_status = base->Next(log_p);
        if (base_status.ok()) divergence.Add(line, sum, log_p);
      }
    };
    DAPPLE_RETURN_IF_ERROR(session->Prefill(prompt, hooks));
    DAPPLE_RETURN_IF_ERROR(base_status);
    progress.Update({window + 1, windows, windows * context});
  }
  progress.Clear();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  const double perplexity = std::exp(score.Mean());
  if (options.json) {
    nlohmann::ordered_json json;
    json["model"] = engine->model_name();
    json["file"] = options.file;
    json["perplexity"] = perplexity;
    json["standard_error"] = score.Error();
    json["nll"] = score.Mean();
    json["scored_tokens"] = score.tokens;
    json["windows"] = windows;
    json["ctx"] = context;
    json["seconds"] = seconds;
    if (base != nullptr)
      json["kl"] = DivergenceJson(base->name(), divergence.Summarize());
    std::printf("%s\n", json.dump().c_str());
  } else {
    std::printf(
        "perplexity %.4f +/- %.4f (%zu windows of %zu tokens, %s scored, "
        "%.1f s)\n",
        perplexity, score.Error(), windows, context,
        Grouped(score.tokens).c_str(), seconds);
    if (base != nullptr) PrintDivergence(base->name(), divergence.Summarize());
  }
  return Status::Ok();
}

}  // namespace

void AddEvalPerplexity(CLI::App& eval, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand(
      "perplexity", "Perplexity of a text, second half of each window");
  command->add_option("-f,--file", options->file, "UTF-8 text (- is stdin)")
      ->required()
      ->type_name("FILE");
  command->add_option("--ctx", options->context, "tokens a window")
      ->check(CLI::Range(8, 1 << 24))
      ->capture_default_str();
  command->add_option("--windows", options->windows,
                      "score only the first N windows (0: all)");
  command
      ->add_option("--kl", options->base,
                   "compare with this GGUF file, or with log probabilities "
                   "that llama-perplexity stored of the same text")
      ->type_name("BASE");
  command->add_flag("--json", options->json, "print one JSON object");
  command->add_option("--progress", options->progress, "auto, plain or none")
      ->check(CLI::IsMember({"auto", "plain", "none"}));
  options->model.AddTo(*command);
  command->callback([options, &run] {
    run = [options] {
      const Status status = RunPerplexity(*options);
      return status.ok() ? kExitOk : Fail(status);
    };
  });
}

}  // namespace dapple::tool
