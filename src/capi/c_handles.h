// What the C interface's handles hold.
#ifndef DAPPLE_CAPI_C_HANDLES_H_
#define DAPPLE_CAPI_C_HANDLES_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "dapple/dapple.h"
#include "dapple/engine.h"
#include "dapple/quote_constraint.h"
#include "dapple/sampler.h"
#include "dapple/tokenizer.h"

// Sessions share the engine, so that a model may be closed before them.
struct dapple_model {
  std::shared_ptr<dapple::Engine> engine;
  std::string name;
};

// The answer's state runs one token behind the session's: a token that was
// handed out is appended when the next one is wanted, so that the last one of
// an answer costs nothing.
struct dapple_session {
  std::shared_ptr<dapple::Engine> engine;
  std::unique_ptr<dapple::Session> session;
  size_t max_new_tokens = 0;
  size_t quote_tokens = 0;  // of the longest text to quote

  dapple::SamplerOptions sampling;
  std::unique_ptr<dapple::Sampler> sampler;
  std::unique_ptr<dapple::StreamDetokenizer> detokenizer;
  std::unique_ptr<dapple::QuoteConstraint> quotes;
  std::vector<dapple::TokenId> prompt;
  std::vector<dapple::TokenId> allowed;
  std::string text;              // of the newest token
  dapple::TokenId pending = -1;  // handed out, not yet appended
  bool prefilled = false;
  bool ended = false;
  size_t generated = 0;
  double prefill_s = 0;
  double decode_s = 0;

  const dapple::Tokenizer& tokenizer() const { return engine->tokenizer(); }
};

#endif  // DAPPLE_CAPI_C_HANDLES_H_
