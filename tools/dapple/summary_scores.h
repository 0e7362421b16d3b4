// The results of `dapple eval summarize`: what is in a cell, tables, CSV, JSON.
#ifndef DAPPLE_TOOLS_SUMMARY_SCORES_H_
#define DAPPLE_TOOLS_SUMMARY_SCORES_H_

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace dapple::tool {

// The answer of one policy and budget to one document.
struct SummaryAnswer {
  std::string policy;
  std::string keep;  // as asked for: "10%", "256", "all"
  std::string text;
  std::string stop;      // "end", "length"
  double rouge = 0;      // ROUGE-L F1 against the reference, [0, 1]
  double agreement = 0;  // the same against the answer with everything kept
  double kept_share = 1;
  double median_coverage = -1;
  size_t tokens = 0;
  double decode_s = 0;
};

struct SummaryRecord {
  size_t line = 0;  // of the file, from 1
  std::string source;
  size_t prompt_tokens = 0;
  double prefill_s = 0;
  std::vector<SummaryAnswer> answers;  // the first one has everything kept
};

nlohmann::ordered_json ToJson(const SummaryRecord& record);
// Throws nlohmann's exceptions where it is no such object.
SummaryRecord SummaryFromJson(const nlohmann::ordered_json& json);

// A mean over documents with a 95 % interval: percentile bootstrap (Efron
// 1979) of 2,000 resamples of the documents, drawn from a fixed seed. Fewer
// than two documents have no interval: low = high = mean. With less than ten
// it is rather too narrow.
struct Estimate {
  double mean = 0;
  double low = 0;
  double high = 0;
};
Estimate Bootstrap(const std::vector<double>& values);

// One source × policy × keep.
struct SummaryCell {
  std::string source;
  std::string policy;
  std::string keep;
  size_t documents = 0;
  Estimate rouge;         // against the reference
  Estimate difference;    // of that, to everything kept: paired by document
  Estimate agreement;     // against the answer with everything kept
  double same = 0;        // share of answers equal to that one
  double kept_share = 0;  // means from here on
  double prompt_tokens = 0;
  double answer_tokens = 0;
};

// Sources by name; policies and budgets as the records have them.
std::vector<SummaryCell> SummaryCells(
    const std::vector<SummaryRecord>& records);

// Documents that were not asked about, by source and reason.
struct SummarySkip {
  std::string source;
  std::string reason;
  size_t documents = 0;
};

// Percent with the interval; a line a skip after the table.
std::string SummaryTables(const std::vector<SummaryCell>& cells,
                          const std::vector<SummarySkip>& skips, bool markdown);
// RFC 4180, with a header line.
std::string SummaryCsv(const std::vector<SummaryCell>& cells);
nlohmann::ordered_json SummaryJson(const nlohmann::ordered_json& settings,
                                   const std::vector<SummaryCell>& cells,
                                   const std::vector<SummarySkip>& skips);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_SUMMARY_SCORES_H_
