// The lexer of chat templates: text, and the tokens between {{ }} and {% %}.
//
// White space as Hugging Face's environment sets it: trim_blocks (the line end
// behind a block goes), lstrip_blocks (the indentation before one goes), the
// signs of {%- -%} {%+ +%}, and one line end at the end of the source goes.
#ifndef DAPPLE_TEXT_JINJA_LEXER_H_
#define DAPPLE_TEXT_JINJA_LEXER_H_

#include <string>
#include <string_view>
#include <vector>

namespace dapple {

struct JinjaToken {
  enum Kind {
    kText,
    kBeginOutput,  // {{
    kEndOutput,    // }}
    kBeginBlock,   // {%
    kEndBlock,     // %}
    kName,
    kString,  // unescaped
    kInt,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = kEnd;
  int line = 0;
  std::string text;
};

// Throws JinjaError. The last token is kEnd.
std::vector<JinjaToken> LexJinja(std::string_view source);

}  // namespace dapple

#endif  // DAPPLE_TEXT_JINJA_LEXER_H_
