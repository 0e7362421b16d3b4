#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "command.h"
#include "dapple/model_info.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

std::string Dims(const TensorSummary& tensor) {
  std::string out;
  for (const uint64_t dim : tensor.dims)
    out += (out.empty() ? "" : " x ") + std::to_string(dim);
  return out;
}

void Line(const char* label, const std::string& value) {
  std::printf("%-16s %s\n", label, value.c_str());
}

std::string Id(const std::optional<uint64_t>& id) {
  return id.has_value() ? std::to_string(*id) : "none";
}

void PrintTokenizer(const TokenizerSummary& tokenizer) {
  if (tokenizer.model.empty()) return Line("tokenizer", "none");
  Line("tokenizer", Printable(tokenizer.model) + ", " +
                        Grouped(tokenizer.vocab_size) + " tokens; bos " +
                        Id(tokenizer.bos_id) + ", eos " + Id(tokenizer.eos_id) +
                        ", unknown " + Id(tokenizer.unk_id) + ", padding " +
                        Id(tokenizer.pad_id));
  Line("chat template", tokenizer.has_chat_template ? "yes" : "no");
}

void PrintText(const ModelInfo& info, bool table) {
  Line("file", info.path);
  Line("format", "GGUF v" + std::to_string(info.gguf_version) + ", " +
                     HumanBytes(static_cast<double>(info.file_bytes)));
  Line("architecture",
       info.architecture.empty() ? "not said" : Printable(info.architecture));
  if (!info.name.empty()) Line("name", Printable(info.name));
  if (!info.license.empty()) Line("licence", Printable(info.license));
  Line("parameters", Grouped(info.parameters));
  if (info.layers != 0) {
    Line("layers", Grouped(info.layers));
    Line("width", Grouped(info.embedding_length) + ", feed-forward " +
                      Grouped(info.feed_forward_length));
    Line("heads", Grouped(info.heads) + ", of keys and values " +
                      Grouped(info.kv_heads) + ", head size " +
                      Grouped(info.key_length));
    Line("context", Grouped(info.context_length) + " tokens");
    char rope[96];
    std::snprintf(rope, sizeof(rope), "base %g, %llu dimensions%s",
                  info.rope_base,
                  static_cast<unsigned long long>(info.rope_dimensions),
                  info.has_rope_factors ? ", scaled frequencies" : "");
    Line("rope", rope);
    char epsilon[32];
    std::snprintf(epsilon, sizeof(epsilon), "%g", info.norm_epsilon);
    Line("norm epsilon", epsilon);
    if (!info.tensors.empty())
      Line("embeddings", info.tied_embeddings ? "tied" : "not tied");
  }
  PrintTokenizer(info.tokenizer);
  for (const TypeSummary& type : info.types)
    Line(("type " + type.type).c_str(),
         HumanBytes(static_cast<double>(type.bytes)) + " in " +
             Grouped(type.tensors) +
             (type.tensors == 1 ? " tensor" : " tensors"));
  if (info.kv_bytes_per_token != 0)
    Line("KV cache",
         HumanBytes(static_cast<double>(info.kv_bytes_per_token)) +
             " a token (f16), " +
             HumanBytes(static_cast<double>(info.kv_bytes_per_token) *
                        static_cast<double>(info.context_length)) +
             " for the whole context");
  if (info.obstacles.empty()) Line("runs in Dapple", "yes");
  for (const std::string& obstacle : info.obstacles)
    Line("runs in Dapple", "no: " + obstacle);
  if (!table || info.tensors.empty()) return;
  std::printf("\n%-28s %-5s %12s  %s\n", "tensor", "type", "bytes",
              "dimensions (row length first)");
  for (const TensorSummary& tensor : info.tensors)
    std::printf("%-28s %-5s %12s  %s\n", tensor.name.c_str(),
                tensor.type.c_str(), Grouped(tensor.bytes).c_str(),
                Dims(tensor).c_str());
}

Json Optional(const std::optional<uint64_t>& value) {
  return value.has_value() ? Json(*value) : Json();
}

void PrintJson(const ModelInfo& info) {
  Json json = {
      {"path", info.path},
      {"file_bytes", info.file_bytes},
      {"gguf_version", info.gguf_version},
      {"architecture", info.architecture},
      {"name", info.name},
      {"license", info.license},
      {"parameters", info.parameters},
      {"context_length", info.context_length},
      {"embedding_length", info.embedding_length},
      {"layers", info.layers},
      {"heads", info.heads},
      {"kv_heads", info.kv_heads},
      {"key_length", info.key_length},
      {"value_length", info.value_length},
      {"feed_forward_length", info.feed_forward_length},
      {"rope_dimensions", info.rope_dimensions},
      {"rope_base", info.rope_base},
      {"rope_factors", info.has_rope_factors},
      {"norm_epsilon", info.norm_epsilon},
      {"tied_embeddings", info.tied_embeddings},
      {"kv_bytes_per_token", info.kv_bytes_per_token},
      {"tensor_bytes", info.tensor_bytes},
      {"runnable", info.obstacles.empty()},
      {"obstacles", info.obstacles},
  };
  const TokenizerSummary& tokenizer = info.tokenizer;
  json["tokenizer"] = {
      {"model", tokenizer.model},
      {"vocab_size", tokenizer.vocab_size},
      {"bos_id", Optional(tokenizer.bos_id)},
      {"eos_id", Optional(tokenizer.eos_id)},
      {"unk_id", Optional(tokenizer.unk_id)},
      {"pad_id", Optional(tokenizer.pad_id)},
      {"add_bos",
       tokenizer.add_bos.has_value() ? Json(*tokenizer.add_bos) : Json()},
      {"chat_template", tokenizer.has_chat_template},
  };
  json["types"] = Json::array();
  for (const TypeSummary& type : info.types)
    json["types"].push_back({{"type", type.type},
                             {"tensors", type.tensors},
                             {"elements", type.elements},
                             {"bytes", type.bytes}});
  json["tensors"] = Json::array();
  for (const TensorSummary& tensor : info.tensors)
    json["tensors"].push_back({{"name", tensor.name},
                               {"type", tensor.type},
                               {"dims", tensor.dims},
                               {"bytes", tensor.bytes}});
  // Names may be any bytes: what is not UTF-8 becomes U+FFFD.
  std::printf("%s\n",
              json.dump(1, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace

void AddInspect(CLI::App& root, Run& run) {
  struct Options {
    std::string path;
    bool json = false;
    bool no_table = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = root.add_subcommand(
      "inspect", "Show what a GGUF file holds and what it costs to run");
  command->add_option("FILE", options->path, "GGUF file")->required();
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--no-tensors", options->no_table,
                    "Leave the table of tensors out of the text");
  command->callback([options, &run] {
    run = [options]() -> int {
      const Result<ModelInfo> info = InspectModel(options->path);
      if (!info.ok()) return Fail(info.status());
      if (options->json)
        PrintJson(*info);
      else
        PrintText(*info, !options->no_table);
      return kExitOk;
    };
  });
}

}  // namespace dapple::tool
