// Methods of strings, dictionaries and lists; items and attributes.
#include <string.h>  // memmem

#include <algorithm>

#include "gguf/printable.h"
#include "text/jinja_builtins.h"
#include "text/utf8.h"

namespace dapple {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsLetter(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

const JinjaText& TextArgument(std::string_view function,
                              const JinjaValue* value) {
  if (value == nullptr || !value->IsString())
    throw JinjaError{std::string(function) + ": a string is wanted" +
                     (value == nullptr ? "" : ", not " + value->Describe())};
  return value->text();
}

// Letters changed one for one (ASCII; others stay), marks kept.
template <class Change>
JinjaValue MapLetters(const JinjaText& text, Change change) {
  JinjaText out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const char to = change(i, c);
    if (to == c) {
      out.Append(text, i, i + 1);
    } else if (text.IsPlain(i)) {
      out.AppendPlain(std::string_view(&to, 1));
    } else {
      out.AppendTrusted(std::string_view(&to, 1));
    }
  }
  return JinjaValue::String(std::move(out));
}
char Upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}
char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

JinjaValue Strip(const JinjaText& text, const JinjaValue* set, bool left,
                 bool right) {
  // A set of characters; bytes do for ASCII, which is what templates strip.
  const bool any_space = set == nullptr || set->IsNone();
  const std::string_view chars =
      any_space ? std::string_view() : TextArgument("strip", set).view();
  const auto goes = [&](size_t i) {
    const char c = text.bytes()[i];
    return any_space ? IsSpace(c) : chars.find(c) != chars.npos;
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end && goes(begin)) ++begin;
  while (right && end > begin && goes(end - 1)) --end;
  return JinjaValue::String(text.Slice(begin, end));
}

JinjaValue Split(const JinjaText& text, const JinjaArguments& arguments) {
  arguments.Check("split", 2, {"sep", "maxsplit"});
  const JinjaValue* separator = arguments.Find(0, "sep");
  const JinjaValue* most = arguments.Find(1, "maxsplit");
  int64_t left = most == nullptr || !most->IsInt() || most->integer() < 0
                     ? INT64_MAX
                     : most->integer();
  JinjaList parts;
  if (separator == nullptr || separator->IsNone()) {
    size_t at = 0;
    for (;;) {
      while (at < text.size() && IsSpace(text.bytes()[at])) ++at;
      if (at == text.size()) break;
      size_t end = at;
      while (end < text.size() && (left == 0 || !IsSpace(text.bytes()[end])))
        ++end;
      parts.push_back(JinjaValue::String(text.Slice(at, end)));
      at = end;
      if (left > 0) --left;
    }
    return JinjaValue::List(std::move(parts));
  }
  const std::string_view by = TextArgument("split", separator).view();
  if (by.empty()) throw JinjaError{"split: an empty separator"};
  size_t at = 0;
  for (; left > 0; --left) {
    const size_t found = JinjaFind(text.view(), by, at);
    if (found == std::string_view::npos) break;
    parts.push_back(JinjaValue::String(text.Slice(at, found)));
    at = found + by.size();
  }
  parts.push_back(JinjaValue::String(text.Slice(at, text.size())));
  return JinjaValue::List(std::move(parts));
}

JinjaValue SplitLines(const JinjaText& text) {
  JinjaList lines;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.view().find_first_of("\r\n", at), text.size());
    lines.push_back(JinjaValue::String(text.Slice(at, end)));
    if (end < text.size() && text.view().substr(end, 2) == "\r\n") ++end;
    at = end + 1;
  }
  return JinjaValue::List(std::move(lines));
}

bool StartsOrEnds(std::string_view text, const JinjaValue* with, bool starts) {
  if (with != nullptr && with->IsList())
    return std::ranges::any_of(with->list(), [&](const JinjaValue& one) {
      return StartsOrEnds(text, &one, starts);
    });
  const std::string_view part =
      TextArgument(starts ? "startswith" : "endswith", with).view();
  return starts ? text.starts_with(part) : text.ends_with(part);
}

bool StringMethod(const JinjaText& text, std::string_view name,
                  const JinjaArguments& arguments, JinjaBudget* budget,
                  JinjaValue* result) {
  budget->Charge(text.size() + 16);
  const JinjaValue* first = arguments.Find(0, "");
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    arguments.Check(name, 1);
    *result = Strip(text, first, name != "rstrip", name != "lstrip");
  } else if (name == "split") {
    budget->Charge(text.size() * 48);  // at worst one value a byte
    *result = Split(text, arguments);
  } else if (name == "splitlines") {
    arguments.Check(name, 0);
    budget->Charge(text.size() * 48);
    *result = SplitLines(text);
  } else if (name == "startswith" || name == "endswith") {
    arguments.Check(name, 1);
    *result = JinjaValue::Bool(
        StartsOrEnds(text.view(), first, name == "startswith"));
  } else if (name == "replace") {
    *result = ApplyJinjaFilter("replace", JinjaValue::String(text), arguments,
                               budget);
  } else if (name == "upper" || name == "lower" || name == "title" ||
             name == "capitalize") {
    arguments.Check(name, 0);
    budget->Charge(text.size() * 8);
    *result = MapLetters(text, [&](size_t i, char c) {
      if (name == "upper") return Upper(c);
      if (name == "lower") return Lower(c);
      const bool start =
          i == 0 || (name == "title" && !IsLetter(text.bytes()[i - 1]));
      return start ? Upper(c) : Lower(c);
    });
  } else if (name == "find" || name == "count") {
    arguments.Check(name, 1);
    const std::string_view sought = TextArgument(name, first).view();
    if (name == "find") {
      const size_t at = JinjaFind(text.view(), sought, 0);
      int64_t characters = -1;
      if (at != std::string_view::npos)
        characters = static_cast<int64_t>(
                         JinjaCharacters(text.view().substr(0, at)).size()) -
                     1;
      *result = JinjaValue::Int(characters);
    } else {
      if (sought.empty()) throw JinjaError{"count: an empty string"};
      int64_t count = 0;
      for (size_t at = 0;
           (at = JinjaFind(text.view(), sought, at)) != std::string_view::npos;
           at += sought.size())
        ++count;
      *result = JinjaValue::Int(count);
    }
  } else if (name == "join") {
    arguments.Check(name, 1);
    if (first == nullptr) throw JinjaError{"join: a list is wanted"};
    JinjaArguments by;
    by.positional.push_back(JinjaValue::String(text));
    *result = ApplyJinjaFilter("join", *first, by, budget);
  } else if (name == "removeprefix" || name == "removesuffix") {
    arguments.Check(name, 1);
    const std::string_view part = TextArgument(name, first).view();
    size_t begin = 0, end = text.size();
    if (name == "removeprefix" && text.view().starts_with(part))
      begin = part.size();
    if (name == "removesuffix" && text.view().ends_with(part))
      end -= part.size();
    *result = JinjaValue::String(text.Slice(begin, end));
  } else if (name == "isdigit" || name == "isalpha" || name == "isupper" ||
             name == "islower" || name == "isspace") {
    arguments.Check(name, 0);
    const auto holds = [&](char c) {
      if (name == "isdigit") return c >= '0' && c <= '9';
      if (name == "isspace") return IsSpace(c);
      if (name == "isupper") return Lower(c) != c || !IsLetter(c);
      if (name == "islower") return Upper(c) != c || !IsLetter(c);
      return IsLetter(c);
    };
    *result = JinjaValue::Bool(!text.empty() &&
                               std::ranges::all_of(text.bytes(), holds));
  } else {
    return false;
  }
  return true;
}

JinjaValue PairOf(const std::pair<JinjaText, JinjaValue>& entry) {
  return JinjaValue::List({JinjaValue::String(entry.first), entry.second});
}

bool DictMethod(const JinjaValue& object, std::string_view name,
                const JinjaArguments& arguments, JinjaBudget* budget,
                JinjaValue* result) {
  if (name == "get") {
    arguments.Check(name, 2, {"default"});
    const JinjaValue* key = arguments.Find(0, "");
    const JinjaValue* found = object.Find(TextArgument(name, key).view());
    if (found == nullptr) found = arguments.Find(1, "default");
    *result = found == nullptr ? JinjaValue::None() : *found;
    return true;
  }
  if (name != "items" && name != "keys" && name != "values") return false;
  arguments.Check(name, 0);
  budget->Charge(64 * (1 + object.dict().size()));
  JinjaList list;
  for (const auto& entry : object.dict())
    list.push_back(name == "items"  ? PairOf(entry)
                   : name == "keys" ? JinjaValue::String(entry.first)
                                    : entry.second);
  *result = JinjaValue::List(std::move(list));
  return true;
}

}  // namespace

const JinjaValue* JinjaArguments::Find(size_t place,
                                       std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

void JinjaArguments::Check(
    std::string_view function, size_t most,
    std::initializer_list<std::string_view> names) const {
  if (positional.size() > most)
    throw JinjaError{std::string(function) + ": too many arguments"};
  for (const auto& [key, value] : named)
    if (std::ranges::find(names, key) == names.end())
      throw JinjaError{std::string(function) + ": argument " + Quoted(key) +
                       " is not supported"};
}

bool CallJinjaMethod(const JinjaValue& object, std::string_view name,
                     const JinjaArguments& arguments, JinjaBudget* budget,
                     JinjaValue* result) {
  if (object.IsString())
    return StringMethod(object.text(), name, arguments, budget, result);
  if (object.IsDict())
    return DictMethod(object, name, arguments, budget, result);
  if (object.IsList() && (name == "index" || name == "count")) {
    arguments.Check(name, 1);
    const JinjaValue* item = arguments.Find(0, "");
    if (item == nullptr) throw JinjaError{std::string(name) + ": no argument"};
    int64_t count = 0;
    for (size_t i = 0; i < object.list().size(); ++i) {
      if (!JinjaEqual(object.list()[i], *item, budget)) continue;
      if (name == "index") {
        *result = JinjaValue::Int(static_cast<int64_t>(i));
        return true;
      }
      ++count;
    }
    if (name == "index") throw JinjaError{"index: the list has no such item"};
    *result = JinjaValue::Int(count);
    return true;
  }
  return false;
}

JinjaValue JinjaAttribute(const JinjaValue& object, std::string_view name) {
  if (object.IsUndefined())
    throw JinjaError{object.Describe() + " has no attribute " + Quoted(name)};
  if (const JinjaValue* found = object.Find(name)) return *found;
  if (object.IsNamespace()) {
    for (const auto& [field, value] : object.name_space().fields)
      if (field == name) return value;
  }
  return JinjaValue::Undefined(std::string(name));
}

JinjaValue JinjaItem(const JinjaValue& object, const JinjaValue& index) {
  if (object.IsUndefined())
    throw JinjaError{object.Describe() + " has no items"};
  if (index.IsString()) return JinjaAttribute(object, index.text().view());
  if (!index.IsInt()) return JinjaValue();
  int64_t at = index.integer();
  const auto place = [&at](size_t size) {
    if (at < 0) at += static_cast<int64_t>(size);
    return at >= 0 && at < static_cast<int64_t>(size);
  };
  if (object.IsList()) {
    if (place(object.list().size()))
      return object.list()[static_cast<size_t>(at)];
  } else if (object.IsString()) {
    const std::vector<size_t> starts = JinjaCharacters(object.text().view());
    if (place(starts.size() - 1))
      return JinjaValue::String(
          object.text().Slice(starts[static_cast<size_t>(at)],
                              starts[static_cast<size_t>(at) + 1]));
  }
  return JinjaValue::Undefined("item " + std::to_string(index.integer()));
}

JinjaList JinjaItems(const JinjaValue& value, JinjaBudget* budget) {
  JinjaList items;
  if (value.IsList()) {
    budget->Charge(32 * value.list().size());
    return value.list();
  }
  if (value.IsDict()) {
    budget->Charge(64 * value.dict().size());
    for (const auto& entry : value.dict())
      items.push_back(JinjaValue::String(entry.first));
  } else if (value.IsString()) {
    budget->Charge(96 * value.text().size());
    const std::vector<size_t> starts = JinjaCharacters(value.text().view());
    for (size_t i = 0; i + 1 < starts.size(); ++i)
      items.push_back(
          JinjaValue::String(value.text().Slice(starts[i], starts[i + 1])));
  } else if (!value.IsUndefined()) {
    throw JinjaError{value.Describe() + " cannot be iterated over"};
  }
  return items;
}

bool JinjaContains(const JinjaValue& container, const JinjaValue& item,
                   JinjaBudget* budget) {
  if (container.IsString()) {
    if (!item.IsString())
      throw JinjaError{"'in' a string: a string is wanted, not " +
                       item.Describe()};
    budget->Charge(container.text().size());
    return JinjaFind(container.text().view(), item.text().view(), 0) !=
           std::string_view::npos;
  }
  if (container.IsDict())
    return item.IsString() && container.Find(item.text().view()) != nullptr;
  if (container.IsList())
    return std::ranges::any_of(container.list(), [&](const JinjaValue& one) {
      return JinjaEqual(one, item, budget);
    });
  if (container.IsUndefined()) return false;
  throw JinjaError{"'in' " + container.Describe() + " makes no sense"};
}

bool JinjaEqual(const JinjaValue& a, const JinjaValue& b, JinjaBudget* budget) {
  budget->Charge(std::min(a.Weight(), b.Weight()));
  return a.Equals(b);
}

JinjaText JinjaStr(const JinjaValue& value, JinjaBudget* budget) {
  budget->Charge(value.Weight() * (value.IsString() ? 1 : 8));
  return value.Str();
}

std::vector<size_t> JinjaCharacters(std::string_view text) {
  std::vector<size_t> starts;
  size_t at = 0;
  while (at < text.size()) {
    starts.push_back(at);
    at += NextUtf8(text.substr(at)).length;
  }
  starts.push_back(at);
  return starts;
}

size_t JinjaFind(std::string_view text, std::string_view sought, size_t from) {
  if (sought.empty()) return from;
  if (from >= text.size()) return std::string_view::npos;
  // glibc's two-way search: std::string_view::find is quadratic at worst.
  const void* found = memmem(text.data() + from, text.size() - from,
                             sought.data(), sought.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace dapple
