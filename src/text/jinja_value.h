// JinjaValue: what a chat template computes with, after Python's types.
//
// Strings, lists and dictionaries are shared and never change; only a namespace
// does. No container holds a namespace and none is nested deeper than
// kMaxNesting, so that values form no cycles and freeing them recurses little.
#ifndef DAPPLE_TEXT_JINJA_VALUE_H_
#define DAPPLE_TEXT_JINJA_VALUE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja_text.h"

namespace dapple {

// Thrown inside the interpreter alone; JinjaTemplate turns it into a Status.
struct JinjaError {
  std::string message;
  bool raised = false;  // by the template's own raise_exception
};

struct JinjaMacro;
class JinjaValue;

using JinjaList = std::vector<JinjaValue>;
// In order of insertion, as Python's.
using JinjaDict = std::vector<std::pair<JinjaText, JinjaValue>>;

struct JinjaNamespace {
  std::vector<std::pair<std::string, JinjaValue>> fields;
};
struct JinjaUndefined {
  std::string name;
};
struct JinjaNone {};
struct JinjaFunction {
  std::string name;                   // of a built-in one
  const JinjaMacro* macro = nullptr;  // else
};

class JinjaValue {
 public:
  static constexpr int kMaxNesting = 64;

  JinjaValue() : value_(std::make_shared<JinjaUndefined>()) {}
  static JinjaValue Undefined(std::string name) {
    JinjaValue value;
    value.value_ = std::make_shared<JinjaUndefined>(std::move(name));
    return value;
  }
  static JinjaValue None() { return JinjaValue(Any(JinjaNone())); }
  static JinjaValue Bool(bool b) { return JinjaValue(Any(b)); }
  static JinjaValue Int(int64_t i) { return JinjaValue(Any(i)); }
  static JinjaValue Float(double f) { return JinjaValue(Any(f)); }
  static JinjaValue String(JinjaText text) {
    return JinjaValue(Any(std::make_shared<const JinjaText>(std::move(text))));
  }
  static JinjaValue String(std::string_view trusted) {
    return String(JinjaText::Trusted(trusted));
  }
  // Throw JinjaError when nested too deep or when they hold a namespace.
  static JinjaValue List(JinjaList list);
  static JinjaValue Dict(JinjaDict dict);
  static JinjaValue Namespace();
  static JinjaValue Function(JinjaFunction function) {
    return JinjaValue(
        Any(std::make_shared<const JinjaFunction>(std::move(function))));
  }

  bool IsUndefined() const { return Holds<0>(); }
  bool IsNone() const { return Holds<1>(); }
  bool IsBool() const { return Holds<2>(); }
  bool IsInt() const { return Holds<3>(); }
  bool IsFloat() const { return Holds<4>(); }
  bool IsNumber() const { return IsBool() || IsInt() || IsFloat(); }
  bool IsString() const { return Holds<5>(); }
  bool IsList() const { return Holds<6>(); }
  bool IsDict() const { return Holds<7>(); }
  bool IsNamespace() const { return Holds<8>(); }
  bool IsFunction() const { return Holds<9>(); }

  const std::string& undefined_name() const {
    return std::get<0>(value_)->name;
  }
  bool boolean() const { return std::get<2>(value_); }
  int64_t integer() const { return IsBool() ? boolean() : std::get<3>(value_); }
  double real() const {
    return IsFloat() ? std::get<4>(value_) : static_cast<double>(integer());
  }
  const JinjaText& text() const { return *std::get<5>(value_); }
  const JinjaList& list() const { return std::get<6>(value_)->items; }
  const JinjaDict& dict() const { return std::get<7>(value_)->items; }
  JinjaNamespace& name_space() const { return *std::get<8>(value_); }
  const JinjaFunction& function() const { return *std::get<9>(value_); }

  // About the bytes that Str or Json would give, counted with repetition: to be
  // charged before either, or Equals, is called.
  uint64_t Weight() const;
  bool Truth() const;
  // "a string", "a list", "undefined ('x')": for messages.
  std::string Describe() const;
  // nullptr: the dictionary has no such key.
  const JinjaValue* Find(std::string_view key) const;
  // Python's str(); repr() for what lies inside containers.
  JinjaText Str() const;
  bool Equals(const JinjaValue& other) const;
  // Negative, 0, positive; nothing for types that have no order.
  std::optional<int> Compare(const JinjaValue& other) const;
  // Python's json.dumps(ensure_ascii=False); indent < 0: on one line.
  JinjaText Json(int indent) const;

 private:
  template <class T>
  struct Nested {
    T items;
    int depth;
    uint64_t weight;
  };
  using Any =
      std::variant<std::shared_ptr<const JinjaUndefined>, JinjaNone, bool,
                   int64_t, double, std::shared_ptr<const JinjaText>,
                   std::shared_ptr<const Nested<JinjaList>>,
                   std::shared_ptr<const Nested<JinjaDict>>,
                   std::shared_ptr<JinjaNamespace>,
                   std::shared_ptr<const JinjaFunction>>;

  explicit JinjaValue(Any value) : value_(std::move(value)) {}
  template <size_t kIndex>
  bool Holds() const {
    return value_.index() == kIndex;
  }
  int Depth() const;
  void AppendRepr(JinjaText* out) const;
  void AppendJson(int indent, int level, JinjaText* out) const;

  Any value_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_JINJA_VALUE_H_
