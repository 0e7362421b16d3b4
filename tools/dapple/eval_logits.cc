// dapple eval logits: this runtime's logits against a reference's.
//
// DIR holds reference.json ({"ids", "logits", "shape", "greedy": {"prompt",
// "continuation"}}) and the float32 file it names, [rows, vocab]. Both paths
// are run: all-float (--compute f32) and the default. Bounds: f32 max |Δ| <=
// 2e-3 and the same greedy continuation; default path mean KL <= 2e-3.
//
// A reference whose "weights" were bfloat16 before they were computed in
// float32 had its whole module cast, rotary frequencies included: those are
// then rounded here too (--rope overrides). Real use never rounds them.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "dapple/sampler.h"
#include "eval.h"
#include "model_options.h"

namespace dapple::tool {
namespace {

constexpr double kMaxDifference = 2e-3;
constexpr double kMaxMeanKl = 2e-3;

struct Reference {
  std::vector<TokenId> ids;
  std::vector<float> logits;  // [ids, vocab]
  size_t vocab = 0;
  std::vector<TokenId> greedy_prompt;
  std::vector<TokenId> greedy_continuation;
  bool bf16_module = false;  // cast through bfloat16
};

struct Comparison {
  double max_difference = 0;
  double mean_kl = 0;
  double top1_agreement = 0;  // share of rows with the same best token
  size_t greedy_equal = 0;    // leading tokens of the continuation
  size_t greedy_length = 0;
};

Result<Reference> ReadReference(const std::string& folder) {
  const std::string path = folder + "/reference.json";
  DAPPLE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Reference reference;
  std::string logits_name;
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    reference.ids = json.at("ids").get<std::vector<TokenId>>();
    logits_name = json.at("logits").get<std::string>();
    const auto shape = json.at("shape").get<std::vector<size_t>>();
    if (shape.size() != 2 || shape[0] != reference.ids.size() || shape[0] == 0)
      return Corrupt(path + ": shape does not match the number of ids");
    reference.vocab = shape[1];
    reference.greedy_prompt =
        json.at("greedy").at("prompt").get<std::vector<TokenId>>();
    reference.greedy_continuation =
        json.at("greedy").at("continuation").get<std::vector<TokenId>>();
    reference.bf16_module =
        json.value("weights", std::string()).starts_with("bfloat16");
  } catch (const nlohmann::json::exception& error) {
    return Corrupt(path + ": " + error.what());
  }
  if (logits_name.find('/') != std::string::npos)
    return Corrupt(path + ": 'logits' must name a file beside it");
  const std::string logits_path = folder + "/" + logits_name;
  DAPPLE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(logits_path));
  if (reference.vocab == 0 ||
      bytes.size() / sizeof(float) / reference.vocab != reference.ids.size() ||
      bytes.size() % (sizeof(float) * reference.vocab) != 0)
    return Corrupt(logits_path + ": " + std::to_string(bytes.size()) +
                   " bytes are not " + std::to_string(reference.ids.size()) +
                   " x " + std::to_string(reference.vocab) + " floats");
  reference.logits.resize(bytes.size() / sizeof(float));
  std::memcpy(reference.logits.data(), bytes.data(), bytes.size());
  return reference;
}

size_t Best(const float* logits, size_t vocab) {
  return static_cast<size_t>(std::max_element(logits, logits + vocab) - logits);
}

Status CompareRows(Engine& engine, const Reference& reference,
                   const ModelOptions& model, Comparison* result) {
  SessionOptions options;
  options.prompt_tokens = reference.ids.size();
  options.row_logits = true;
  options.beyond_context = model.beyond_context;
  DAPPLE_ASSIGN_OR_RETURN(const auto session, engine.NewSession(options));
  const size_t vocab = reference.vocab;
  double kl = 0;
  size_t agree = 0;
  PrefillHooks hooks;
  hooks.on_logits = [&](size_t first, size_t rows, const float* logits) {
    for (size_t row = 0; row < rows; ++row) {
      const float* ours = logits + row * vocab;
      const float* theirs = &reference.logits[(first + row) * vocab];
      const double our_sum = LogSumExp(ours, vocab);
      const double their_sum = LogSumExp(theirs, vocab);
      for (size_t i = 0; i < vocab; ++i) {
        const double difference =
            std::abs(static_cast<double>(ours[i]) - theirs[i]);
        // A NaN must fail the bound, not slip through a comparison.
        if (!(difference <= result->max_difference))
          result->max_difference = std::isnan(difference)
                                       ? std::numeric_limits<double>::infinity()
                                       : difference;
        const double log_p = theirs[i] - their_sum;
        kl += std::exp(log_p) * (log_p - (ours[i] - our_sum));
      }
      agree += Best(ours, vocab) == Best(theirs, vocab);
    }
  };
  DAPPLE_RETURN_IF_ERROR(session->Prefill(reference.ids, hooks));
  const double count = static_cast<double>(reference.ids.size());
  result->mean_kl = kl / count;
  result->top1_agreement = static_cast<double>(agree) / count;
  return Status::Ok();
}

Status CompareGreedy(Engine& engine, const Reference& reference,
                     const ModelOptions& model, Comparison* result) {
  SessionOptions options;
  options.prompt_tokens = reference.greedy_prompt.size();
  options.max_new_tokens = reference.greedy_continuation.size();
  options.beyond_context = model.beyond_context;
  DAPPLE_ASSIGN_OR_RETURN(const auto session, engine.NewSession(options));
  DAPPLE_RETURN_IF_ERROR(session->Prefill(reference.greedy_prompt, {}));
  result->greedy_length = reference.greedy_continuation.size();
  for (TokenId expected : reference.greedy_continuation) {
    const auto best = static_cast<TokenId>(
        Best(session->logits().data(), session->logits().size()));
    if (best != expected) break;
    ++result->greedy_equal;
    DAPPLE_RETURN_IF_ERROR(session->Append(best));
  }
  return Status::Ok();
}

Result<Comparison> Compare(const ModelOptions& model, Compute compute,
                           const Reference& reference, bool bf16_rope) {
  DAPPLE_ASSIGN_OR_RETURN(const auto engine, model.Open(compute, bf16_rope));
  if (engine->vocab() != reference.vocab)
    return InvalidArgument("the reference has a vocabulary of " +
                           std::to_string(reference.vocab) + ", the model of " +
                           std::to_string(engine->vocab()));
  Comparison result;
  DAPPLE_RETURN_IF_ERROR(CompareRows(*engine, reference, model, &result));
  DAPPLE_RETURN_IF_ERROR(CompareGreedy(*engine, reference, model, &result));
  return result;
}

nlohmann::ordered_json ToJson(const Comparison& c, bool within) {
  nlohmann::ordered_json json;
  json["max_abs_difference"] = c.max_difference;
  json["mean_kl"] = c.mean_kl;
  json["top1_agreement"] = c.top1_agreement;
  json["greedy_equal"] = c.greedy_equal;
  json["greedy_length"] = c.greedy_length;
  json["within_bounds"] = within;
  return json;
}

void PrintRow(const char* name, const Comparison& c, bool within) {
  std::printf(
      "%-8s max |d| %.3e   mean KL %.3e   top-1 %5.1f %%   greedy %zu "
      "of %zu   %s\n",
      name, c.max_difference, c.mean_kl, c.top1_agreement * 100, c.greedy_equal,
      c.greedy_length, within ? "within bounds" : "OUT OF BOUNDS");
}

Result<int> RunLogits(const ModelOptions& model, const std::string& folder,
                      const std::string& rope, bool json) {
  DAPPLE_ASSIGN_OR_RETURN(const Reference reference, ReadReference(folder));
  const bool bf16_rope =
      rope == "auto" ? reference.bf16_module : rope == "bf16";
  DAPPLE_ASSIGN_OR_RETURN(const Comparison exact,
                          Compare(model, Compute::kF32, reference, bf16_rope));
  DAPPLE_ASSIGN_OR_RETURN(
      const Comparison fast,
      Compare(model, Compute::kDefault, reference, bf16_rope));
  const bool exact_ok = exact.max_difference <= kMaxDifference &&
                        exact.greedy_equal == exact.greedy_length;
  const bool fast_ok = fast.mean_kl <= kMaxMeanKl;
  if (json) {
    nlohmann::ordered_json report;
    report["reference"] = folder;
    report["rope_frequencies"] = bf16_rope ? "bf16" : "exact";
    report["f32"] = ToJson(exact, exact_ok);
    report["default"] = ToJson(fast, fast_ok);
    std::printf("%s\n", report.dump().c_str());
  } else {
    if (bf16_rope)
      std::printf(
          "rotary frequencies rounded to bf16, as the reference's "
          "were (--rope exact: not)\n");
    PrintRow("f32", exact, exact_ok);
    PrintRow("default", fast, fast_ok);
  }
  return exact_ok && fast_ok ? kExitOk : kExitFailure;
}

}  // namespace

void AddEvalLogits(CLI::App& eval, Run& run) {
  auto model = std::make_shared<ModelOptions>();
  auto folder = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  CLI::App* command = eval.add_subcommand(
      "logits", "Compare logits with a reference's (reference.json)");
  command->add_option("dir", *folder, "folder with reference.json")
      ->required()
      ->type_name("DIR");
  auto rope = std::make_shared<std::string>("auto");
  command
      ->add_option("--rope", *rope,
                   "rotary frequencies: exact, bf16, or auto (as "
                   "reference.json says)")
      ->check(CLI::IsMember({"auto", "exact", "bf16"}));
  command->add_flag("--json", *json, "print one JSON object");
  model->AddTo(*command);
  command->callback([model, folder, rope, json, &run] {
    run = [model, folder, rope, json] {
      const auto code = RunLogits(*model, *folder, *rope, *json);
      return code.ok() ? *code : Fail(code.status());
    };
  });
}

}  // namespace dapple::tool
