// Templates of well-known formats, in our own words, for --chat-template NAME:
// the same turns as the models' own templates, without tools and images.
#include "dapple/chat.h"

namespace dapple {
namespace {

struct Known {
  std::string_view name;
  std::string_view text;
};

constexpr Known kKnown[] = {
    {"chatml", R"({% for m in messages %}
{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"},
    {"llama-3", R"({{- bos_token }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}
{{- m.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %})"},
    // Gemma has no system turn: its text begins the user's.
    {"gemma", R"({{- bos_token }}
{%- set ns = namespace(before='') %}
{%- for m in messages %}
{%- if m.role == 'system' %}
{%- set ns.before = m.content | trim ~ '\n\n' %}
{%- else %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) }}
{{- '\n' + ns.before + m.content | trim + '<end_of_turn>\n' }}
{%- set ns.before = '' %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %})"},
    {"mistral", R"({{- bos_token }}
{%- set ns = namespace(before='') %}
{%- for m in messages %}
{%- if m.role == 'system' %}
{%- set ns.before = m.content ~ '\n\n' %}
{%- elif m.role == 'user' %}
{{- '[INST] ' + ns.before + m.content + ' [/INST]' }}
{%- set ns.before = '' %}
{%- else %}
{{- ' ' + m.content + eos_token }}
{%- endif %}
{%- endfor %})"},
    {"phi-3", R"({% for m in messages %}
{{- '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %})"},
    {"phi-4", R"({% for m in messages %}
{{- '<|' + m.role + '|>' + m.content + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %})"},
    {"zephyr", R"({% for m in messages %}
{{- '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %})"},
};

}  // namespace

std::string_view KnownChatTemplate(std::string_view name) {
  for (const Known& known : kKnown)
    if (known.name == name) return known.text;
  return {};
}

std::vector<std::string> KnownChatTemplates() {
  std::vector<std::string> names;
  for (const Known& known : kKnown) names.emplace_back(known.name);
  return names;
}

}  // namespace dapple
