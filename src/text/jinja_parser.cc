#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "gguf/printable.h"
#include "text/jinja_lexer.h"
#include "text/jinja_syntax.h"

namespace dapple {
namespace {

using Node = JinjaNode;
using NodePtr = JinjaNodePtr;
using Token = JinjaToken;

// Tests that take an argument without brackets: "x is divisibleby 3".
constexpr std::string_view kTestsWithArgument[] = {
    "divisibleby", "equalto", "eq", "==", "ne",       "sameas",     "in",
    "lt",          "le",      "gt", "ge", "lessthan", "greaterthan"};

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(LexJinja(source)) {}

  NodePtr Run() {
    NodePtr root = Make(Node::kBlock);
    root->body = Body({});
    SetDepth(root.get());
    return root;
  }

 private:
  // ---- Tokens
  // ----------------------------------------------------------------
  const Token& Peek() const { return tokens_[at_]; }
  Token Next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool IsOperator(std::string_view text) const {
    return Peek().kind == Token::kOperator && Peek().text == text;
  }
  bool IsWord(std::string_view text) const {
    return Peek().kind == Token::kName && Peek().text == text;
  }
  bool TakeOperator(std::string_view text) {
    if (!IsOperator(text)) return false;
    Next();
    return true;
  }
  bool TakeWord(std::string_view text) {
    if (!IsWord(text)) return false;
    Next();
    return true;
  }
  [[noreturn]] void Fail(const std::string& what) const {
    throw JinjaErrorAt(Peek().line, what);
  }
  static std::string Shown(const Token& token) {
    switch (token.kind) {
      case Token::kEnd:
        return "the end";
      case Token::kEndBlock:
        return "'%}'";
      case Token::kEndOutput:
        return "'}}'";
      case Token::kString:
        return "a string";
      default:
        return Quoted(token.text);
    }
  }
  void Expect(std::string_view text) {
    if (!TakeOperator(text))
      Fail("expected '" + std::string(text) + "', found " + Shown(Peek()));
  }
  std::string Name() {
    if (Peek().kind != Token::kName)
      Fail("expected a name, found " + Shown(Peek()));
    return Next().text;
  }
  void EndBlock() {
    if (Peek().kind != Token::kEndBlock)
      Fail("expected '%}', found " + Shown(Peek()));
    Next();
  }

  // ---- Nodes
  // -----------------------------------------------------------------
  NodePtr Make(Node::Kind kind) const {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = Peek().line;
    return node;
  }
  NodePtr Make(Node::Kind kind, NodePtr first, NodePtr second = nullptr) const {
    NodePtr node = Make(kind);
    node->line = first->line;
    node->parts.push_back(std::move(first));
    if (second != nullptr) node->parts.push_back(std::move(second));
    SetDepth(node.get());
    return node;
  }
  void SetDepth(Node* node) const {
    int depth = 0;
    const auto add = [&depth](const NodePtr& part) {
      if (part != nullptr) depth = std::max(depth, part->depth);
    };
    for (const NodePtr& part : node->parts) add(part);
    for (const JinjaArgument& argument : node->arguments) add(argument.value);
    for (const NodePtr& part : node->body) add(part);
    for (const NodePtr& part : node->otherwise) add(part);
    node->depth = depth + 1;
    if (node->depth > Node::kMaxDepth)
      throw JinjaErrorAt(node->line, "the template is nested too deep");
  }
  // Bounds recursion while parsing, before there is a tree to measure.
  struct Nested {
    explicit Nested(Parser* owner) : parser(owner) {
      if (++parser->nesting_ > Node::kMaxDepth)
        parser->Fail("the template is nested too deep");
    }
    ~Nested() { --parser->nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    Parser* parser;
  };

  // ---- Statements
  // ------------------------------------------------------------ Up to one of
  // these block names, which is left as the next token (behind its "{%"); or up
  // to the end of the source when there are none.
  std::vector<NodePtr> Body(std::initializer_list<std::string_view> ends) {
    const Nested nested(this);
    std::vector<NodePtr> body;
    for (;;) {
      switch (Peek().kind) {
        case Token::kText: {
          NodePtr node = Make(Node::kText);
          node->name = Next().text;
          body.push_back(std::move(node));
          break;
        }
        case Token::kBeginOutput: {
          Next();
          NodePtr node = Make(Node::kOutput, Tuple());
          if (Peek().kind != Token::kEndOutput)
            Fail("expected '}}', found " + Shown(Peek()));
          Next();
          body.push_back(std::move(node));
          break;
        }
        case Token::kBeginBlock: {
          Next();
          if (Peek().kind == Token::kName &&
              std::ranges::find(ends, Peek().text) != ends.end())
            return body;
          if (NodePtr node = Statement()) body.push_back(std::move(node));
          break;
        }
        default:
          if (ends.size() != 0)
            Fail("'" + std::string(*(ends.end() - 1)) + "' is missing");
          return body;
      }
    }
  }

  NodePtr Statement() {
    const int line = Peek().line;
    const std::string name = Name();
    if (name == "if") return If(line);
    if (name == "for") return For(line);
    if (name == "set") return Set(line);
    if (name == "macro") return Macro(line);
    if (name == "break" || name == "continue") {
      if (loops_ == 0)
        throw JinjaErrorAt(line, "'" + name + "' outside of a loop");
      NodePtr node = Make(name == "break" ? Node::kBreak : Node::kContinue);
      EndBlock();
      return node;
    }
    if (name == "generation") {  // marks what a trainer learns from
      EndBlock();
      NodePtr node = Make(Node::kBlock);
      node->body = Body({"endgeneration"});
      Next();
      EndBlock();
      SetDepth(node.get());
      return node;
    }
    throw JinjaErrorAt(line, "the block " + Quoted(name) + " is not supported");
  }

  NodePtr If(int line) {
    NodePtr node = Make(Node::kIf);
    node->line = line;
    node->parts.push_back(Expression());
    EndBlock();
    node->body = Body({"elif", "else", "endif"});
    // elif: the same again, in the else branch. A chain of them is one level
    // of nesting for the reader, but not for the tree, which bounds it.
    if (IsWord("elif")) {
      const int at = Peek().line;
      Next();
      node->otherwise.push_back(If(at));
    } else {
      if (TakeWord("else")) {
        EndBlock();
        node->otherwise = Body({"endif"});
      }
      Next();
      EndBlock();
    }
    SetDepth(node.get());
    return node;
  }

  std::vector<std::string> Targets() {
    std::vector<std::string> targets;
    const bool bracket = TakeOperator("(");
    do {
      targets.push_back(Name());
    } while (TakeOperator(",") && Peek().kind == Token::kName);
    if (bracket) Expect(")");
    return targets;
  }

  NodePtr For(int line) {
    NodePtr node = Make(Node::kFor);
    node->line = line;
    node->targets = Targets();
    if (!TakeWord("in")) Fail("expected 'in', found " + Shown(Peek()));
    node->parts.push_back(Tuple(/*conditional=*/false));
    node->parts.push_back(TakeWord("if") ? Expression() : nullptr);
    if (IsWord("recursive")) Fail("recursive loops are not supported");
    EndBlock();
    ++loops_;
    node->body = Body({"else", "endfor"});
    --loops_;
    if (TakeWord("else")) {
      EndBlock();
      node->otherwise = Body({"endfor"});
    }
    Next();
    EndBlock();
    SetDepth(node.get());
    return node;
  }

  NodePtr Set(int line) {
    NodePtr node = Make(Node::kSet);
    node->line = line;
    node->targets = Targets();
    if (TakeOperator(".")) node->targets[0] += "." + Name();
    if (TakeOperator("=")) {
      node->parts.push_back(Tuple());
      EndBlock();
    } else {
      if (node->targets.size() != 1 || Peek().kind != Token::kEndBlock)
        Fail("expected '=', found " + Shown(Peek()));
      EndBlock();
      node->body = Body({"endset"});
      Next();
      EndBlock();
    }
    SetDepth(node.get());
    return node;
  }

  NodePtr Macro(int line) {
    NodePtr node = Make(Node::kMacro);
    node->line = line;
    node->name = Name();
    Expect("(");
    while (!IsOperator(")")) {
      JinjaArgument argument;
      argument.name = Name();
      if (TakeOperator("=")) argument.value = Expression();
      node->arguments.push_back(std::move(argument));
      if (!TakeOperator(",")) break;
    }
    Expect(")");
    EndBlock();
    const int loops = loops_;
    loops_ = 0;
    node->body = Body({"endmacro"});
    loops_ = loops;
    Next();
    EndBlock();
    SetDepth(node.get());
    return node;
  }

  // ---- Expressions, loosest first
  // -------------------------------------------- "a, b" without brackets is a
  // tuple.
  NodePtr Tuple(bool conditional = true) {
    NodePtr first = conditional ? Expression() : Or();
    if (!IsOperator(",")) return first;
    NodePtr node = Make(Node::kList, std::move(first));
    while (TakeOperator(",")) {
      if (Peek().kind == Token::kEndBlock || Peek().kind == Token::kEndOutput)
        break;
      node->parts.push_back(conditional ? Expression() : Or());
    }
    SetDepth(node.get());
    return node;
  }

  NodePtr Expression() {
    const Nested nested(this);
    NodePtr value = Or();
    while (TakeWord("if")) {
      NodePtr node = Make(Node::kConditional, std::move(value), Or());
      node->parts.push_back(TakeWord("else") ? Expression() : nullptr);
      SetDepth(node.get());
      value = std::move(node);
    }
    return value;
  }

  NodePtr Or() {
    NodePtr left = And();
    while (TakeWord("or")) left = Make(Node::kOr, std::move(left), And());
    return left;
  }
  NodePtr And() {
    NodePtr left = Not();
    while (TakeWord("and")) left = Make(Node::kAnd, std::move(left), Not());
    return left;
  }
  NodePtr Not() {
    if (!TakeWord("not")) return Comparison();
    const Nested nested(this);
    return Make(Node::kNot, Not());
  }

  NodePtr Comparison() {
    NodePtr left = Sum();
    NodePtr all;  // a < b < c: both hold
    for (;;) {
      std::string name;
      for (const std::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (TakeOperator(op)) {
          name = op;
          break;
        }
      }
      if (name.empty()) {
        if (TakeWord("in")) {
          name = "in";
        } else if (IsWord("not") && at_ + 1 < tokens_.size() &&
                   tokens_[at_ + 1].kind == Token::kName &&
                   tokens_[at_ + 1].text == "in") {
          Next();
          Next();
          name = "not in";
        } else {
          return all != nullptr ? std::move(all) : std::move(left);
        }
      }
      if (all != nullptr) Fail("chained comparisons are not supported");
      all = Make(Node::kCompare, std::move(left), Sum());
      all->name = name;
    }
  }

  template <class Operand>
  NodePtr LeftToRight(std::initializer_list<std::string_view> operators,
                      Operand operand) {
    NodePtr left = operand();
    for (;;) {
      const auto found = std::ranges::find_if(
          operators, [this](std::string_view op) { return IsOperator(op); });
      if (found == operators.end()) return left;
      Next();
      left = Make(Node::kArithmetic, std::move(left), operand());
      left->name = *found;
    }
  }
  NodePtr Sum() {
    return LeftToRight({"+", "-"}, [this] { return Concatenation(); });
  }
  NodePtr Concatenation() {
    return LeftToRight({"~"}, [this] { return Product(); });
  }
  NodePtr Product() {
    return LeftToRight({"*", "/", "//", "%"}, [this] { return Power(); });
  }
  NodePtr Power() {
    return LeftToRight({"**"}, [this] { return Unary(true); });
  }

  NodePtr Unary(bool with_filters) {
    NodePtr node;
    if (TakeOperator("-")) {
      const Nested nested(this);
      node = Make(Node::kNegative, Unary(false));
    } else if (TakeOperator("+")) {
      const Nested nested(this);
      node = Unary(false);
    } else {
      node = Postfix(Primary());
    }
    return with_filters ? Filters(std::move(node)) : std::move(node);
  }

  NodePtr Primary() {
    const Nested nested(this);
    NodePtr node = Make(Node::kLiteral);
    const Token token = Next();
    switch (token.kind) {
      case Token::kString: {
        std::string text = token.text;
        while (Peek().kind == Token::kString) text += Next().text;
        node->literal = JinjaValue::String(text);
        return node;
      }
      case Token::kInt: {
        int64_t number = 0;
        std::from_chars(token.text.data(),
                        token.text.data() + token.text.size(), number);
        node->literal = JinjaValue::Int(number);
        return node;
      }
      case Token::kFloat: {
        double number = 0;
        std::from_chars(token.text.data(),
                        token.text.data() + token.text.size(), number);
        node->literal = JinjaValue::Float(number);
        return node;
      }
      case Token::kName:
        if (token.text == "true" || token.text == "True") {
          node->literal = JinjaValue::Bool(true);
        } else if (token.text == "false" || token.text == "False") {
          node->literal = JinjaValue::Bool(false);
        } else if (token.text == "none" || token.text == "None") {
          node->literal = JinjaValue::None();
        } else {
          node->kind = Node::kName;
          node->name = token.text;
        }
        return node;
      case Token::kOperator:
        if (token.text == "(") {
          node->kind = Node::kList;
          bool tuple = IsOperator(")");
          while (!IsOperator(")")) {
            node->parts.push_back(Expression());
            if (!TakeOperator(",")) break;
            tuple = true;
          }
          Expect(")");
          if (!tuple) return std::move(node->parts[0]);
          SetDepth(node.get());
          return node;
        }
        if (token.text == "[") {
          node->kind = Node::kList;
          while (!IsOperator("]")) {
            node->parts.push_back(Expression());
            if (!TakeOperator(",")) break;
          }
          Expect("]");
          SetDepth(node.get());
          return node;
        }
        if (token.text == "{") {
          node->kind = Node::kDict;
          while (!IsOperator("}")) {
            node->parts.push_back(Expression());
            Expect(":");
            node->parts.push_back(Expression());
            if (!TakeOperator(",")) break;
          }
          Expect("}");
          SetDepth(node.get());
          return node;
        }
        break;
      default:
        break;
    }
    throw JinjaErrorAt(token.line, "unexpected " + Shown(token));
  }

  NodePtr Postfix(NodePtr node) {
    for (;;) {
      if (TakeOperator(".")) {
        if (Peek().kind == Token::kInt) {  // "list.0"
          NodePtr index = Primary();
          node = Make(Node::kIndex, std::move(node), std::move(index));
          continue;
        }
        std::string name = Name();
        node = Make(Node::kAttribute, std::move(node));
        node->name = std::move(name);
      } else if (TakeOperator("[")) {
        node = Subscript(std::move(node));
      } else if (IsOperator("(")) {
        node = Make(Node::kCall, std::move(node));
        node->arguments = Arguments();
        SetDepth(node.get());
      } else {
        return node;
      }
    }
  }

  NodePtr Subscript(NodePtr object) {
    NodePtr parts[3];
    int count = 0;
    bool slice = false;
    while (!IsOperator("]")) {
      if (TakeOperator(":")) {
        slice = true;
        if (++count > 2) Fail("a slice has too many parts");
      } else {
        if (parts[count] != nullptr)
          Fail("expected ']', found " + Shown(Peek()));
        parts[count] = Expression();
      }
    }
    Expect("]");
    if (!slice) {
      if (parts[0] == nullptr) Fail("an index is missing");
      return Make(Node::kIndex, std::move(object), std::move(parts[0]));
    }
    NodePtr node = Make(Node::kSlice, std::move(object));
    for (NodePtr& part : parts) node->parts.push_back(std::move(part));
    SetDepth(node.get());
    return node;
  }

  std::vector<JinjaArgument> Arguments() {
    std::vector<JinjaArgument> arguments;
    Expect("(");
    while (!IsOperator(")")) {
      if (IsOperator("*") || IsOperator("**"))
        Fail("'*' arguments are not supported");
      JinjaArgument argument;
      if (Peek().kind == Token::kName && at_ + 1 < tokens_.size() &&
          tokens_[at_ + 1].kind == Token::kOperator &&
          tokens_[at_ + 1].text == "=") {
        argument.name = Name();
        Next();
      }
      argument.value = Expression();
      arguments.push_back(std::move(argument));
      if (!TakeOperator(",")) break;
    }
    Expect(")");
    return arguments;
  }

  NodePtr Filters(NodePtr node) {
    for (;;) {
      if (TakeOperator("|")) {
        std::string name = Name();
        node = Make(Node::kFilter, std::move(node));
        node->name = std::move(name);
        if (IsOperator("(")) node->arguments = Arguments();
        SetDepth(node.get());
      } else if (TakeWord("is")) {
        node = Make(Node::kTest, std::move(node));
        node->negated = TakeWord("not");
        node->name = Name();
        if (IsOperator("(")) {
          node->arguments = Arguments();
        } else if (std::ranges::find(kTestsWithArgument, node->name) !=
                   std::end(kTestsWithArgument)) {
          node->arguments.push_back({"", Postfix(Primary())});
        }
        SetDepth(node.get());
      } else if (IsOperator("(")) {
        node = Make(Node::kCall, std::move(node));
        node->arguments = Arguments();
        SetDepth(node.get());
      } else {
        return node;
      }
    }
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
};

}  // namespace

JinjaError JinjaErrorAt(int line, const std::string& what) {
  return {"line " + std::to_string(line) + ": " + what};
}

JinjaNodePtr ParseJinja(std::string_view source) {
  return Parser(source).Run();
}

}  // namespace dapple
