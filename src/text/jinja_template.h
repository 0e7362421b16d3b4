// JinjaTemplate: a chat template, parsed, to be rendered many times.
//
// The subset of Jinja 2 that chat templates use, as Hugging Face runs it
// (trim_blocks, lstrip_blocks, loop controls): for with filters, else,
// unpacking and loop.*; if; set with namespaces and blocks; macros; generation
// blocks; filters, tests, slices and string methods. Not there: inheritance,
// includes, imports, call and filter blocks, recursive loops. Templates come
// from model files and may be hostile: depth, steps and bytes are bounded.
// Immutable; owns its tree.
#ifndef DAPPLE_TEXT_JINJA_TEMPLATE_H_
#define DAPPLE_TEXT_JINJA_TEMPLATE_H_

#include <ctime>
#include <string_view>

#include "dapple/status.h"
#include "text/jinja_syntax.h"
#include "text/jinja_value.h"

namespace dapple {

struct JinjaLimits {
  uint64_t steps = 2'000'000;
  // Of text and containers ever made, on top of 64 times the variables' own.
  uint64_t bytes = uint64_t{64} << 20;
};

class JinjaTemplate {
 public:
  // kUnsupported, naming line and construct.
  static Result<JinjaTemplate> Parse(std::string_view source);

  // kInvalidArgument when the template itself refuses (raise_exception);
  // kUnsupported for everything else that goes wrong. `now` is what
  // strftime_now shows, in local time.
  Result<JinjaText> Render(const JinjaDict& variables, std::time_t now,
                           const JinjaLimits& limits = {}) const;

 private:
  JinjaNodePtr root_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_JINJA_TEMPLATE_H_
