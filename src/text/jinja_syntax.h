// The syntax tree of a chat template, and the parser that makes it.
//
// The language is Jinja 2's as far as chat templates use it (see
// jinja_template.h); anything else is refused by line and name. Trees are at
// most kMaxDepth deep, whatever the source.
#ifndef DAPPLE_TEXT_JINJA_SYNTAX_H_
#define DAPPLE_TEXT_JINJA_SYNTAX_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_value.h"

namespace dapple {

struct JinjaNode;
using JinjaNodePtr = std::unique_ptr<JinjaNode>;

// Positional arguments have no name.
struct JinjaArgument {
  std::string name;
  JinjaNodePtr value;
};

struct JinjaNode {
  static constexpr int kMaxDepth = 200;

  enum Kind {
    // Expressions; `parts` are the operands.
    kLiteral,
    kName,       // name
    kList,       // parts (tuples, too)
    kDict,       // parts: key, value, key, value
    kAttribute,  // parts[0].name
    kIndex,      // parts[0][parts[1]]
    kSlice,      // parts[0][parts[1]:parts[2]:parts[3]], null where left out
    kCall,       // parts[0](arguments)
    kFilter,     // parts[0] | name(arguments)
    kTest,       // parts[0] is name(arguments); negated
    kNot,
    kNegative,
    kAnd,
    kOr,
    kCompare,      // name: the operator, "not in" included
    kArithmetic,   // name: + - * / // % ** ~
    kConditional,  // parts[0] if parts[1] else parts[2] (may be null)
    // Statements; `body` are the nested ones.
    kText,    // name: the text
    kOutput,  // {{ parts[0] }}
    kIf,      // parts[0] (null: else), body; next branch in otherwise
    kFor,     // targets in parts[0] if parts[1] (may be null), body, otherwise
    kSet,     // targets = parts[0]; or body, if parts is empty
    kMacro,   // name(arguments: names with defaults or null), body
    kBreak,
    kContinue,
    kBlock,  // body alone
  };

  Kind kind = kText;
  int line = 0;
  int depth = 1;  // of the tree below and with this node
  bool negated = false;
  std::string name;
  JinjaValue literal;
  std::vector<JinjaNodePtr> parts;
  std::vector<JinjaArgument> arguments;
  std::vector<std::string> targets;  // "x"; "ns.x" for a namespace's field
  std::vector<JinjaNodePtr> body;
  std::vector<JinjaNodePtr> otherwise;
};

struct JinjaMacro {
  const JinjaNode* node;
};

// Throws JinjaError, with the line in the message.
JinjaNodePtr ParseJinja(std::string_view source);

// "line 12: " + what
JinjaError JinjaErrorAt(int line, const std::string& what);

}  // namespace dapple

#endif  // DAPPLE_TEXT_JINJA_SYNTAX_H_
