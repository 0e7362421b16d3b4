#include "text/jinja_template.h"

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "../gguf/test_files.h"

namespace dapple::testing {
namespace {

JinjaValue Str(std::string_view text) { return JinjaValue::String(text); }

// A dictionary literal; contents are the user's text, the rest is trusted.
JinjaValue Message(const char* role, std::string_view content) {
  JinjaDict dict;
  dict.emplace_back(JinjaText::Trusted("role"), Str(role));
  dict.emplace_back(JinjaText::Trusted("content"),
                    JinjaValue::String(JinjaText::Plain(content)));
  return JinjaValue::Dict(std::move(dict));
}

struct Variables {
  JinjaDict dict;
  Variables& Set(const char* name, JinjaValue value) {
    dict.emplace_back(JinjaText::Trusted(name), std::move(value));
    return *this;
  }
};

// What tests/data/jinja says of its variables.
Variables Standard() {
  Variables v;
  v.Set("messages",
        JinjaValue::List({Message("system", " Be brief. "),
                          Message("user", "Hi\n"), Message("assistant", "Yes?"),
                          Message("user", " Sum it <b>up</b>. ")}));
  v.Set("add_generation_prompt", JinjaValue::Bool(true));
  v.Set("bos_token", Str("<s>")).Set("eos_token", Str("</s>"));
  v.Set("tools", JinjaValue::None()).Set("documents", JinjaValue::None());
  v.Set("n", JinjaValue::Int(7)).Set("half", JinjaValue::Float(0.5));
  v.Set("word", Str("na\u00EFve caf\u00E9"));
  v.Set("numbers", JinjaValue::List({JinjaValue::Int(3), JinjaValue::Int(1),
                                     JinjaValue::Int(2)}));
  JinjaDict deep;
  deep.emplace_back(JinjaText::Trusted("a"),
                    JinjaValue::List({JinjaValue::Int(1), JinjaValue::None(),
                                      JinjaValue::Bool(true), Str("q\"\n")}));
  deep.emplace_back(JinjaText::Trusted("b"), JinjaValue::Dict({}));
  v.Set("deep", JinjaValue::Dict(std::move(deep)));
  return v;
}

Result<JinjaText> Try(std::string_view source, const JinjaDict& variables,
                      const JinjaLimits& limits = {}) {
  const auto parsed = JinjaTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(variables, 1709251200, limits);  // 1 March 2024
}

std::string Render(std::string_view source, const JinjaDict& variables) {
  const auto text = Try(source, variables);
  if (!text.ok()) return "ERROR: " + text.status().message();
  return text->bytes();
}
std::string Render(std::string_view source) {
  return Render(source, Standard().dict);
}

std::string ErrorOf(std::string_view source, const JinjaLimits& limits = {}) {
  const auto text = Try(source, Standard().dict, limits);
  if (text.ok()) return "no error: " + text->bytes();
  CHECK(text.status().message().find('\n') == std::string::npos);
  return text.status().message();
}

TEST_CASE("constructs render as their written expectations say") {
  std::istringstream in(ReadBytes(TestData("jinja/constructs.txt")));
  std::string line, name, source, expected;
  int where = 0, cases = 0;  // 1: source, 2: expected
  const auto check = [&] {
    if (name.empty()) return;
    CAPTURE(name);
    source.pop_back();
    expected.pop_back();
    CHECK(Render(source) == expected);
    ++cases;
  };
  while (std::getline(in, line)) {
    if (line.starts_with("#### ")) {
      check();
      name = line.substr(5);
      source.clear();
      expected.clear();
      where = 1;
    } else if (line == "====") {
      where = 2;
    } else {
      (where == 1 ? source : expected) += line + "\n";
    }
  }
  check();
  CHECK(cases == 73);
}

TEST_CASE("text of the user stays marked wherever a template moves it") {
  const auto plain = [](std::string_view source, std::string_view content) {
    Variables v;
    v.Set("m", Message("user", content));
    const auto text = Try(source, v.dict);
    if (!text.ok()) FAIL(text.status().message());
    std::string shown;  // the user's bytes as they are, others as dots
    for (size_t i = 0; i < text->size(); ++i)
      shown += text->IsPlain(i) ? text->bytes()[i] : '.';
    return shown;
  };
  CHECK(plain("<a>{{ m.content }}<b>", "xyz") == "...xyz...");
  CHECK(plain("{{ 'A' + m.content|trim + 'B' }}", "  xy ") == ".xy.");
  CHECK(plain("{{ m.content|replace('y', 'Z') }}", "xyx") == "x.x");
  CHECK(plain("{{ 'a-b'|replace('-', m.content) }}", "xy") == ".xy.");
  CHECK(plain("{{ m.content.split('|')[-1].strip() }}", "a| b") == "b");
  CHECK(plain("{{ m.content|upper ~ m.role }}", "x") == "X....");
  CHECK(plain("{{ m.content[1:3] }}{{ m.content[::-1] }}", "abcd") == "bcdcba");
  CHECK(plain("{{ [m.content, 'q']|join('-') }}", "ab") == "ab..");
  CHECK(plain("{{ m|tojson }}", "a\"b") == std::string(29, '.') + "a\\\"b..");
  CHECK(plain("{{ m.content|list }}", "ab") == "..a....b..");
  CHECK(plain("{% set x %}[{{ m.content }}]{% endset %}{{ x }}", "u") == ".u.");
  CHECK(
      plain("{% macro f(t) %}<{{ t|indent }}>{% endmacro %}{{ f(m.content) }}",
            "a\nb") == ".a\n....b.");
  CHECK(plain("{% for c in m.content %}{{ loop.index }}{{ c }}{% endfor %}",
              "ab") == ".a.b");
  CHECK(plain("{{ {m.content: 1}|items|first|first }}", "key") == "key");
  CHECK(plain("{% set ns = namespace(t='') %}{% set ns.t = m.content %}"
              "{{ ns.t }}{{ m.content is string }}",
              "u") == "u....");
  CHECK(plain("{{ m.content|default('d') }}{{ m.nothing|default('d') }}",
              "u") == "u.");
}

TEST_CASE("what is not supported is named with its line") {
  const auto has = [](const std::string& message, const char* part) {
    CAPTURE(message);
    CHECK(message.find(part) != std::string::npos);
  };
  has(ErrorOf("a\n{% include 'x' %}"), "line 2: the block 'include'");
  has(ErrorOf("{% extends 'x' %}"), "'extends'");
  has(ErrorOf("{% call f() %}{% endcall %}"), "'call'");
  has(ErrorOf("\n\n{{ n|frobnicate }}"), "line 3: the filter 'frobnicate'");
  has(ErrorOf("{{ n is frobbed }}"), "the test 'frobbed'");
  has(ErrorOf("{{ word.encode('x') }}"), "the method 'encode' of a string");
  has(ErrorOf("{{ nothing.here }}"), "'nothing' (undefined) has no attribute");
  has(ErrorOf("{{ nothing() }}"), "'nothing' (undefined) cannot be called");
  has(ErrorOf("{{ n + word }}"), "'+' between a number and a string");
  has(ErrorOf("{{ n // 0 }}"), "division by zero");
  has(ErrorOf("{{ 9223372036854775 * 100000 }}"), "too large");
  has(ErrorOf("{% if n %}"), "'endif' is missing");
  has(ErrorOf("{% for x in n %}{% endfor %}"), "a number cannot be iterated");
  has(ErrorOf("{% for x, y in [[1]] %}{% endfor %}"), "cannot unpack 1");
  has(ErrorOf("{{ 'x }}"), "a string is not closed");
  has(ErrorOf("{{ x "), "a tag is not closed");
  has(ErrorOf("{# x "), "a comment is not closed");
  has(ErrorOf("{% raw %} x"), "raw is not closed");
  has(ErrorOf("{{ a ? b }}"), "unexpected character");
  has(ErrorOf("{{ ) }}"), "unexpected ')'");
  has(ErrorOf("{{ }}"), "unexpected '}}'");
  has(ErrorOf("{% set n.x = 1 %}"), "no namespace");
  has(ErrorOf("{% break %}"), "outside of a loop");
  has(ErrorOf("{{ range(1, 2, 0) }}"), "a step of 0");
  has(ErrorOf("{{ raise_exception('System role\nnot supported') }}"),
      "template refuses: 'System role?not supported'");
  CHECK(Try("{{ raise_exception('x') }}", {}).status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(Try("{{ x.y }}", {}).status().code() == StatusCode::kUnsupported);
  CHECK_FALSE(JinjaTemplate::Parse("\xFF").ok());
  CHECK_FALSE(JinjaTemplate::Parse(std::string(2 << 20, 'x')).ok());
}

TEST_CASE("hostile templates end, soon and with a message") {
  const auto ends = [](const std::string& source) {
    const std::string message = ErrorOf(source);
    CAPTURE(message);
    CHECK(message.starts_with("chat template, "));
  };
  ends("{% for a in range(1000000000000) %}{% endfor %}");
  ends(
      "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}"
      "{% endfor %}");
  ends(
      "{% set ns = namespace(x='aa') %}{% for a in range(99) %}"
      "{% set ns.x = ns.x + ns.x %}{% endfor %}");
  ends("{{ 'x' * 999999999999 }}");
  ends(
      "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}"
      "{% set ns.x = ns.x + ns.x %}{% endfor %}");
  ends(
      "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}"
      "{% set ns.x = [ns.x] %}{% endfor %}");
  ends(
      "{% set ns = namespace(x='x') %}{% for a in range(60) %}"
      "{% set ns.x = [ns.x, ns.x, ns.x] %}{% endfor %}{{ ns.x }}");
  ends("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
  ends("{% set ns = namespace() %}{% set ns.x = ns %}");
  ends("{% set ns = namespace() %}{{ [ns] }}");
  ends("{{ " + std::string(5000, '(') + " }}");
  ends("{{ " + std::string(5000, '[') + " }}");
  ends("{{ " + std::string(5000, '-') + "1 }}");
  std::string nested, sum = "{{ 1", nots = "{{ ";
  for (int i = 0; i < 5000; ++i) {
    nested += "{% if 1 %}";
    sum += "+1";
    nots += "not ";
  }
  ends(nested);
  ends(sum + " }}");
  ends(nots + "1 }}");
  // Searching for a needle that almost matches everywhere is linear.
  Variables v;
  v.Set("a", Str(std::string(1 << 20, 'a')));
  v.Set("b", Str(std::string(1 << 19, 'a') + "b"));
  CHECK(Render("{{ b in a }}{{ a.split(b)|length }}", v.dict) == "False1");
  CHECK(ErrorOf("{{ n }}", {.steps = 1}).find("too long") != std::string::npos);
}

TEST_CASE("any bytes in a template give a text or a message") {
  const std::string good = ReadBytes(TestData("jinja/constructs.txt"));
  uint64_t state = 12345;
  const auto random = [&state](uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((state >> 33) % below);
  };
  size_t rendered = 0;
  for (int round = 0; round < 3000; ++round) {
    const size_t at = random(good.size() - 300);
    std::string source = good.substr(at, 20 + random(280));
    for (size_t i = random(4); i > 0; --i)
      source[random(source.size())] = "{}%-#'\"()[]|.x1 \n"[random(17)];
    const auto text = Try(source, Standard().dict, {.steps = 20000});
    rendered += text.ok();
    if (!text.ok()) CHECK_FALSE(text.status().message().empty());
  }
  CHECK(rendered > 10);
}

}  // namespace
}  // namespace dapple::testing
