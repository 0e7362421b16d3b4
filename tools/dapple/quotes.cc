#include "quotes.h"

#include <cstdio>

#include "dapple/sentences.h"

namespace dapple::tool {

void QuoteFlags::AddTo(CLI::App& command) {
  auto* only = command.add_flag(
      "--quotes", quotes,
      "only sentences of the document, each with its paragraph number "
      "(default for the embedded model)");
  command.add_flag("--free", free, "the model's own words")->excludes(only);
}

bool QuoteFlags::Decide(const Engine& engine, bool otherwise,
                        bool quiet) const {
  const bool embedded = engine.model_name() == "Dapple 40M";
  const bool decided = quotes || (embedded && otherwise && !free);
  if (embedded && !decided && !quiet)
    std::fprintf(stderr,
                 "dapple: caution: the embedded model finds and copies; what "
                 "it writes in its own words is not to be trusted\n");
  return decided;
}

Result<std::unique_ptr<QuoteConstraint>> QuoteSentences(
    const Engine& engine, std::vector<Sentence> sentences,
    const std::string& name, size_t least, size_t most) {
  QuoteLimits limits;
  limits.max_tokens = kMaxQuoteTokens;
  limits.min_sentences = least;
  limits.max_sentences = most;
  auto made =
      QuoteConstraint::Create(engine.tokenizer(), std::move(sentences), limits);
  if (made.status().code() == StatusCode::kDoesNotFit) return made.status();
  if (!made.ok())
    return InvalidArgument((name == "-" ? "standard input" : name) + ": " +
                           made.status().message() +
                           " (--free answers in the model's own words)");
  return std::make_unique<QuoteConstraint>(*std::move(made));
}

Result<std::unique_ptr<QuoteConstraint>> QuoteDocument(const Engine& engine,
                                                       const std::string& text,
                                                       const std::string& name,
                                                       size_t least,
                                                       size_t most) {
  return QuoteSentences(engine, SplitSentences(text), name, least, most);
}

}  // namespace dapple::tool
