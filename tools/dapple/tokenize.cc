#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "dapple/tokenizer.h"

namespace dapple::tool {
namespace {

struct Options {
  std::string model;
  std::string text;
  std::string file;
  bool from_file = false;
  bool ids = false;
  bool json = false;
  bool no_bos = false;
  bool no_parse_special = false;
};

// A token's bytes in double quotes; bytes a terminal should not see, and
// those of an unfinished character, as \n, \t or \xE2. Control tokens bare.
std::string Shown(const Tokenizer& tokenizer, TokenId id) {
  const std::string piece = tokenizer.Piece(id, /*render_special=*/true);
  const bool valid = IsValidUtf8(piece, nullptr);
  std::string out;
  for (const char c : piece) {
    const auto byte = static_cast<unsigned char>(c);
    char hex[8];
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !valid)) {
      std::snprintf(hex, sizeof(hex), "\\x%02X", byte);
      out += hex;
    } else {
      out += c;
    }
  }
  return tokenizer.IsControl(id) ? out : '"' + out + '"';
}

void PrintJson(const Tokenizer& tokenizer, const Options& options,
               const std::vector<TokenId>& ids) {
  nlohmann::ordered_json json;
  json["model"] = options.model;
  json["bytes"] = options.text.size();
  json["count"] = ids.size();
  json["ids"] = ids;
  json["pieces"] = nlohmann::ordered_json::array();
  for (const TokenId id : ids)  // parts of characters become U+FFFD
    json["pieces"].push_back(tokenizer.Piece(id, /*render_special=*/true));
  std::printf("%s\n",
              json.dump(-1, ' ', false,
                        nlohmann::ordered_json::error_handler_t::replace)
                  .c_str());
}

int Tokenize(Options options) {
  if (options.model.empty()) options.model = DefaultModelPath();
  if (options.model.empty())
    return Fail(InvalidArgument("no model: name one with -m FILE"));
  if (options.from_file) {
    Result<std::string> text = ReadFile(options.file);
    if (!text.ok()) return Fail(text.status());
    options.text = std::move(*text);
  }
  size_t bad = 0;
  if (!IsValidUtf8(options.text, &bad)) {
    const std::string name = !options.from_file    ? "TEXT"
                             : options.file == "-" ? "standard input"
                                                   : options.file;
    return Fail(
        Corrupt(name + ": not UTF-8 text (byte " + std::to_string(bad) + ")"));
  }
  const Result<std::unique_ptr<Tokenizer>> opened =
      Tokenizer::Open(options.model);
  if (!opened.ok()) return Fail(opened.status());
  const Tokenizer& tokenizer = **opened;
  const Result<std::vector<TokenId>> ids = tokenizer.Encode(
      options.text,
      {.add_bos = !options.no_bos, .parse_special = !options.no_parse_special});
  if (!ids.ok()) return Fail(ids.status());

  if (options.json) {
    PrintJson(tokenizer, options, *ids);
  } else if (options.ids) {
    for (size_t i = 0; i < ids->size(); ++i)
      std::printf(i == 0 ? "%d" : " %d", (*ids)[i]);
    std::printf("\n");
  } else {
    for (const TokenId id : *ids)
      std::printf("%7d  %s\n", id, Shown(tokenizer, id).c_str());
    std::printf("%s token%s, %s byte%s\n", Grouped(ids->size()).c_str(),
                ids->size() == 1 ? "" : "s",
                Grouped(options.text.size()).c_str(),
                options.text.size() == 1 ? "" : "s");
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    return Fail(IoError("standard output: cannot write"));
  return kExitOk;
}

}  // namespace

void AddTokenize(CLI::App& root, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = root.add_subcommand(
      "tokenize", "Show the tokens that a model makes of a text.");
  command
      ->add_option("-m,--model", options->model,
                   "The model, or any GGUF file with a vocabulary")
      ->type_name("FILE");
  CLI::Option* text =
      command->add_option("text", options->text, "The text itself")
          ->type_name("TEXT");
  CLI::Option* file =
      command
          ->add_option("-f,--file", options->file,
                       "Read the text from here; - is standard input")
          ->type_name("FILE");
  file->excludes(text);
  CLI::Option* ids =
      command->add_flag("--ids", options->ids, "Ids alone, on one line");
  command->add_flag("--json", options->json, "One JSON object")->excludes(ids);
  command->add_flag("--no-bos", options->no_bos,
                    "Leave out the token that begins a sequence");
  command->add_flag("--no-parse-special", options->no_parse_special,
                    "Names of control tokens are plain text");
  command->callback([options, text, file, &run] {
    if (text->count() == 0 && file->count() == 0)
      throw CLI::RequiredError("TEXT or -f FILE");
    options->from_file = file->count() != 0;
    run = [options] { return Tokenize(*options); };
  });
}

}  // namespace dapple::tool
