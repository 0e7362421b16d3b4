// dapple eval perplexity: how surprised a model is by a text.
//
// The text is cut into windows of --ctx tokens; each begins with bos (where
// the model wants one), and the second half of each is scored, so that every
// scored token has at least ctx / 2 tokens before it. This is the convention
// of other runtimes' perplexity tools, so figures can be compared.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "eval.h"
#include "model_options.h"
#include "progress.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  std::string file;
  size_t context = 2048;
  size_t windows = 0;  // 0: all
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

  SessionOptions session_options;
  session_options.prompt_tokens = context;
  session_options.row_logits = true;
  session_options.beyond_context = options.model.beyond_context;
  DAPPLE_ASSIGN_OR_RETURN(const auto session,
                          engine->NewSession(session_options));
  Score score;
  Progress progress(options.progress, false);
  const auto start = std::chrono::steady_clock::now();
  for (size_t window = 0; window < windows; ++window) {
    std::vector<TokenId> prompt(ids.begin() + window * context,
                                ids.begin() + (window + 1) * context);
    if (tokenizer.adds_bos()) prompt[0] = tokenizer.bos();
    PrefillHooks hooks;
    hooks.logits_from = context / 2;
    hooks.on_logits = [&](size_t first, size_t rows, const float* logits) {
      for (size_t row = 0; row < rows; ++row) {
        const size_t next = first + row + 1;
        if (next >= context) break;
        const float* line = logits + row * engine->vocab();
        score.Add(LogSumExp(line, engine->vocab()) -
                  line[static_cast<size_t>(prompt[next])]);
      }
    };
    DAPPLE_RETURN_IF_ERROR(session->Prefill(prompt, hooks));
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
    std::printf("%s\n", json.dump().c_str());
  } else {
    std::printf(
        "perplexity %.4f +/- %.4f (%zu windows of %zu tokens, %s scored, "
        "%.1f s)\n",
        perplexity, score.Error(), windows, context,
        Grouped(score.tokens).c_str(), seconds);
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
