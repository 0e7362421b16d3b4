#include "text/jinja_template.h"

#include <algorithm>
#include <cmath>
#include <exception>

#include "gguf/printable.h"
#include "text/jinja_builtins.h"
#include "text/utf8.h"

namespace dapple {
namespace {

using Node = JinjaNode;
using Scope = std::vector<std::pair<std::string, JinjaValue>>;

constexpr size_t kMaxSource = size_t{1} << 20;
constexpr int kMaxDepth = 800;  // of evaluation: macros call macros

enum class Flow { kNext, kBreak, kContinue };

class Evaluator {
 public:
  Evaluator(const JinjaDict& variables, std::time_t now,
            const JinjaLimits& limits)
      : now_(now), budget_(limits.steps, limits.bytes + 64 * Size(variables)) {
    Scope globals;
    for (const auto& [name, value] : variables)
      globals.emplace_back(name.bytes(), value);
    for (const char* name :
         {"range", "namespace", "raise_exception", "strftime_now", "dict"})
      globals.emplace_back(name, JinjaValue::Function({name, nullptr}));
    scopes_.push_back(std::move(globals));
  }

  JinjaText Run(const Node& root) {
    JinjaText out;
    out_ = &out;
    Body(root.body);
    return out;
  }

 private:
  static uint64_t Size(const JinjaDict& variables) {
    uint64_t bytes = 0;
    for (const auto& entry : variables) bytes += entry.second.Weight();
    return bytes;
  }

  // Adds the node's line to errors from below that have none yet.
  template <class Work>
  auto At(const Node& node, Work work) {
    budget_.Step();
    if (++depth_ > kMaxDepth) {
      depth_ = 0;
      throw JinjaErrorAt(node.line, "calls are nested too deep");
    }
    try {
      auto result = work();
      --depth_;
      return result;
    } catch (JinjaError& error) {
      if (!error.raised && !error.message.starts_with("line "))
        throw JinjaErrorAt(node.line, error.message);
      throw;
    }
  }

  // ---- Variables
  // -------------------------------------------------------------
  const JinjaValue* Look(std::string_view name) const {
    for (size_t i = scopes_.size(); i-- > 0;) {
      // A macro sees its own variables and the template's.
      if (i < frame_ && i > 0) continue;
      for (const auto& [key, value] : scopes_[i])
        if (key == name) return &value;
    }
    return nullptr;
  }

  void Assign(const std::string& target, JinjaValue value) {
    const size_t dot = target.find('.');
    if (dot != std::string::npos) {
      const JinjaValue* object = Look(std::string_view(target).substr(0, dot));
      if (object == nullptr || !object->IsNamespace())
        throw JinjaError{"set " + target + ": that is no namespace"};
      if (value.IsNamespace())
        throw JinjaError{"a namespace cannot hold a namespace"};
      return Put(&object->name_space().fields, target.substr(dot + 1),
                 std::move(value));
    }
    Put(&scopes_.back(), target, std::move(value));
  }
  static void Put(Scope* scope, const std::string& name, JinjaValue value) {
    for (auto& [key, old] : *scope) {
      if (key != name) continue;
      old = std::move(value);
      return;
    }
    scope->emplace_back(name, std::move(value));
  }

  void AssignAll(const std::vector<std::string>& targets,
                 const JinjaValue& value) {
    if (targets.size() == 1) return Assign(targets[0], value);
    const JinjaList items = JinjaItems(value, &budget_);
    if (items.size() != targets.size())
      throw JinjaError{"cannot unpack " + std::to_string(items.size()) +
                       " items to " + std::to_string(targets.size()) +
                       " names"};
    for (size_t i = 0; i < items.size(); ++i) Assign(targets[i], items[i]);
  }

  // ---- Statements
  // ------------------------------------------------------------
  void Emit(const JinjaText& text) {
    budget_.Charge(text.size());
    out_->Append(text);
  }

  Flow Body(const std::vector<JinjaNodePtr>& body) {
    for (const JinjaNodePtr& node : body) {
      const Flow flow = Statement(*node);
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow Statement(const Node& node) {
    return At(node, [&]() -> Flow {
      switch (node.kind) {
        case Node::kText:
          Emit(JinjaText::Trusted(node.name));
          return Flow::kNext;
        case Node::kOutput:
          Emit(JinjaStr(Evaluate(*node.parts[0]), &budget_));
          return Flow::kNext;
        case Node::kIf:
          return Body(Evaluate(*node.parts[0]).Truth() ? node.body
                                                       : node.otherwise);
        case Node::kFor:
          return For(node);
        case Node::kSet:
          if (!node.parts.empty())
            AssignAll(node.targets, Evaluate(*node.parts[0]));
          else
            Assign(node.targets[0], JinjaValue::String(Captured(node.body)));
          return Flow::kNext;
        case Node::kMacro:
          // Freed with the value; the node outlives the evaluation.
          macros_.push_back(std::make_unique<JinjaMacro>(JinjaMacro{&node}));
          Assign(node.name,
                 JinjaValue::Function({node.name, macros_.back().get()}));
          return Flow::kNext;
        case Node::kBreak:
          return Flow::kBreak;
        case Node::kContinue:
          return Flow::kContinue;
        default:
          return Body(node.body);
      }
    });
  }

  JinjaText Captured(const std::vector<JinjaNodePtr>& body) {
    JinjaText text;
    JinjaText* const before = out_;
    out_ = &text;
    Body(body);
    out_ = before;
    return text;
  }

  Flow For(const Node& node) {
    JinjaList items = JinjaItems(Evaluate(*node.parts[0]), &budget_);
    if (node.parts[1] != nullptr) {
      JinjaList kept;
      for (const JinjaValue& item : items) {
        scopes_.emplace_back();
        AssignAll(node.targets, item);
        if (Evaluate(*node.parts[1]).Truth()) kept.push_back(item);
        scopes_.pop_back();
      }
      items = std::move(kept);
    }
    if (items.empty()) return Body(node.otherwise);
    const int64_t count = static_cast<int64_t>(items.size());
    for (int64_t i = 0; i < count; ++i) {
      budget_.Charge(512);
      JinjaDict loop;
      const auto add = [&loop](const char* name, JinjaValue value) {
        loop.emplace_back(JinjaText::Trusted(name), std::move(value));
      };
      add("index0", JinjaValue::Int(i));
      add("index", JinjaValue::Int(i + 1));
      add("revindex0", JinjaValue::Int(count - 1 - i));
      add("revindex", JinjaValue::Int(count - i));
      add("first", JinjaValue::Bool(i == 0));
      add("last", JinjaValue::Bool(i == count - 1));
      add("length", JinjaValue::Int(count));
      if (i > 0) add("previtem", items[static_cast<size_t>(i - 1)]);
      if (i + 1 < count) add("nextitem", items[static_cast<size_t>(i + 1)]);
      scopes_.emplace_back();
      AssignAll(node.targets, items[static_cast<size_t>(i)]);
      Put(&scopes_.back(), "loop", JinjaValue::Dict(std::move(loop)));
      const Flow flow = Body(node.body);
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    return Flow::kNext;
  }

  // ---- Expressions
  // -----------------------------------------------------------
  JinjaValue Evaluate(const Node& node) {
    return At(node, [&] { return Value(node); });
  }

  JinjaValue Value(const Node& node) {
    switch (node.kind) {
      case Node::kLiteral:
        return node.literal;
      case Node::kName: {
        const JinjaValue* found = Look(node.name);
        return found == nullptr ? JinjaValue::Undefined(node.name) : *found;
      }
      case Node::kList: {
        JinjaList list;
        for (const JinjaNodePtr& part : node.parts)
          list.push_back(Evaluate(*part));
        budget_.Charge(32 * list.size());
        return JinjaValue::List(std::move(list));
      }
      case Node::kDict:
        return DictOf(node);
      case Node::kAttribute:
        return JinjaAttribute(Evaluate(*node.parts[0]), node.name);
      case Node::kIndex: {
        const JinjaValue object = Evaluate(*node.parts[0]);
        if (object.IsString()) budget_.Charge(8 * object.text().size());
        return JinjaItem(object, Evaluate(*node.parts[1]));
      }
      case Node::kSlice:
        return SliceOf(node);
      case Node::kCall:
        return Call(node);
      case Node::kFilter:
        return ApplyJinjaFilter(node.name, Evaluate(*node.parts[0]),
                                Arguments(node), &budget_);
      case Node::kTest:
        return JinjaValue::Bool(
            ApplyJinjaTest(node.name, Evaluate(*node.parts[0]), Arguments(node),
                           &budget_) != node.negated);
      case Node::kNot:
        return JinjaValue::Bool(!Evaluate(*node.parts[0]).Truth());
      case Node::kNegative: {
        const JinjaValue value = Evaluate(*node.parts[0]);
        if (value.IsFloat()) return JinjaValue::Float(-value.real());
        if (!value.IsNumber() || value.integer() == INT64_MIN)
          throw JinjaError{"'-' before " + value.Describe()};
        return JinjaValue::Int(-value.integer());
      }
      case Node::kAnd: {
        JinjaValue left = Evaluate(*node.parts[0]);
        return left.Truth() ? Evaluate(*node.parts[1]) : left;
      }
      case Node::kOr: {
        JinjaValue left = Evaluate(*node.parts[0]);
        return left.Truth() ? left : Evaluate(*node.parts[1]);
      }
      case Node::kCompare:
        return Compare(node);
      case Node::kArithmetic:
        return Arithmetic(node.name, Evaluate(*node.parts[0]),
                          Evaluate(*node.parts[1]));
      case Node::kConditional:
        if (Evaluate(*node.parts[1]).Truth()) return Evaluate(*node.parts[0]);
        return node.parts[2] == nullptr ? JinjaValue()
                                        : Evaluate(*node.parts[2]);
      default:
        throw JinjaError{"this is no expression"};
    }
  }

  JinjaValue DictOf(const Node& node) {
    JinjaDict dict;
    for (size_t i = 0; i + 1 < node.parts.size(); i += 2) {
      const JinjaValue key = Evaluate(*node.parts[i]);
      if (!key.IsString())
        throw JinjaError{"a key that is " + key.Describe() +
                         " is not supported"};
      dict.emplace_back(key.text(), Evaluate(*node.parts[i + 1]));
    }
    budget_.Charge(64 * dict.size());
    return JinjaValue::Dict(std::move(dict));
  }

  JinjaValue SliceOf(const Node& node) {
    const JinjaValue object = Evaluate(*node.parts[0]);
    std::optional<int64_t> bounds[3];
    for (size_t i = 0; i < 3; ++i) {
      if (node.parts[i + 1] == nullptr) continue;
      const JinjaValue value = Evaluate(*node.parts[i + 1]);
      if (value.IsNone()) continue;
      if (!value.IsInt()) throw JinjaError{"a slice with " + value.Describe()};
      bounds[i] = value.integer();
    }
    if (!object.IsList() && !object.IsString())
      throw JinjaError{object.Describe() + " cannot be sliced"};
    const int64_t step = bounds[2].value_or(1);
    if (step == 0) throw JinjaError{"a slice with step 0"};
    std::vector<size_t> starts;
    if (object.IsString()) {
      budget_.Charge(8 * object.text().size());
      starts = JinjaCharacters(object.text().view());
    }
    const int64_t size = static_cast<int64_t>(
        object.IsString() ? starts.size() - 1 : object.list().size());
    // Python's slice.indices.
    const int64_t low = step > 0 ? 0 : -1;
    const int64_t high = step > 0 ? size : size - 1;
    const auto bound = [&](const std::optional<int64_t>& given,
                           int64_t otherwise) {
      if (!given.has_value()) return otherwise;
      return std::clamp(*given < 0 ? *given + size : *given, low, high);
    };
    const int64_t from = bound(bounds[0], step > 0 ? low : high);
    const int64_t to = bound(bounds[1], step > 0 ? high : low);
    if (object.IsString() && step == 1)
      return JinjaValue::String(
          object.text().Slice(starts[static_cast<size_t>(from)],
                              starts[static_cast<size_t>(std::max(from, to))]));
    JinjaList list;
    JinjaText text;
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
      budget_.Charge(32);
      const size_t at = static_cast<size_t>(i);
      if (object.IsString())
        text.Append(object.text(), starts[at], starts[at + 1]);
      else
        list.push_back(object.list()[at]);
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    if (object.IsString()) return JinjaValue::String(std::move(text));
    return JinjaValue::List(std::move(list));
  }

  JinjaValue Compare(const Node& node) {
    const JinjaValue left = Evaluate(*node.parts[0]);
    const JinjaValue right = Evaluate(*node.parts[1]);
    const std::string& name = node.name;
    if (name == "==" || name == "!=")
      return JinjaValue::Bool(JinjaEqual(left, right, &budget_) ==
                              (name == "=="));
    if (name == "in" || name == "not in")
      return JinjaValue::Bool(JinjaContains(right, left, &budget_) ==
                              (name == "in"));
    const auto order = left.Compare(right);
    if (!order.has_value())
      throw JinjaError{"'" + name + "' between " + left.Describe() + " and " +
                       right.Describe()};
    return JinjaValue::Bool(name == "<"    ? *order < 0
                            : name == "<=" ? *order <= 0
                            : name == ">"  ? *order > 0
                                           : *order >= 0);
  }

  JinjaValue Arithmetic(const std::string& name, const JinjaValue& left,
                        const JinjaValue& right) {
    if (name == "~" || (name == "+" && left.IsString() && right.IsString())) {
      JinjaText text = JinjaStr(left, &budget_);
      text.Append(JinjaStr(right, &budget_));
      return JinjaValue::String(std::move(text));
    }
    if (name == "+" && left.IsList() && right.IsList()) {
      JinjaList list = JinjaItems(left, &budget_);
      for (const JinjaValue& item : JinjaItems(right, &budget_))
        list.push_back(item);
      return JinjaValue::List(std::move(list));
    }
    if (name == "*" && left.IsString() && right.IsInt()) {
      JinjaText text;
      for (int64_t i = 0; i < right.integer(); ++i) {
        budget_.Charge(left.text().size() + 1);
        text.Append(left.text());
      }
      return JinjaValue::String(std::move(text));
    }
    if (!left.IsNumber() || !right.IsNumber())
      throw JinjaError{"'" + name + "' between " + left.Describe() + " and " +
                       right.Describe()};
    if (left.IsFloat() || right.IsFloat() || name == "/" || name == "**")
      return Real(name, left.real(), right.real(),
                  !left.IsFloat() && !right.IsFloat());
    const int64_t a = left.integer(), b = right.integer();
    int64_t result = 0;
    bool overflow = false;
    if (name == "+") {
      overflow = __builtin_add_overflow(a, b, &result);
    } else if (name == "-") {
      overflow = __builtin_sub_overflow(a, b, &result);
    } else if (name == "*") {
      overflow = __builtin_mul_overflow(a, b, &result);
    } else {  // "//" and "%" round down
      if (b == 0) throw JinjaError{"division by zero"};
      if (b == -1) {
        overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
        if (name == "%") result = 0;
      } else {
        const bool down = a % b != 0 && (a < 0) != (b < 0);
        result = name == "%" ? a % b + (down ? b : 0) : a / b - down;
      }
    }
    if (overflow) throw JinjaError{"a number is too large"};
    return JinjaValue::Int(result);
  }

  static JinjaValue Real(const std::string& name, double a, double b,
                         bool whole) {
    if (name == "+") return JinjaValue::Float(a + b);
    if (name == "-") return JinjaValue::Float(a - b);
    if (name == "*") return JinjaValue::Float(a * b);
    if (name == "**") {
      const double power = std::pow(a, b);
      if (whole && b >= 0 && std::abs(power) < 9e15)
        return JinjaValue::Int(static_cast<int64_t>(power));
      return JinjaValue::Float(power);
    }
    if (b == 0) throw JinjaError{"division by zero"};
    if (name == "/") return JinjaValue::Float(a / b);
    if (name == "//") return JinjaValue::Float(std::floor(a / b));
    return JinjaValue::Float(a - b * std::floor(a / b));
  }

  // ---- Calls
  // -----------------------------------------------------------------
  JinjaArguments Arguments(const Node& node) {
    JinjaArguments arguments;
    for (const JinjaArgument& argument : node.arguments) {
      JinjaValue value = Evaluate(*argument.value);
      if (!argument.name.empty())
        arguments.named.emplace_back(argument.name, std::move(value));
      else if (!arguments.named.empty())
        throw JinjaError{"an argument without a name behind a named one"};
      else
        arguments.positional.push_back(std::move(value));
    }
    return arguments;
  }

  JinjaValue Call(const Node& node) {
    const Node& callee = *node.parts[0];
    JinjaValue function;
    if (callee.kind == Node::kAttribute) {
      const JinjaValue object = Evaluate(*callee.parts[0]);
      JinjaValue result;
      if (CallJinjaMethod(object, callee.name, Arguments(node), &budget_,
                          &result))
        return result;
      function = JinjaAttribute(object, callee.name);
      if (!function.IsFunction())
        throw JinjaError{"the method " + Quoted(callee.name) + " of " +
                         object.Describe() + " is not supported"};
    } else {
      function = Evaluate(callee);
    }
    if (!function.IsFunction())
      throw JinjaError{function.Describe() + " cannot be called"};
    if (function.function().macro != nullptr)
      return CallMacro(*function.function().macro->node, Arguments(node));
    return CallBuiltin(function.function().name, Arguments(node));
  }

  JinjaValue CallMacro(const Node& macro, const JinjaArguments& arguments) {
    if (arguments.positional.size() > macro.arguments.size())
      throw JinjaError{"the macro " + Quoted(macro.name) +
                       " takes fewer arguments"};
    for (const auto& entry : arguments.named) {
      if (std::ranges::none_of(macro.arguments, [&](const JinjaArgument& one) {
            return one.name == entry.first;
          }))
        throw JinjaError{"the macro " + Quoted(macro.name) +
                         " has no argument " + Quoted(entry.first)};
    }
    const size_t before = frame_;
    scopes_.emplace_back();
    frame_ = scopes_.size() - 1;
    for (size_t i = 0; i < macro.arguments.size(); ++i) {
      const JinjaArgument& argument = macro.arguments[i];
      const JinjaValue* given = arguments.Find(i, argument.name);
      JinjaValue value = JinjaValue::Undefined(argument.name);
      if (given != nullptr)
        value = *given;
      else if (argument.value != nullptr)
        value = Evaluate(*argument.value);
      Put(&scopes_.back(), argument.name, std::move(value));
    }
    JinjaText text = Captured(macro.body);
    scopes_.pop_back();
    frame_ = before;
    return JinjaValue::String(std::move(text));
  }

  JinjaValue CallBuiltin(const std::string& name,
                         const JinjaArguments& arguments) {
    if (name == "raise_exception") {
      arguments.Check(name, 1);
      const JinjaValue* message = arguments.Find(0, "message");
      throw JinjaError{message == nullptr
                           ? "(no reason)"
                           : JinjaStr(*message, &budget_).bytes(),
                       true};
    }
    if (name == "namespace" || name == "dict") {
      const bool is_namespace = name == "namespace";
      if (arguments.positional.size() > 1)
        throw JinjaError{name + ": too many arguments"};
      JinjaDict dict;
      if (const JinjaValue* from = arguments.Find(0, "")) {
        if (!from->IsDict())
          throw JinjaError{name + ": a dictionary is wanted"};
        dict = from->dict();
      }
      for (const auto& [key, value] : arguments.named)
        dict.emplace_back(JinjaText::Trusted(key), value);
      budget_.Charge(64 * (1 + dict.size()));
      if (!is_namespace) return JinjaValue::Dict(std::move(dict));
      JinjaValue made = JinjaValue::Namespace();
      for (const auto& [key, value] : dict) {
        if (value.IsNamespace())
          throw JinjaError{"a namespace cannot hold a namespace"};
        Put(&made.name_space().fields, key.bytes(), value);
      }
      return made;
    }
    if (name == "range") {
      arguments.Check(name, 3);
      int64_t numbers[3] = {0, 0, 1};
      const size_t given = arguments.positional.size();
      if (given == 0) throw JinjaError{"range: no arguments"};
      for (size_t i = 0; i < given; ++i) {
        if (!arguments.positional[i].IsInt())
          throw JinjaError{"range: whole numbers are wanted"};
        numbers[given == 1 ? 1 : i] = arguments.positional[i].integer();
      }
      if (numbers[2] == 0) throw JinjaError{"range: a step of 0"};
      JinjaList list;
      for (int64_t i = numbers[0];
           numbers[2] > 0 ? i < numbers[1] : i > numbers[1];) {
        budget_.Charge(32);
        list.push_back(JinjaValue::Int(i));
        if (__builtin_add_overflow(i, numbers[2], &i)) break;
      }
      return JinjaValue::List(std::move(list));
    }
    arguments.Check(name, 1);  // strftime_now
    const JinjaValue* format = arguments.Find(0, "format");
    if (format == nullptr || !format->IsString() || format->text().size() > 200)
      throw JinjaError{"strftime_now: a format is wanted"};
    std::tm time = {};
    localtime_r(&now_, &time);
    char buffer[4096];
    const size_t size = std::strftime(buffer, sizeof(buffer),
                                      format->text().bytes().c_str(), &time);
    return JinjaValue::String(std::string_view(buffer, size));
  }

  const std::time_t now_;
  JinjaBudget budget_;
  std::vector<Scope> scopes_;  // [0]: the template's own
  size_t frame_ = 0;           // the first scope of the running macro
  std::vector<std::unique_ptr<JinjaMacro>> macros_;
  JinjaText* out_ = nullptr;
  int depth_ = 0;
};

}  // namespace

Result<JinjaTemplate> JinjaTemplate::Parse(std::string_view source) {
  if (source.size() > kMaxSource)
    return Unsupported("chat template: longer than 1 MiB");
  if (!IsValidUtf8(source, nullptr))
    return Unsupported("chat template: not UTF-8 text");
  try {
    JinjaTemplate made;
    made.root_ = ParseJinja(source);
    return made;
  } catch (const JinjaError& error) {
    return Unsupported("chat template, " + error.message);
  } catch (const std::exception& error) {
    return Internal(std::string("chat template: ") + error.what());
  }
}

Result<JinjaText> JinjaTemplate::Render(const JinjaDict& variables,
                                        std::time_t now,
                                        const JinjaLimits& limits) const {
  try {
    return Evaluator(variables, now, limits).Run(*root_);
  } catch (const JinjaError& error) {
    if (error.raised)
      return InvalidArgument("the model's chat template refuses: " +
                             Quoted(error.message, 300));
    return Unsupported("chat template, " + error.message);
  } catch (const std::exception& error) {
    return Internal(std::string("chat template: ") + error.what());
  }
}

}  // namespace dapple
