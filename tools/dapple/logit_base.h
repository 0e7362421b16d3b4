// LogitBase: what another model, or another runtime, thinks of the same
// windows of text: the distributions that `eval perplexity --kl` compares with.
//
// Two kinds. A GGUF file: that model is run window by window, and the log
// probabilities of one window at a time wait in an unnamed temporary file, so
// that memory does not grow with window or vocabulary. Or a file of log
// probabilities as llama-perplexity --kl-divergence-base writes it ("_logits_",
// 32-bit counts of context, vocabulary and windows, the tokens, then a row a
// scored token: scale and minimum as floats, a 16-bit step for each token).
#ifndef DAPPLE_TOOLS_LOGIT_BASE_H_
#define DAPPLE_TOOLS_LOGIT_BASE_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dapple/engine.h"
#include "model_options.h"

namespace dapple::tool {

// The windows that will be compared.
struct LogitWindows {
  size_t context = 0;  // tokens a window; the second half is scored
  size_t count = 0;    // windows
  size_t vocab = 0;
  std::vector<TokenId> ids;  // [count * context] at least, before bos is set

  // Rows with a next token in the same window, from context / 2 on.
  size_t rows() const { return context - 1 - context / 2; }
};

class LogitBase {
 public:
  virtual ~LogitBase() = default;

  // `model` says how to run a GGUF base (threads, compute and so on).
  static Result<std::unique_ptr<LogitBase>> Open(const std::string& path,
                                                 const ModelOptions& model,
                                                 const LogitWindows& windows);

  virtual std::string name() const = 0;
  // Windows are asked for in order. prompt: [context].
  virtual Status Begin(size_t window, const std::vector<TokenId>& prompt) = 0;
  // Log probabilities of the window's next scored row; -inf where they are not
  // known because they are too small. log_p: [vocab].
  virtual Status Next(std::span<float> log_p) = 0;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_LOGIT_BASE_H_
