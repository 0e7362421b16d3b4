// dapple summarize: a summary of each document; with --quotes made only of the
// document's own sentences.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "chat_flags.h"
#include "clock_text.h"
#include "command.h"
#include "generation.h"
#include "quotes.h"
#include "sections.h"

namespace dapple::tool {
namespace {

struct Options {
  ModelOptions model;
  GenerationOptions generation;
  EvictionFlags eviction;
  std::vector<std::string> files;
  std::string length = "medium";
  std::string instruction = "Summarize the text above.";
  ChatFlags chat;
  QuoteFlags quotes;
  std::string strategy = "auto";
  bool tokens_given = false;
};

const AnswerLength& LengthOf(const Options& options) {
  for (const AnswerLength& length : kSummaryLengths)
    if (options.length == length.name) return length;
  return kSummaryLengths[1];
}

// A text to summarize, and the sentences it may be quoted from.
struct Source {
  std::string text;
  std::vector<Sentence> sentences;  // with --quotes
};

class Summarizer {
 public:
  Summarizer(Engine& engine, const Options& options, const std::string& file,
             bool quotes)
      : engine_(engine),
        options_(options),
        file_(file),
        quotes_(quotes),
        generation_(options.generation) {
    if (!options.tokens_given)
      generation_.max_new_tokens =
          quotes ? LengthOf(options).most * kMaxQuoteTokens
                 : LengthOf(options).tokens;
  }

  Result<GenerationReport> Run() {
    Source source;
    DAPPLE_ASSIGN_OR_RETURN(source.text, ReadText(file_));
    if (quotes_) source.sentences = SplitSentences(source.text);
    DAPPLE_ASSIGN_OR_RETURN(GenerationTask task, TaskFor(source));
    const bool whole =
        options_.strategy == "whole" || options_.model.beyond_context ||
        (options_.strategy == "auto" &&
         task.prompt.size() + generation_.max_new_tokens <= engine_.context());
    if (whole) return Whole(source, std::move(task));
    return InSections(std::move(source));
  }

 private:
  Result<GenerationTask> TaskFor(const Source& source) const {
    GenerationTask task;
    task.file = file_;
    task.beyond_context = options_.model.beyond_context;
    task.eviction = options_.eviction;
    task.memory = options_.model.memory;
    task.eviction.seed = options_.generation.sampler.seed;
    task.summary = true;
    DAPPLE_ASSIGN_OR_RETURN(
        task.prompt,
        options_.chat.Encode(engine_.tokenizer(),
                             source.text + "\n\n" + options_.instruction, ""));
    return task;
  }

  Result<GenerationReport> Whole(const Source& source, GenerationTask task) {
    std::unique_ptr<QuoteConstraint> constraint;
    if (quotes_) {
      const auto& length = LengthOf(options_);
      DAPPLE_ASSIGN_OR_RETURN(constraint,
                              QuoteSentences(engine_, source.sentences, file_,
                                             length.least, length.most));
      task.quotes = constraint.get();
    }
    return Generate(engine_, task, generation_);
  }

  // Tokens of one section's prompt: as many as the context takes, or fewer
  // where only then every key can be kept under the cap.
  Result<size_t> SectionTokens() const {
    const size_t room = generation_.max_new_tokens + 1;
    if (engine_.context() <= room + kLeastSection)
      return DoesNotFit(file_ + ": a context of " +
                        std::to_string(engine_.context()) +
                        " tokens leaves no room for sections beside an answer "
                        "of " +
                        std::to_string(generation_.max_new_tokens));
    SessionOptions session;
    std::string source;
    DAPPLE_RETURN_IF_ERROR(options_.eviction.Apply(&session));
    DAPPLE_RETURN_IF_ERROR(
        options_.model.memory.Apply(&session.memory, &source));
    session.max_new_tokens = generation_.max_new_tokens;
    size_t fitting = 0;
    for (size_t tokens = engine_.context() - room; tokens >= kLeastSection;
         tokens /= 2) {
      session.prompt_tokens = tokens;
      DAPPLE_ASSIGN_OR_RETURN(const PlanReport plan, engine_.Plan(session));
      if (!plan.fits()) continue;
      if (fitting == 0) fitting = tokens;
      const bool automatic =
          session.eviction[0].keep.kind == KeepBudget::Kind::kAuto;
      if (!automatic || plan.Chosen().keep_tokens == tokens) return tokens;
    }
    if (fitting != 0) return fitting;
    session.prompt_tokens = kLeastSection;
    DAPPLE_ASSIGN_OR_RETURN(const PlanReport plan, engine_.Plan(session));
    return NothingFits(plan);
  }

  size_t Count(std::string_view text) const {
    const auto ids = engine_.tokenizer().Encode(text, {.add_bos = false});
    return ids.ok() ? ids->size() : text.size();
  }

  Result<GenerationReport> InSections(Source source) {
    DAPPLE_ASSIGN_OR_RETURN(const size_t tokens, SectionTokens());
    // What the turns and the instruction take, and what counting paragraph by
    // paragraph may miss.
    const size_t overhead = Count(options_.instruction) + 32 + tokens / 64;
    const size_t budget =
        tokens > 2 * overhead ? tokens - overhead : tokens / 2;
    GenerationReport total;
    for (size_t round = 0;; ++round) {
      const std::vector<Section> sections =
          SplitSections(source.text, budget,
                        [&](std::string_view text) { return Count(text); });
      if (round > 0 && sections.size() <= 1) break;
      if (!options_.generation.quiet)
        std::fprintf(stderr,
                     round == 0 ? "%s: read in %zu sections of at most %s "
                                  "tokens, whose summaries are summarized\n"
                                : "%s: the summaries are themselves read in "
                                  "%zu sections of at most %s tokens\n",
                     file_ == "-" ? "standard input" : file_.c_str(),
                     sections.size(), Grouped(tokens).c_str());
      if (round == 0) total.sections = sections.size();
      total.rounds = round + 1;
      DAPPLE_ASSIGN_OR_RETURN(Source next, Round(source, sections, &total));
      if (total.stop == "interrupted") return Finished(std::move(total));
      // A round that did not shorten the text would go on for ever.
      if (next.text.size() * 10 > source.text.size() * 9 && round > 0)
        return Internal(file_ + ": its summaries do not get shorter");
      source = std::move(next);
    }
    DAPPLE_ASSIGN_OR_RETURN(GenerationTask task, TaskFor(source));
    task.step = true;
    std::unique_ptr<QuoteConstraint> constraint;
    if (quotes_) {
      const auto& length = LengthOf(options_);
      DAPPLE_ASSIGN_OR_RETURN(constraint,
                              QuoteSentences(engine_, source.sentences, file_,
                                             length.least, length.most));
      task.quotes = constraint.get();
    }
    DAPPLE_ASSIGN_OR_RETURN(GenerationReport last,
                            Generate(engine_, task, generation_));
    Add(last, &total);
    total.text = last.text;
    total.stop = last.stop;
    return Finished(std::move(total));
  }

  // Summarizes each section; the summaries are the next round's source.
  Result<Source> Round(const Source& source,
                       const std::vector<Section>& sections,
                       GenerationReport* total) {
    Source next;
    size_t sentence = 0;
    for (size_t i = 0; i < sections.size(); ++i) {
      Source part;
      part.text = source.text.substr(sections[i].begin,
                                     sections[i].end - sections[i].begin);
      for (; sentence < source.sentences.size() &&
             source.sentences[sentence].byte_offset < sections[i].end;
           ++sentence)
        part.sentences.push_back(source.sentences[sentence]);
      DAPPLE_ASSIGN_OR_RETURN(GenerationTask task, TaskFor(part));
      task.step = true;
      std::unique_ptr<QuoteConstraint> constraint;
      if (quotes_) {
        auto made = QuoteSentences(engine_, part.sentences, file_, 2,
                                   LengthOf(options_).most);
        // A section without a sentence (tables, lists) has nothing to quote.
        if (!made.ok()) continue;
        constraint = std::move(*made);
        task.quotes = constraint.get();
      }
      if (!options_.generation.quiet)
        std::fprintf(stderr, "section %zu of %zu\n", i + 1, sections.size());
      DAPPLE_ASSIGN_OR_RETURN(const GenerationReport report,
                              Generate(engine_, task, generation_));
      Add(report, total);
      total->stop = report.stop;
      if (report.stop == "interrupted") return next;
      if (!quotes_) {
        next.text += report.text + "\n\n";
        continue;
      }
      for (Sentence quoted : report.quoted) {
        quoted.byte_offset = next.text.size();
        quoted.byte_length = quoted.text.size();
        next.text += quoted.text + "\n\n";
        next.sentences.push_back(std::move(quoted));
      }
    }
    if (next.text.empty())
      return InvalidArgument(file_ +
                             ": there is no sentence to quote (--free answers "
                             "in the model's own words)");
    return next;
  }

  static void Add(const GenerationReport& step, GenerationReport* total) {
    total->prompt_tokens += step.prompt_tokens;
    total->generated_tokens += step.generated_tokens;
    total->prefill_s += step.prefill_s;
    total->decode_s += step.decode_s;
    total->planned_bytes = std::max(total->planned_bytes, step.planned_bytes);
    total->arena_bytes = std::max(total->arena_bytes, step.arena_bytes);
    total->peak_rss_bytes = step.peak_rss_bytes;
    total->schedule = step.schedule;
    total->weights = step.weights;
    total->kv = step.kv;
    total->kept = step.kept;
  }

  Result<GenerationReport> Finished(GenerationReport report) {
    GenerationTask task;
    task.file = file_;
    if (!generation_.json) std::fputs(report.text.c_str(), stdout);
    DAPPLE_RETURN_IF_ERROR(Finish(engine_, task, report, generation_));
    return report;
  }

  // Shorter sections lose more at their borders than they save.
  static constexpr size_t kLeastSection = 512;

  Engine& engine_;
  const Options& options_;
  const std::string& file_;
  const bool quotes_;
  GenerationOptions generation_;
};

int RunSummarize(const Options& options) {
  const Status valid = options.generation.sampler.Validate();
  if (!valid.ok()) return Fail(valid);
  const auto engine = options.model.Open();
  if (!engine.ok()) return Fail(engine.status());
  const bool quotes = options.quotes.Decide(**engine, /*otherwise=*/true,
                                            options.generation.quiet);
  std::vector<std::string> files = options.files;
  if (files.empty()) files.push_back("-");
  int exit_code = kExitOk;
  for (size_t i = 0; i < files.size(); ++i) {
    if (files.size() > 1 && !options.generation.json)
      std::printf("%s%s:\n", i == 0 ? "" : "\n", files[i].c_str());
    const auto report = Summarizer(**engine, options, files[i], quotes).Run();
    // One bad file must not cost the others their summaries.
    if (!report.ok()) {
      exit_code = Fail(report.status());
    } else if (report->stop == "interrupted") {
      return kExitInterrupted;
    }
  }
  return exit_code;
}

}  // namespace

void AddSummarize(CLI::App& root, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      root.add_subcommand("summarize", "Summarize each of the documents");
  command
      ->add_option("files", options->files, "text documents (- or none: stdin)")
      ->type_name("FILE");
  command->add_option("--length", options->length, "short, medium or long")
      ->check(CLI::IsMember({"short", "medium", "long"}))
      ->capture_default_str();
  command
      ->add_option("--instruction", options->instruction,
                   "what is asked of the model after the document")
      ->capture_default_str();
  command
      ->add_option("--strategy", options->strategy,
                   "whole: in one pass; sections: part by part, then the "
                   "parts' summaries; auto: whole where the context allows")
      ->check(CLI::IsMember({"auto", "whole", "sections"}))
      ->capture_default_str();
  options->quotes.AddTo(*command);
  options->model.AddTo(*command);
  options->eviction.AddTo(*command);
  options->generation.AddTo(*command, 256);
  CLI::Option* tokens = command->get_option("--max-tokens");
  command->callback([options, tokens, &run] {
    options->tokens_given = tokens->count() != 0;
    run = [options] {
      const ClockWatch clocks;
      const int exit_code = RunSummarize(*options);
      if (!options->generation.quiet) clocks.Mention();
      return exit_code;
    };
  });
}

}  // namespace dapple::tool
