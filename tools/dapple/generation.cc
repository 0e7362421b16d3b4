#include "generation.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "command.h"
#include "interrupt.h"
#include "progress.h"

namespace dapple::tool {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

double PerSecond(size_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

// Collects the answer and, unless --json, prints it as it comes.
class Output {
 public:
  explicit Output(bool stream) : stream_(stream) {}
  void Write(const std::string& piece) {
    text_ += piece;
    if (!stream_) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  }
  const std::string& text() const { return text_; }

 private:
  bool stream_;
  std::string text_;
};

nlohmann::ordered_json ToJson(const Engine& engine, const GenerationTask& task,
                              const GenerationReport& report) {
  nlohmann::ordered_json json;
  if (!task.file.empty()) json["file"] = task.file;
  json["model"] = engine.model_name();
  json["text"] = report.text;
  json["stop"] = report.stop;
  json["prompt_tokens"] = report.prompt_tokens;
  json["generated_tokens"] = report.generated_tokens;
  json["prefill_s"] = report.prefill_s;
  json["decode_s"] = report.decode_s;
  json["prefill_tokens_per_s"] =
      PerSecond(report.prompt_tokens, report.prefill_s);
  json["decode_tokens_per_s"] =
      PerSecond(report.generated_tokens, report.decode_s);
  json["planned_bytes"] = report.planned_bytes;
  json["arena_bytes"] = report.arena_bytes;
  json["schedule"] = std::string(NameOf(report.schedule));
  json["weights"] = std::string(NameOf(report.weights));
  json["kv"] = std::string(NameOf(report.kv));
  json["peak_rss_bytes"] = report.peak_rss_bytes;
  std::vector<size_t> kept_tokens;
  std::vector<double> coverage;
  for (const KeptLayer& layer : report.kept.layers) {
    kept_tokens.push_back(layer.min_kept);
    if (layer.coverage >= 0) coverage.push_back(layer.coverage);
  }
  json["policy"] = report.kept.policy;
  json["kept_tokens"] = kept_tokens;
  if (report.sections != 0) {
    json["sections"] = report.sections;
    json["rounds"] = report.rounds;
  }
  json["kept_share"] = report.kept.KeptShare();
  json["kept_bytes"] = report.kept.kept_bytes;
  json["full_kv_bytes"] = report.kept.full_bytes;
  json["coverage"] = coverage;
  json["threads"] = engine.threads();
  json["gemm"] = engine.gemm_backend();
  return json;
}

Status AppendLine(const std::string& path, const std::string& line) {
  std::FILE* file = std::fopen(path.c_str(), "a");
  if (file == nullptr) return IoError(path + ": " + std::strerror(errno));
  const bool written = std::fprintf(file, "%s\n", line.c_str()) >= 0;
  if (std::fclose(file) != 0 || !written)
    return IoError(path + ": cannot be written");
  return Status::Ok();
}

void PrintFigures(const GenerationReport& report) {
  if (report.stop == "interrupted" && report.kept.prompt_tokens == 0) {
    std::fprintf(stderr, "interrupted after %.1f s of reading %s tokens\n",
                 report.prefill_s, Grouped(report.prompt_tokens).c_str());
    return;
  }
  std::fprintf(
      stderr,
      "%s prompt tokens in %.2f s (%.0f/s), %s written in %.2f s (%.0f/s); "
      "memory planned %s, peak %s%s\n",
      Grouped(report.prompt_tokens).c_str(), report.prefill_s,
      PerSecond(report.prompt_tokens, report.prefill_s),
      Grouped(report.generated_tokens).c_str(), report.decode_s,
      PerSecond(report.generated_tokens, report.decode_s),
      HumanBytes(static_cast<double>(report.planned_bytes)).c_str(),
      HumanBytes(static_cast<double>(report.peak_rss_bytes)).c_str(),
      report.stop == "interrupted" ? "; interrupted" : "");
}

// What was kept of the prompt, said as soon as it is known.
void PrintKept(const KeptReport& kept, bool summary) {
  size_t least = SIZE_MAX, most = 0;
  for (const KeptLayer& layer : kept.layers) {
    least = std::min(least, layer.min_kept);
    most = std::max(most, layer.max_kept);
  }
  if (least >= kept.prompt_tokens) {
    std::fprintf(stderr, "kept all %s prompt tokens (KV %s)\n",
                 Grouped(kept.prompt_tokens).c_str(),
                 HumanBytes(static_cast<double>(kept.kept_bytes)).c_str());
    return;
  }
  std::string range = Grouped(least);
  if (most != least) range += "-" + Grouped(most);
  std::string coverage;
  if (kept.MinCoverage() >= 0) {
    char text[96];
    std::snprintf(text, sizeof(text),
                  "; they hold %.1f %% of the probe's attention (median of "
                  "layers; least %.1f %%)",
                  kept.MedianCoverage() * 100, kept.MinCoverage() * 100);
    coverage = text;
  }
  std::fprintf(stderr,
               "%s: kept %s of %s prompt tokens a head (%.1f %%)%s; KV %s of "
               "%s\n",
               kept.policy.c_str(), range.c_str(),
               Grouped(kept.prompt_tokens).c_str(), kept.KeptShare() * 100,
               coverage.c_str(),
               HumanBytes(static_cast<double>(kept.kept_bytes)).c_str(),
               HumanBytes(static_cast<double>(kept.full_bytes)).c_str());
  // Others measured a cliff near 90 % removal (arXiv 2603.01426), and the
  // paper itself loses a third of its summaries' ROUGE at 3 %.
  if (summary && kept.KeptShare() < 0.15)
    std::fprintf(stderr,
                 "dapple: caution: a summary from %.1f %% of the prompt's keys "
                 "may miss or distort much of the document\n",
                 kept.KeptShare() * 100);
}

// Room for generated tokens: what was asked, cut at the trained context.
size_t Room(const Engine& engine, const GenerationTask& task, size_t wanted,
            bool quiet) {
  if (task.beyond_context || task.prompt.size() > engine.context())
    return wanted;
  const size_t left = engine.context() - task.prompt.size();
  if (left >= wanted) return wanted;
  if (!quiet)
    std::fprintf(stderr,
                 "dapple: only %zu tokens of context are left for the answer\n",
                 left);
  return left;
}

class Loop {
 public:
  Loop(Engine& engine, Session& session, const GenerationTask& task,
       const GenerationOptions& options, const std::atomic<bool>& interrupted,
       Output* output)
      : engine_(engine),
        session_(session),
        task_(task),
        interrupted_(interrupted),
        output_(output),
        sampler_(options.sampler, engine.tokenizer().vocab_size()),
        detokenizer_(
            engine.tokenizer(), /*strip_leading_space=*/
            task.lead_in.empty() && engine.tokenizer().adds_space_prefix()) {
    for (TokenId id : task.prompt) sampler_.Observe(id);
    allowed_.reserve(engine.tokenizer().vocab_size());
  }

  Status Run(size_t room, GenerationReport* report) {
    report->stop = "length";
    while (report->generated_tokens < room) {
      if (interrupted_.load()) {
        report->stop = "interrupted";
        break;
      }
      const TokenId id = Pick();
      if (task_.quotes != nullptr) Quote(id);
      if (IsEnd(id)) {
        report->stop = "end";
        break;
      }
      ++report->generated_tokens;
      sampler_.Observe(id);
      if (task_.quotes == nullptr) output_->Write(detokenizer_.Push(id));
      if (report->generated_tokens == room) break;
      const Status appended = session_.Append(id);
      if (appended.code() == StatusCode::kDoesNotFit) {
        report->stop = "slots full";
        break;
      }
      DAPPLE_RETURN_IF_ERROR(appended);
    }
    if (task_.quotes == nullptr) {
      output_->Write(detokenizer_.Finish());
    } else if (!task_.quotes->ended()) {
      task_.quotes->Close();
      PrintQuote();
    }
    report->quoted = std::move(quoted_);
    return Status::Ok();
  }

 private:
  TokenId Pick() {
    if (task_.quotes != nullptr) task_.quotes->Allowed(&allowed_);
    // Logits beyond the tokenizer's vocabulary are padding rows.
    return sampler_.Sample(
        session_.logits().first(engine_.tokenizer().vocab_size()), allowed_);
  }

  bool IsEnd(TokenId id) const {
    const auto& ends = engine_.tokenizer().end_ids();
    return std::find(ends.begin(), ends.end(), id) != ends.end();
  }

  void Quote(TokenId id) {
    task_.quotes->Accept(id);  // always allowed: it was picked among those
    PrintQuote();
  }

  void PrintQuote() {
    const Sentence* sentence = task_.quotes->Finished();
    if (sentence == nullptr) return;
    quoted_.push_back(*sentence);
    output_->Write(sentence->text + " [\u00B6" +
                   std::to_string(sentence->paragraph) + "]\n");
  }

  Engine& engine_;
  Session& session_;
  const GenerationTask& task_;
  const std::atomic<bool>& interrupted_;
  Output* output_;
  Sampler sampler_;
  StreamDetokenizer detokenizer_;
  std::vector<TokenId> allowed_;
  std::vector<Sentence> quoted_;
};

}  // namespace

Result<GenerationReport> Generate(Engine& engine, const GenerationTask& task,
                                  const GenerationOptions& options) {
  DAPPLE_RETURN_IF_ERROR(options.sampler.Validate());
  GenerationReport report;
  report.prompt_tokens = task.prompt.size();
  const InterruptGuard guard;

  SessionOptions session_options;
  session_options.prompt_tokens = task.prompt.size();
  session_options.max_new_tokens =
      Room(engine, task, options.max_new_tokens, options.quiet);
  session_options.beyond_context = task.beyond_context;
  DAPPLE_RETURN_IF_ERROR(task.eviction.Apply(&session_options));
  DAPPLE_ASSIGN_OR_RETURN(session_options.trace, options.trace->Begin());
  if (!options.quiet && session_options.generation_slots != 0 &&
      session_options.generation_slots < session_options.max_new_tokens)
    std::fprintf(
        stderr,
        "dapple: the answer may have %zu tokens but only %zu slots are "
        "reserved: when they are full, %s\n",
        session_options.max_new_tokens, session_options.generation_slots,
        session_options.on_full == SessionOptions::OnFull::kStop
            ? "generation stops"
            : "the oldest generated token is dropped for each new one");
  std::string cap_source;
  DAPPLE_RETURN_IF_ERROR(
      task.memory.Apply(&session_options.memory, &cap_source));
  if (!options.quiet && !task.step) {
    DAPPLE_ASSIGN_OR_RETURN(const PlanReport plan,
                            engine.Plan(session_options));
    PrintPlan(plan, cap_source, stderr);
  }
  DAPPLE_ASSIGN_OR_RETURN(const auto session,
                          engine.NewSession(session_options));
  report.planned_bytes = session->plan().TotalBytes();
  report.arena_bytes = session->plan().ArenaBytes();
  report.schedule = session->planned().schedule;
  report.weights = session->planned().weights;
  report.kv = session->planned().kv;

  Output output(!options.json && !task.step);
  Progress progress(options.progress, options.quiet);
  PrefillHooks hooks;
  hooks.cancel = &guard.flag();
  hooks.progress = [&](const PrefillProgress& p) { progress.Update(p); };
  auto start = std::chrono::steady_clock::now();
  const Status prefilled = session->Prefill(task.prompt, hooks);
  progress.Clear();
  report.prefill_s = SecondsSince(start);
  if (prefilled.code() == StatusCode::kCancelled) {
    report.stop = "interrupted";
  } else {
    DAPPLE_RETURN_IF_ERROR(prefilled);
    if (!options.quiet && !task.step) PrintKept(session->Kept(), task.summary);
    output.Write(task.lead_in);
    start = std::chrono::steady_clock::now();
    Loop loop(engine, *session, task, options, guard.flag(), &output);
    DAPPLE_RETURN_IF_ERROR(loop.Run(session_options.max_new_tokens, &report));
    report.decode_s = SecondsSince(start);
  }
  report.text = output.text();
  report.kept = session->Kept();
  report.peak_rss_bytes = PeakResidentBytes();
  if (!task.step) DAPPLE_RETURN_IF_ERROR(Finish(engine, task, report, options));
  return report;
}

Status Finish(const Engine& engine, const GenerationTask& task,
              const GenerationReport& report,
              const GenerationOptions& options) {
  if (!options.report.empty())
    DAPPLE_RETURN_IF_ERROR(
        AppendLine(options.report, ToJson(engine, task, report).dump()));
  if (options.json) {
    std::printf("%s\n", ToJson(engine, task, report).dump().c_str());
  } else if (!report.text.empty() && report.text.back() != '\n') {
    std::printf("\n");
  }
  if (std::fflush(stdout) != 0)
    return IoError("standard output: cannot be written");
  if (!options.quiet && !options.json) PrintFigures(report);
  return options.trace->Write();
}

int ExitCodeOf(const GenerationReport& report) {
  return report.stop == "interrupted" ? kExitInterrupted : kExitOk;
}

}  // namespace dapple::tool
