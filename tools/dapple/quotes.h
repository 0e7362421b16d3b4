// Answers made of a document's own sentences (--quotes), as summarize and ask
// share them.
#ifndef DAPPLE_TOOLS_QUOTES_H_
#define DAPPLE_TOOLS_QUOTES_H_

#include <CLI/App.hpp>
#include <cstddef>
#include <memory>
#include <string>

#include "dapple/engine.h"
#include "dapple/quote_constraint.h"

namespace dapple::tool {

// A quoted sentence has at most this many tokens.
inline constexpr size_t kMaxQuoteTokens = 96;

// How long an answer may be.
struct AnswerLength {
  const char* name;
  size_t least, most;  // quoted sentences, where there are as many
  size_t tokens;       // of a free one
};
inline constexpr AnswerLength kSummaryLengths[] = {
    {"short", 2, 3, 96}, {"medium", 4, 6, 256}, {"long", 8, 12, 512}};
inline constexpr AnswerLength kAskLength = {"ask", 1, 2, 96};

struct QuoteFlags {
  bool quotes = false;
  bool free = false;

  void AddTo(CLI::App& command);
  // As asked, else `otherwise` for the embedded model, whose own prose cannot
  // be trusted (models/README.md). Cautions on stderr when it runs free.
  bool Decide(const Engine& engine, bool otherwise, bool quiet) const;
};

// `least` to `most` of these sentences of the document `name`.
Result<std::unique_ptr<QuoteConstraint>> QuoteSentences(
    const Engine& engine, std::vector<Sentence> sentences,
    const std::string& name, size_t least, size_t most);
// `least` to `most` sentences of `text`, which came from `name`.
Result<std::unique_ptr<QuoteConstraint>> QuoteDocument(const Engine& engine,
                                                       const std::string& text,
                                                       const std::string& name,
                                                       size_t least,
                                                       size_t most);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_QUOTES_H_
