// SummaryRun: the documents of `dapple eval summarize`, one prefill each.
#ifndef DAPPLE_TOOLS_EVAL_SUMMARY_RUN_H_
#define DAPPLE_TOOLS_EVAL_SUMMARY_RUN_H_

#include <atomic>
#include <string>
#include <vector>

#include "dapple/engine.h"
#include "quotes.h"
#include "result_log.h"
#include "summary_documents.h"
#include "summary_scores.h"

namespace dapple::tool {

struct SummaryPlan {
  // `eviction` holds the variants; the first one keeps everything. Sizes are
  // each document's own.
  SessionOptions session;
  std::string instruction;  // asked instead of each document's question
  AnswerLength length = kSummaryLengths[1];  // of task "qa": kAskLength
  bool quotes = false;
  std::string progress = "auto";
};

// The answers to `documents` that *records lacks, appended there and to `log`
// (may be null), and what was left out. kCancelled when *cancel became true:
// what was done until then is there.
Status RunSummaries(Engine& engine, const SummaryPlan& plan,
                    const std::vector<SummaryDocument>& documents,
                    const std::atomic<bool>& cancel, ResultLog* log,
                    std::vector<SummaryRecord>* records,
                    std::vector<SummarySkip>* skips);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_EVAL_SUMMARY_RUN_H_
