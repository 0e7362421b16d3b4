// The loop all generating commands share: prefill, then tokens until the end.
#ifndef DAPPLE_TOOLS_GENERATION_H_
#define DAPPLE_TOOLS_GENERATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "dapple/engine.h"
#include "dapple/quote_constraint.h"
#include "model_options.h"

namespace dapple::tool {

struct GenerationTask {
  std::string file;  // named in the report; "" when there is none
  std::vector<TokenId> prompt;
  std::string lead_in;  // printed before the answer that it begins
  // Restricts the answer to the document's sentences; may be null.
  QuoteConstraint* quotes = nullptr;
  bool beyond_context = false;
  bool summary = false;  // cautions about summaries apply
  // One step of a longer piece of work: nothing goes to stdout, no plan and no
  // figures to stderr.
  bool step = false;
  EvictionFlags eviction;
  MemoryFlags memory;
};

struct GenerationReport {
  std::string text;
  std::vector<Sentence> quoted;  // the sentences of a --quotes answer
  std::string stop;              // "end", "length", "slots full", "interrupted"
  size_t prompt_tokens = 0;
  size_t generated_tokens = 0;
  double prefill_s = 0;
  double decode_s = 0;
  uint64_t planned_bytes = 0;
  uint64_t arena_bytes = 0;
  uint64_t peak_rss_bytes = 0;
  Schedule schedule = Schedule::kExact;
  Residency weights = Residency::kResident;
  KvPrecision kv = KvPrecision::kF16;
  KeptReport kept;
  // Of a document that was read in parts: how many, and rounds over their
  // summaries. prompt_tokens, times and generated_tokens are sums then.
  size_t sections = 0;
  size_t rounds = 0;
};

// Streams the answer to stdout (unless --json, which prints the report as one
// JSON line at the end) and a line of figures to stderr. SIGINT ends it with
// what was produced, stop = "interrupted".
Result<GenerationReport> Generate(Engine& engine, const GenerationTask& task,
                                  const GenerationOptions& options);

// Puts the finished report where the options want it (see Generate).
Status Finish(const Engine& engine, const GenerationTask& task,
              const GenerationReport& report, const GenerationOptions& options);

// The exit code of a finished run.
int ExitCodeOf(const GenerationReport& report);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_GENERATION_H_
