// dapple bench run: tokens a second of reading prompts and of writing, each
// also as a share of what the machine's measured limits would allow.
//
// The limit of prefill is the operations that it needs at the peak rate of
// their kind; that of decoding is the bytes that a token needs at the speed of
// memory. Prompts are random tokens. A policy is measured in turn with keeping
// everything, so that a machine whose speed drifts disturbs both alike.

#include <sched.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "bench.h"
#include "clock_text.h"
#include "interrupt.h"
#include "limits_text.h"
#include "model_options.h"
#include "text_table.h"
#include "trace_file.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ModelOptions model;
  EvictionFlags flags;
  std::vector<std::string> prompts = {"512"};
  std::vector<std::string> depths = {"0"};
  size_t tokens = 64;
  size_t repeat = 5;
  bool no_pin = false;
  bool json = false;
  bool csv = false;
  TraceFile trace;
};

// One line of the result.
struct Series {
  size_t n = 0;
  size_t depth = 0;
  std::string policy;
  std::string keep;  // "": everything
  std::vector<double> rates;
  double limit_rate = 0;  // tokens a second; 0: not known
  // Prefill: of the tokens, what the layers' matrices alone would take.
  double linear_limit_rate = 0;

  double Share() const {
    return limit_rate > 0 ? Spread::Of(rates).median / limit_rate : 0;
  }
  double LinearShare() const {
    return linear_limit_rate > 0 ? Spread::Of(rates).median / linear_limit_rate
                                 : 0;
  }
};

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

// "0", which stands for none, or a length.
Result<size_t> ParseCount(const std::string& text) {
  if (text == "0") return size_t{0};
  return ParseLength(text);
}

// Threads of this process, the first first, on one processor each.
void PinThreads(const std::vector<int>& cpus) {
  if (cpus.empty()) return;
  std::vector<int> threads;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/task", error))
    threads.push_back(std::atoi(entry.path().filename().c_str()));
  std::sort(threads.begin(), threads.end());
  for (size_t i = 0; i < threads.size(); ++i) {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpus[i % cpus.size()], &only);
    sched_setaffinity(threads[i], sizeof(only), &only);
  }
}

class Bench {
 public:
  explicit Bench(Options& options) : options_(options) {}

  Status Run();

 private:
  Status RunPrompt(size_t length);
  Status RunDepth(size_t depth);
  Result<SessionOptions> SessionFor(size_t prompt, size_t tokens) const;
  Status Read(Session& session, std::span<const TokenId> prompt) const;
  Status Write(Session& session, size_t tokens) const;
  Series SeriesOf(size_t n, size_t depth, size_t variant) const;
  Json ToJson() const;
  std::string ToCsv() const;
  std::string ToText() const;

  bool evicts() const { return options_.flags.policy != "full"; }
  // Of the layers' matrices in prefill.
  double LinearPeak() const {
    const std::string backend = engine_->gemm_backend();
    const bool floats = backend == "f32" || limits_.bf16_ops.all.median == 0;
    const Limit& limit = backend == "int8" ? limits_.int8_ops
                         : floats          ? limits_.f32_ops
                                           : limits_.bf16_ops;
    return limit.all.median;
  }

  Options& options_;
  MachineLimits limits_;
  std::unique_ptr<Engine> engine_;
  std::vector<TokenId> ids_;
  Trace* trace_ = nullptr;
  const std::atomic<bool>* cancel_ = nullptr;
  std::vector<Series> prompts_, tokens_;
};

Result<SessionOptions> Bench::SessionFor(size_t prompt, size_t tokens) const {
  SessionOptions session;
  session.prompt_tokens = prompt;
  session.max_new_tokens = tokens;
  session.beyond_context = true;
  session.trace = trace_;
  std::string ignored;
  DAPPLE_RETURN_IF_ERROR(
      options_.model.memory.Apply(&session.memory, &ignored));
  return session;
}

Status Bench::Read(Session& session, std::span<const TokenId> prompt) const {
  PrefillHooks hooks;
  hooks.cancel = cancel_;
  return session.Prefill(prompt, hooks);
}

Status Bench::Write(Session& session, size_t tokens) const {
  for (size_t i = 0; i < tokens; ++i) {
    if (cancel_->load()) return Cancelled("interrupted");
    DAPPLE_RETURN_IF_ERROR(session.Append(ids_[i % ids_.size()]));
  }
  return Status::Ok();
}

Series Bench::SeriesOf(size_t n, size_t depth, size_t variant) const {
  Series series;
  series.n = n;
  series.depth = depth;
  series.policy = variant == 0 ? "full" : options_.flags.policy;
  if (variant != 0) series.keep = options_.flags.keep;
  return series;
}

Status Bench::RunPrompt(size_t length) {
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<Series> series;
  const ModelWork work = engine_->Work(length);
  const double linear_s = work.linear_ops / LinearPeak();
  const double attention_s =
      work.attention_ops / limits_.AttentionOps().all.median;
  const std::span<const TokenId> prompt = std::span(ids_).first(length);
  for (size_t variant = 0; variant < (evicts() ? 2 : 1); ++variant) {
    DAPPLE_ASSIGN_OR_RETURN(SessionOptions options, SessionFor(length, 1));
    if (variant != 0) DAPPLE_RETURN_IF_ERROR(options_.flags.Apply(&options));
    DAPPLE_ASSIGN_OR_RETURN(auto session, engine_->NewSession(options));
    // Weights into memory, code into caches.
    DAPPLE_RETURN_IF_ERROR(
        Read(*session, prompt.first(std::min<size_t>(length, 512))));
    sessions.push_back(std::move(session));
    series.push_back(SeriesOf(length, 0, variant));
    series.back().limit_rate =
        static_cast<double>(length) / (linear_s + attention_s);
    series.back().linear_limit_rate = static_cast<double>(length) / linear_s;
  }
  for (size_t round = 0; round < options_.repeat; ++round)
    for (size_t i = 0; i < sessions.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      DAPPLE_RETURN_IF_ERROR(Read(*sessions[i], prompt));
      series[i].rates.push_back(static_cast<double>(length) /
                                SecondsSince(start));
    }
  prompts_.insert(prompts_.end(), series.begin(), series.end());
  return Status::Ok();
}

// The prompt is read once; each round starts over behind it.
Status Bench::RunDepth(size_t depth) {
  const size_t length = std::max<size_t>(1, depth), tokens = options_.tokens;
  DAPPLE_ASSIGN_OR_RETURN(SessionOptions options, SessionFor(length, tokens));
  std::vector<EvictionOptions> kept;
  if (evicts() && depth != 0) {
    DAPPLE_RETURN_IF_ERROR(options_.flags.Apply(&options));
    kept = options.eviction;
    kept.insert(kept.begin(), EvictionOptions{});
    options.generation_slots = 0;
  }
  options.eviction = kept;
  DAPPLE_ASSIGN_OR_RETURN(const auto session, engine_->NewSession(options));
  DAPPLE_RETURN_IF_ERROR(Read(*session, std::span(ids_).first(length)));
  std::vector<Series> series;
  const size_t variants = std::max<size_t>(1, kept.size());
  const auto weights = static_cast<double>(engine_->Work(1).token_weight_bytes);
  for (size_t variant = 0; variant < variants; ++variant) {
    DAPPLE_RETURN_IF_ERROR(session->SelectVariant(variant));
    DAPPLE_RETURN_IF_ERROR(Write(*session, std::min<size_t>(tokens, 4)));
    series.push_back(SeriesOf(tokens, depth, variant));
    const KeptReport report = session->Kept();
    const double row = static_cast<double>(report.full_bytes) /
                       static_cast<double>(report.prompt_tokens);
    const double bytes = weights + static_cast<double>(report.kept_bytes) +
                         row * static_cast<double>(tokens + 1) / 2;
    series.back().limit_rate = limits_.read_bytes.all.median / bytes;
  }
  for (size_t round = 0; round < options_.repeat; ++round)
    for (size_t variant = 0; variant < variants; ++variant) {
      DAPPLE_RETURN_IF_ERROR(session->SelectVariant(variant));
      const auto start = std::chrono::steady_clock::now();
      DAPPLE_RETURN_IF_ERROR(Write(*session, tokens));
      series[variant].rates.push_back(static_cast<double>(tokens) /
                                      SecondsSince(start));
    }
  tokens_.insert(tokens_.end(), series.begin(), series.end());
  return Status::Ok();
}

Json Bench::ToJson() const {
  Json json;
  json["model"] = engine_->model_name();
  json["threads"] = engine_->threads();
  json["gemm"] = engine_->gemm_backend();
  json["repeat"] = options_.repeat;
  for (const auto& [key, list] :
       {std::pair{"pp", &prompts_}, std::pair{"tg", &tokens_}}) {
    json[key] = Json::array();
    for (const Series& series : *list) {
      const Spread spread = Spread::Of(series.rates);
      Json line = {{"n", series.n}, {"depth", series.depth}};
      line["policy"] = series.policy;
      if (!series.keep.empty()) line["keep"] = series.keep;
      line["tokens_per_s"] = spread.median;
      line["min"] = spread.min;
      line["max"] = spread.max;
      line["share_of_limit"] = series.Share();
      if (series.linear_limit_rate > 0)
        line["linear_share"] = series.LinearShare();
      json[key].push_back(std::move(line));
    }
  }
  json["limits"] = LimitsJson(limits_);
  return json;
}

std::string Bench::ToCsv() const {
  std::string text =
      "test,n,depth,policy,keep,tokens_per_s,min,max,share_of_limit\n";
  for (const auto& [key, list] :
       {std::pair{"pp", &prompts_}, std::pair{"tg", &tokens_}})
    for (const Series& series : *list) {
      const Spread spread = Spread::Of(series.rates);
      text += std::string(key) + "," + std::to_string(series.n) + "," +
              std::to_string(series.depth) + "," + CsvField(series.policy) +
              "," + CsvField(series.keep) + "," +
              Format("%.2f", spread.median) + "," + Format("%.2f", spread.min) +
              "," + Format("%.2f", spread.max) + "," +
              Format("%.4f", series.Share()) + "\n";
    }
  return text;
}

std::string Bench::ToText() const {
  std::string text = engine_->model_name() + ", " +
                     std::to_string(engine_->threads()) + " threads, GEMM " +
                     engine_->gemm_backend() + ", " +
                     std::to_string(options_.repeat) +
                     " rounds, median (min-max)\n" + LimitsText(limits_);
  TextTable table = {
      {"", "depth", "kept", "tokens/s", "of limit", "linear layers"}};
  for (const auto& [key, list] :
       {std::pair{"pp", &prompts_}, std::pair{"tg", &tokens_}})
    for (const Series& series : *list) {
      const Spread spread = Spread::Of(series.rates);
      table.push_back(
          {key + std::to_string(series.n), Grouped(series.depth),
           series.keep.empty() ? "all" : series.policy + " " + series.keep,
           Format("%.1f", spread.median) + " (" + Format("%.1f", spread.min) +
               "-" + Format("%.1f", spread.max) + ")",
           Format("%.0f %%", 100 * series.Share()),
           series.linear_limit_rate > 0
               ? Format("%.0f %%", 100 * series.LinearShare())
               : ""});
    }
  return text + Laid(table) +
         "of limit: prefill's operations at the peaks above, or decoding's "
         "bytes at the\nspeed of memory (more than 100 % where caches hold "
         "the model); linear layers:\ntheir operations alone, at their peak\n";
}

Status Bench::Run() {
  std::vector<size_t> prompts, depths;
  size_t longest = 1;
  for (const std::string& text : options_.prompts) {
    DAPPLE_ASSIGN_OR_RETURN(const size_t n, ParseCount(text));
    if (n != 0) prompts.push_back(n);
    longest = std::max(longest, n);
  }
  for (const std::string& text : options_.depths) {
    DAPPLE_ASSIGN_OR_RETURN(const size_t n, ParseCount(text));
    if (options_.tokens != 0) depths.push_back(n);
    longest = std::max(longest, n);
  }
  DAPPLE_ASSIGN_OR_RETURN(trace_, options_.trace.Begin());
  DAPPLE_ASSIGN_OR_RETURN(engine_, options_.model.Open());
  LimitOptions limits;
  limits.threads = engine_->threads();
  DAPPLE_ASSIGN_OR_RETURN(limits_, MeasureMachineLimits(limits));
  if (!options_.no_pin) PinThreads(limits_.cpus);
  std::mt19937 random(1);
  for (size_t i = 0; i < longest + options_.tokens; ++i)
    ids_.push_back(static_cast<TokenId>(
        random() % static_cast<uint32_t>(engine_->vocab())));
  {
    const InterruptGuard guard;
    cancel_ = &guard.flag();
    for (const size_t n : prompts) DAPPLE_RETURN_IF_ERROR(RunPrompt(n));
    for (const size_t n : depths) DAPPLE_RETURN_IF_ERROR(RunDepth(n));
  }
  const std::string text = options_.json  ? ToJson().dump() + "\n"
                           : options_.csv ? ToCsv()
                                          : ToText();
  std::printf("%s", text.c_str());
  if (std::fflush(stdout) != 0)
    return IoError("standard output: cannot be written");
  return options_.trace.Write();
}

}  // namespace

void AddBenchRun(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  options->flags.policy = "full";
  options->flags.keep = "3%";
  CLI::App* command = bench.add_subcommand(
      "run", "Tokens a second, and their share of the machine's limits");
  command
      ->add_option("--pp", options->prompts,
                   "prompt lengths read: a list (4k is 4096; 0: none)")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--tg", options->tokens, "tokens written (0: none)")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--depth", options->depths,
                   "prompt tokens before those that are written: a list")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--repeat", options->repeat, "rounds")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--no-pin", options->no_pin,
                    "leave threads where the system puts them");
  auto* json = command->add_flag("--json", options->json, "one JSON object");
  command->add_flag("--csv", options->csv, "comma-separated values")
      ->excludes(json);
  options->trace.AddTo(*command);
  options->model.AddTo(*command);
  options->flags.AddTo(*command);
  command->callback([options, &run] {
    run = [options] {
      const ClockWatch clocks;
      Bench work(*options);
      const Status status = work.Run();
      clocks.Mention();
      if (status.code() == StatusCode::kCancelled) return int{kExitInterrupted};
      return status.ok() ? int{kExitOk} : Fail(status);
    };
  });
}

}  // namespace dapple::tool
