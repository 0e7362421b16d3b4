#include "text/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace dapple {
namespace {

void AppendLike(const JinjaText& source, size_t at, std::string_view text,
                JinjaText* out) {
  if (source.IsPlain(at))
    out->AppendPlain(text);
  else
    out->AppendTrusted(text);
}

// As Python prints floats, near enough: shortest form, with a point.
std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  std::string text(buffer, end);
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

// `text` in quotes; `escape` gives what a byte becomes, "" for itself.
template <class Escape>
void AppendQuoted(const JinjaText& text, char quote, const Escape& escape,
                  JinjaText* out) {
  out->AppendTrusted(std::string_view(&quote, 1));
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string other = escape(text.bytes()[i]);
    if (other.empty()) continue;
    out->Append(text, done, i);
    AppendLike(text, i, other, out);
    done = i + 1;
  }
  out->Append(text, done, text.size());
  out->AppendTrusted(std::string_view(&quote, 1));
}

std::string ControlEscape(char c, const char* format) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte >= 0x20 && byte != 0x7F) return {};
  char buffer[8];
  std::snprintf(buffer, sizeof(buffer), format, byte);
  return buffer;
}

}  // namespace

int JinjaValue::Depth() const {
  if (IsList()) return std::get<6>(value_)->depth;
  if (IsDict()) return std::get<7>(value_)->depth;
  return 0;
}

uint64_t JinjaValue::Weight() const {
  if (IsString()) return 16 + text().size();
  if (IsList()) return std::get<6>(value_)->weight;
  if (IsDict()) return std::get<7>(value_)->weight;
  return 16;
}

namespace {

// One item of a container that is being made.
void Account(const JinjaValue& item, int item_depth, int* depth,
             uint64_t* weight) {
  // Beyond this nothing could be printed anyway; keeps sums from overflowing.
  constexpr uint64_t kMaxWeight = uint64_t{1} << 40;
  if (item.IsNamespace())
    throw JinjaError{"a list or dictionary cannot hold a namespace"};
  *depth = std::max(*depth, item_depth);
  *weight += item.Weight();
  if (*depth >= JinjaValue::kMaxNesting || *weight > kMaxWeight)
    throw JinjaError{"lists or dictionaries are nested too deep"};
}

}  // namespace

JinjaValue JinjaValue::List(JinjaList list) {
  int depth = 0;
  uint64_t weight = 16;
  for (const JinjaValue& item : list)
    Account(item, item.Depth(), &depth, &weight);
  return JinjaValue(Any(std::make_shared<const Nested<JinjaList>>(
      Nested<JinjaList>{std::move(list), depth + 1, weight})));
}

JinjaValue JinjaValue::Dict(JinjaDict dict) {
  int depth = 0;
  uint64_t weight = 16;
  for (const auto& [key, item] : dict) {
    Account(item, item.Depth(), &depth, &weight);
    weight += key.size();
  }
  return JinjaValue(Any(std::make_shared<const Nested<JinjaDict>>(
      Nested<JinjaDict>{std::move(dict), depth + 1, weight})));
}

JinjaValue JinjaValue::Namespace() {
  return JinjaValue(Any(std::make_shared<JinjaNamespace>()));
}

bool JinjaValue::Truth() const {
  if (IsUndefined() || IsNone()) return false;
  if (IsBool()) return boolean();
  if (IsInt()) return integer() != 0;
  if (IsFloat()) return real() != 0;
  if (IsString()) return !text().empty();
  if (IsList()) return !list().empty();
  if (IsDict()) return !dict().empty();
  return true;
}

std::string JinjaValue::Describe() const {
  if (IsUndefined())
    return undefined_name().empty() ? "an undefined value"
                                    : "'" + undefined_name() + "' (undefined)";
  if (IsNone()) return "none";
  if (IsBool()) return "a boolean";
  if (IsInt() || IsFloat()) return "a number";
  if (IsString()) return "a string";
  if (IsList()) return "a list";
  if (IsDict()) return "a dictionary";
  return IsNamespace() ? "a namespace" : "a function";
}

const JinjaValue* JinjaValue::Find(std::string_view key) const {
  if (!IsDict()) return nullptr;
  for (const auto& [name, value] : dict())
    if (name.view() == key) return &value;
  return nullptr;
}

JinjaText JinjaValue::Str() const {
  if (IsString()) return text();
  JinjaText out;
  if (!IsUndefined()) AppendRepr(&out);
  return out;
}

void JinjaValue::AppendRepr(JinjaText* out) const {
  if (IsUndefined()) {
    out->AppendTrusted("Undefined");
  } else if (IsNone()) {
    out->AppendTrusted("None");
  } else if (IsBool()) {
    out->AppendTrusted(boolean() ? "True" : "False");
  } else if (IsInt()) {
    out->AppendTrusted(std::to_string(integer()));
  } else if (IsFloat()) {
    out->AppendTrusted(FloatText(real()));
  } else if (IsString()) {
    const bool single = text().bytes().find('\'') != std::string::npos;
    const char quote =
        single && text().bytes().find('"') == std::string::npos ? '"' : '\'';
    AppendQuoted(
        text(), quote,
        [quote](char c) -> std::string {
          if (c == quote || c == '\\') return {'\\', c};
          if (c == '\n') return "\\n";
          if (c == '\r') return "\\r";
          if (c == '\t') return "\\t";
          return ControlEscape(c, "\\x%02x");
        },
        out);
  } else if (IsList()) {
    const char* separator = "[";
    for (const JinjaValue& item : list()) {
      out->AppendTrusted(separator);
      item.AppendRepr(out);
      separator = ", ";
    }
    out->AppendTrusted(list().empty() ? "[]" : "]");
  } else if (IsDict()) {
    const char* separator = "{";
    for (const auto& [key, item] : dict()) {
      out->AppendTrusted(separator);
      String(key).AppendRepr(out);
      out->AppendTrusted(": ");
      item.AppendRepr(out);
      separator = ", ";
    }
    out->AppendTrusted(dict().empty() ? "{}" : "}");
  } else {
    out->AppendTrusted(IsNamespace() ? "<Namespace>" : "<Function>");
  }
}

bool JinjaValue::Equals(const JinjaValue& other) const {
  if (IsNumber() && other.IsNumber()) {
    if (IsFloat() || other.IsFloat()) return real() == other.real();
    return integer() == other.integer();
  }
  if (value_.index() != other.value_.index()) return false;
  if (IsUndefined() || IsNone()) return true;
  if (IsString()) return text().view() == other.text().view();
  if (IsList())
    return std::ranges::equal(
        list(), other.list(),
        [](const JinjaValue& a, const JinjaValue& b) { return a.Equals(b); });
  if (IsDict()) {
    if (dict().size() != other.dict().size()) return false;
    return std::ranges::all_of(dict(), [&other](const auto& entry) {
      const JinjaValue* found = other.Find(entry.first.view());
      return found != nullptr && found->Equals(entry.second);
    });
  }
  if (IsNamespace()) return &name_space() == &other.name_space();
  return &function() == &other.function();
}

std::optional<int> JinjaValue::Compare(const JinjaValue& other) const {
  if (IsNumber() && other.IsNumber()) {
    const double a = real(), b = other.real();
    return a < b ? -1 : a > b ? 1 : 0;
  }
  if (IsString() && other.IsString())
    return text().view().compare(other.text().view());
  return std::nullopt;
}

JinjaText JinjaValue::Json(int indent) const {
  JinjaText out;
  AppendJson(indent, 0, &out);
  return out;
}

void JinjaValue::AppendJson(int indent, int level, JinjaText* out) const {
  const auto new_line = [&](int at) {
    if (indent < 0) return;
    out->AppendTrusted("\n" +
                       std::string(static_cast<size_t>(indent * at), ' '));
  };
  const char* comma = indent < 0 ? ", " : ",";
  const auto string = [out](const JinjaText& text) {
    AppendQuoted(
        text, '"',
        [](char c) -> std::string {
          if (c == '"' || c == '\\') return {'\\', c};
          if (c == '\n') return "\\n";
          if (c == '\r') return "\\r";
          if (c == '\t') return "\\t";
          if (c == '\b') return "\\b";
          if (c == '\f') return "\\f";
          return c == 0x7F ? std::string() : ControlEscape(c, "\\u%04x");
        },
        out);
  };
  if (IsNone()) {
    out->AppendTrusted("null");
  } else if (IsBool()) {
    out->AppendTrusted(boolean() ? "true" : "false");
  } else if (IsInt() || IsFloat()) {
    AppendRepr(out);
  } else if (IsString()) {
    string(text());
  } else if (IsList()) {
    out->AppendTrusted("[");
    for (size_t i = 0; i < list().size(); ++i) {
      if (i > 0) out->AppendTrusted(comma);
      new_line(level + 1);
      list()[i].AppendJson(indent, level + 1, out);
    }
    if (!list().empty()) new_line(level);
    out->AppendTrusted("]");
  } else if (IsDict()) {
    out->AppendTrusted("{");
    for (size_t i = 0; i < dict().size(); ++i) {
      if (i > 0) out->AppendTrusted(comma);
      new_line(level + 1);
      string(dict()[i].first);
      out->AppendTrusted(": ");
      dict()[i].second.AppendJson(indent, level + 1, out);
    }
    if (!dict().empty()) new_line(level);
    out->AppendTrusted("}");
  } else {
    throw JinjaError{"tojson: " + Describe() + " has no JSON form"};
  }
}

}  // namespace dapple
