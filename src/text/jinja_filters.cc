// Filters and tests.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "gguf/printable.h"
#include "text/jinja_builtins.h"

namespace dapple {
namespace {

[[noreturn]] void WrongType(std::string_view function, const JinjaValue& value,
                            const char* wanted) {
  throw JinjaError{std::string(function) + ": " + wanted + " is wanted, not " +
                   value.Describe()};
}

JinjaValue Method(std::string_view name, const JinjaValue& value,
                  const JinjaArguments& arguments, JinjaBudget* budget) {
  JinjaValue result;
  // As Jinja does, filters of strings take anything, as text.
  const JinjaValue text =
      value.IsString() ? value : JinjaValue::String(JinjaStr(value, budget));
  CallJinjaMethod(text, name, arguments, budget, &result);
  return result;
}

int64_t Length(const JinjaValue& value, JinjaBudget* budget) {
  if (value.IsList()) return static_cast<int64_t>(value.list().size());
  if (value.IsDict()) return static_cast<int64_t>(value.dict().size());
  if (value.IsUndefined()) return 0;
  if (!value.IsString()) WrongType("length", value, "a list or string");
  budget->Charge(8 * value.text().size());
  return static_cast<int64_t>(JinjaCharacters(value.text().view()).size()) - 1;
}

JinjaValue Replace(const JinjaValue& value, const JinjaArguments& arguments,
                   JinjaBudget* budget) {
  arguments.Check("replace", 3, {"old", "new", "count"});
  const JinjaText text = JinjaStr(value, budget);
  const JinjaValue* from = arguments.Find(0, "old");
  const JinjaValue* to = arguments.Find(1, "new");
  const JinjaValue* most = arguments.Find(2, "count");
  if (from == nullptr || to == nullptr || !from->IsString() || !to->IsString())
    throw JinjaError{"replace: two strings are wanted"};
  if (from->text().empty()) throw JinjaError{"replace: an empty string"};
  int64_t left = most == nullptr || !most->IsInt() || most->integer() < 0
                     ? INT64_MAX
                     : most->integer();
  JinjaText out;
  size_t at = 0;
  for (; left > 0; --left) {
    const size_t found = JinjaFind(text.view(), from->text().view(), at);
    if (found == std::string_view::npos) break;
    budget->Charge(to->text().size());
    out.Append(text, at, found);
    out.Append(to->text());
    at = found + from->text().size();
  }
  out.Append(text, at, text.size());
  return JinjaValue::String(std::move(out));
}

JinjaValue ByPath(const JinjaValue& item, const JinjaValue& path) {
  if (path.IsInt()) return JinjaItem(item, path);
  if (!path.IsString()) WrongType("attribute", path, "a name");
  JinjaValue value = item;
  std::string_view rest = path.text().view();
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find('.'));
    value = JinjaAttribute(value, name);
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
  }
  return value;
}

JinjaValue Join(const JinjaValue& value, const JinjaArguments& arguments,
                JinjaBudget* budget) {
  arguments.Check("join", 2, {"d", "attribute"});
  const JinjaValue* by = arguments.Find(0, "d");
  const JinjaValue* attribute = arguments.Find(1, "attribute");
  const JinjaText separator =
      by == nullptr ? JinjaText() : JinjaStr(*by, budget);
  JinjaText out;
  bool first = true;
  for (const JinjaValue& item : JinjaItems(value, budget)) {
    budget->Charge(separator.size());
    if (!first) out.Append(separator);
    out.Append(JinjaStr(attribute == nullptr ? item : ByPath(item, *attribute),
                        budget));
    first = false;
  }
  return JinjaValue::String(std::move(out));
}

JinjaArguments Rest(const JinjaArguments& arguments, size_t skip) {
  JinjaArguments rest;
  if (arguments.positional.size() > skip)
    rest.positional.assign(
        arguments.positional.begin() + static_cast<std::ptrdiff_t>(skip),
        arguments.positional.end());
  return rest;
}

std::string NameArgument(std::string_view function, const JinjaValue* value) {
  if (value == nullptr || !value->IsString())
    throw JinjaError{std::string(function) + ": a name is wanted"};
  return value->text().bytes();
}

// select, reject, selectattr, rejectattr
JinjaValue Select(std::string_view name, const JinjaValue& value,
                  const JinjaArguments& arguments, JinjaBudget* budget) {
  const bool by_attribute = name.ends_with("attr");
  const bool wanted = name.starts_with("select");
  const JinjaValue* attribute = by_attribute ? arguments.Find(0, "") : nullptr;
  if (by_attribute) NameArgument(name, attribute);
  const size_t skip = by_attribute ? 1 : 0;
  const JinjaValue* test = arguments.Find(skip, "");
  const JinjaArguments rest = Rest(arguments, skip + 1);
  JinjaList out;
  for (const JinjaValue& item : JinjaItems(value, budget)) {
    budget->Step();
    const JinjaValue tested = by_attribute ? ByPath(item, *attribute) : item;
    const bool holds =
        test == nullptr
            ? tested.Truth()
            : ApplyJinjaTest(NameArgument(name, test), tested, rest, budget);
    if (holds == wanted) out.push_back(item);
  }
  return JinjaValue::List(std::move(out));
}

JinjaValue Map(const JinjaValue& value, const JinjaArguments& arguments,
               JinjaBudget* budget) {
  JinjaList out;
  const bool by_attribute = arguments.positional.empty();
  const JinjaValue* attribute = arguments.Find(SIZE_MAX, "attribute");
  const JinjaValue* otherwise = arguments.Find(SIZE_MAX, "default");
  if (by_attribute && attribute == nullptr)
    throw JinjaError{"map: a filter or attribute is wanted"};
  const JinjaArguments rest = Rest(arguments, 1);
  for (const JinjaValue& item : JinjaItems(value, budget)) {
    budget->Step();
    if (!by_attribute) {
      out.push_back(ApplyJinjaFilter(
          NameArgument("map", &arguments.positional[0]), item, rest, budget));
      continue;
    }
    JinjaValue found = ByPath(item, *attribute);
    if (found.IsUndefined() && otherwise != nullptr) found = *otherwise;
    out.push_back(std::move(found));
  }
  return JinjaValue::List(std::move(out));
}

JinjaValue Sorted(const JinjaValue& value, const JinjaArguments& arguments,
                  JinjaBudget* budget) {
  arguments.Check("sort", 3, {"reverse", "case_sensitive", "attribute"});
  const JinjaValue* reverse = arguments.Find(0, "reverse");
  const JinjaValue* attribute = arguments.Find(2, "attribute");
  JinjaList items = JinjaItems(value, budget);
  budget->Charge(value.Weight() * 32);
  const auto key = [&](const JinjaValue& item) {
    return attribute == nullptr ? item : ByPath(item, *attribute);
  };
  std::stable_sort(items.begin(), items.end(),
                   [&](const JinjaValue& a, const JinjaValue& b) {
                     const auto order = key(a).Compare(key(b));
                     if (!order.has_value())
                       throw JinjaError{"sort: these have no order"};
                     return *order < 0;
                   });
  if (reverse != nullptr && reverse->Truth())
    std::reverse(items.begin(), items.end());
  return JinjaValue::List(std::move(items));
}

JinjaValue Indent(const JinjaValue& value, const JinjaArguments& arguments,
                  JinjaBudget* budget) {
  arguments.Check("indent", 3, {"width", "first", "blank"});
  const JinjaValue* width = arguments.Find(0, "width");
  const JinjaValue* first = arguments.Find(1, "first");
  const JinjaValue* blank = arguments.Find(2, "blank");
  std::string by = "    ";
  if (width != nullptr && width->IsString()) by = width->text().bytes();
  if (width != nullptr && width->IsInt()) {
    if (width->integer() < 0 || width->integer() > 1000)
      throw JinjaError{"indent: a width that makes no sense"};
    by.assign(static_cast<size_t>(width->integer()), ' ');
  }
  const JinjaText text = JinjaStr(value, budget);
  JinjaText out;
  size_t at = 0;
  for (bool start = true;; start = false) {
    const size_t end = std::min(text.view().find('\n', at), text.size());
    const bool wanted = start
                            ? first != nullptr && first->Truth()
                            : end > at || (blank != nullptr && blank->Truth());
    if (wanted) {
      budget->Charge(by.size());
      out.AppendTrusted(by);
    }
    out.Append(text, at, std::min(end + 1, text.size()));
    if (end >= text.size()) break;
    at = end + 1;
  }
  return JinjaValue::String(std::move(out));
}

JinjaValue ToInt(const JinjaValue& value, const JinjaArguments& arguments) {
  if (value.IsInt() || value.IsBool()) return JinjaValue::Int(value.integer());
  const JinjaValue* otherwise = arguments.Find(0, "default");
  double number = std::nan("");
  if (value.IsFloat()) number = value.real();
  if (value.IsString()) {
    const std::string& text = value.text().bytes();
    std::from_chars(text.data(), text.data() + text.size(), number);
  }
  if (std::abs(number) < 9e18)
    return JinjaValue::Int(static_cast<int64_t>(number));
  return otherwise == nullptr ? JinjaValue::Int(0) : *otherwise;
}

JinjaValue ToFloat(const JinjaValue& value) {
  if (value.IsNumber()) return JinjaValue::Float(value.real());
  double number = 0;
  if (value.IsString()) {
    const std::string& text = value.text().bytes();
    std::from_chars(text.data(), text.data() + text.size(), number);
  }
  return JinjaValue::Float(number);
}

JinjaValue Unique(const JinjaValue& value, JinjaBudget* budget) {
  JinjaList out;
  for (const JinjaValue& item : JinjaItems(value, budget)) {
    if (!std::ranges::any_of(out, [&](const JinjaValue& other) {
          return JinjaEqual(other, item, budget);
        }))
      out.push_back(item);
  }
  return JinjaValue::List(std::move(out));
}

JinjaValue Json(const JinjaValue& value, const JinjaArguments& arguments,
                JinjaBudget* budget) {
  arguments.Check("tojson", 1,
                  {"indent", "ensure_ascii", "separators", "sort_keys"});
  const JinjaValue* indent = arguments.Find(0, "indent");
  int width = -1;
  if (indent != nullptr && indent->IsInt())
    width = static_cast<int>(std::clamp<int64_t>(indent->integer(), 0, 16));
  budget->Charge(value.Weight() * (width < 0 ? 8 : 64));
  return JinjaValue::String(value.Json(width));
}

}  // namespace

JinjaValue ApplyJinjaFilter(std::string_view name, const JinjaValue& value,
                            const JinjaArguments& arguments,
                            JinjaBudget* budget) {
  budget->Step();
  if (name == "trim") return Method("strip", value, arguments, budget);
  if (name == "upper" || name == "lower" || name == "title" ||
      name == "capitalize")
    return Method(name, value, arguments, budget);
  if (name == "length" || name == "count")
    return JinjaValue::Int(Length(value, budget));
  if (name == "tojson") return Json(value, arguments, budget);
  if (name == "replace") return Replace(value, arguments, budget);
  if (name == "join") return Join(value, arguments, budget);
  if (name == "string") return JinjaValue::String(JinjaStr(value, budget));
  if (name == "safe") return value;
  if (name == "int") return ToInt(value, arguments);
  if (name == "float") return ToFloat(value);
  if (name == "indent") return Indent(value, arguments, budget);
  if (name == "list") return JinjaValue::List(JinjaItems(value, budget));
  if (name == "sort") return Sorted(value, arguments, budget);
  if (name == "unique") return Unique(value, budget);
  if (name == "map") return Map(value, arguments, budget);
  if (name == "select" || name == "reject" || name == "selectattr" ||
      name == "rejectattr")
    return Select(name, value, arguments, budget);
  if (name == "default" || name == "d") {
    arguments.Check("default", 2, {"default_value", "boolean"});
    const JinjaValue* otherwise = arguments.Find(0, "default_value");
    const JinjaValue* boolean = arguments.Find(1, "boolean");
    const bool falsy = boolean != nullptr && boolean->Truth();
    if (!value.IsUndefined() && !(falsy && !value.Truth())) return value;
    return otherwise == nullptr ? JinjaValue::String("") : *otherwise;
  }
  if (name == "first" || name == "last") {
    const JinjaList items = JinjaItems(value, budget);
    if (items.empty()) return JinjaValue::Undefined(std::string(name));
    return name == "first" ? items.front() : items.back();
  }
  if (name == "reverse") {
    JinjaList items = JinjaItems(value, budget);
    std::reverse(items.begin(), items.end());
    if (!value.IsString()) return JinjaValue::List(std::move(items));
    JinjaText out;
    for (const JinjaValue& item : items) out.Append(item.text());
    return JinjaValue::String(std::move(out));
  }
  if (name == "items" || name == "dictsort") {
    if (value.IsUndefined()) return JinjaValue::List({});
    if (!value.IsDict()) WrongType(name, value, "a dictionary");
    JinjaValue pairs;
    CallJinjaMethod(value, "items", {}, budget, &pairs);
    if (name == "items") return pairs;
    JinjaArguments by;
    by.named.emplace_back("attribute", JinjaValue::Int(0));
    return Sorted(pairs, by, budget);
  }
  if (name == "abs") {
    if (value.IsFloat()) return JinjaValue::Float(std::abs(value.real()));
    if (!value.IsNumber()) WrongType(name, value, "a number");
    return JinjaValue::Int(value.integer() < 0 ? -value.integer()
                                               : value.integer());
  }
  throw JinjaError{"the filter " + Quoted(name) + " is not supported"};
}

bool ApplyJinjaTest(std::string_view name, const JinjaValue& value,
                    const JinjaArguments& arguments, JinjaBudget* budget) {
  budget->Step();
  if (name == "defined") return !value.IsUndefined();
  if (name == "undefined") return value.IsUndefined();
  if (name == "none") return value.IsNone();
  if (name == "string") return value.IsString();
  if (name == "mapping") return value.IsDict();
  if (name == "sequence")
    return value.IsList() || value.IsString() || value.IsDict();
  if (name == "iterable")
    return value.IsList() || value.IsString() || value.IsDict() ||
           value.IsUndefined();
  if (name == "number") return value.IsNumber();
  if (name == "integer") return value.IsInt();
  if (name == "float") return value.IsFloat();
  if (name == "boolean") return value.IsBool();
  if (name == "true") return value.IsBool() && value.boolean();
  if (name == "false") return value.IsBool() && !value.boolean();
  if (name == "callable") return value.IsFunction();
  if (name == "odd" || name == "even") {
    if (!value.IsInt()) WrongType(name, value, "a whole number");
    return (value.integer() % 2 != 0) == (name == "odd");
  }
  if (name == "lower" || name == "upper") {
    if (!value.IsString()) return false;
    JinjaValue result;
    CallJinjaMethod(value, name == "lower" ? "islower" : "isupper", {}, budget,
                    &result);
    return result.Truth();
  }
  const JinjaValue* other = arguments.Find(0, "");
  const auto other_value = [&]() -> const JinjaValue& {
    if (other == nullptr)
      throw JinjaError{"the test " + Quoted(name) + " needs an argument"};
    return *other;
  };
  if (name == "equalto" || name == "eq" || name == "==" || name == "sameas")
    return JinjaEqual(value, other_value(), budget);
  if (name == "ne") return !JinjaEqual(value, other_value(), budget);
  if (name == "in") return JinjaContains(other_value(), value, budget);
  if (name == "divisibleby") {
    if (!value.IsInt() || !other_value().IsInt() || other->integer() == 0)
      throw JinjaError{"divisibleby: whole numbers are wanted"};
    return other->integer() == -1 || value.integer() % other->integer() == 0;
  }
  const bool less = name == "lt" || name == "lessthan";
  const bool greater = name == "gt" || name == "greaterthan";
  if (less || greater || name == "le" || name == "ge") {
    const auto order = value.Compare(other_value());
    if (!order.has_value())
      throw JinjaError{"the test " + Quoted(name) + ": these have no order"};
    return less             ? *order < 0
           : greater        ? *order > 0
           : (name == "le") ? *order <= 0
                            : *order >= 0;
  }
  throw JinjaError{"the test " + Quoted(name) + " is not supported"};
}

}  // namespace dapple
