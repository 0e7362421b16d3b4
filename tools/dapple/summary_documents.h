// The documents of `dapple eval summarize`: a JSONL file of questions with
// reference answers.
#ifndef DAPPLE_TOOLS_SUMMARY_DOCUMENTS_H_
#define DAPPLE_TOOLS_SUMMARY_DOCUMENTS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "dapple/status.h"

namespace dapple::tool {

struct SummaryDocument {
  size_t line = 0;  // of the file, from 1
  std::string source;
  std::string task;  // "summarize", "qa"; may be empty
  std::string document;
  std::string question;
  std::string answer;  // the reference
};

struct DocumentChoice {
  std::vector<std::string> sources;  // empty: all
  size_t per_source = 0;             // 0: all
};

// `bytes`, which came from `name`: one JSON object a line with the texts
// "document", "question" and "answer", and perhaps "source" and "task"; empty
// lines are passed over. In turns, one of each source, so that a run that ends
// early has seen all of them. kCorrupt naming the line; kInvalidArgument when
// a source is not there, or nothing is.
Result<std::vector<SummaryDocument>> ParseDocuments(
    const std::string& name, const std::string& bytes,
    const DocumentChoice& choice);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_SUMMARY_DOCUMENTS_H_
