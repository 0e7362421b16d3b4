
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "command.h"
#include "dapple/convert.h"
#include "tensor_progress.h"

namespace dapple::tool {
namespace {

int RunConvert(ConvertOptions options) {
  TensorProgress shown;
  options.progress = [&](const ConvertProgress& progress) {
    return shown.Update(progress.tensor, progress.bytes_done,
                        progress.bytes_total);
  };
  options.note = [](const std::string& note) {
    std::fprintf(stderr, "note: %s\n", note.c_str());
  };
  const Result<ConvertResult> result = Convert(options);
  shown.Clear();
  if (!result.ok()) return Fail(result.status());
  std::printf("%s: %zu tensors, %.1f M parameters, %.1f MiB\n",
              options.output_path.c_str(), result->tensors,
              static_cast<double>(result->parameters) / 1e6,
              static_cast<double>(result->output_bytes) / (1 << 20));
  return kExitOk;
}

}  // namespace

void AddConvert(CLI::App& root, Run& run) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* command = root.add_subcommand(
      "convert", "Make a GGUF file from a Hugging Face model folder");
  auto random = std::make_shared<std::string>();
  CLI::Option* folder = command->add_option(
      "HF_DIR", options->input_dir,
      "Folder with config.json, *.safetensors, tokenizer.model");
  command
      ->add_option("--random-weights", *random,
                   "Instead of a model: random weights and a made-up "
                   "vocabulary in the shape of this config.json (or the one "
                   "in this folder), for measuring speed and memory")
      ->type_name("CONFIG")
      ->excludes(folder);
  command->add_option("-o,--output", options->output_path, "GGUF file to write")
      ->required();
  command
      ->add_option("-t,--type", options->type,
                   "How matrices are stored (vectors stay f32)")
      ->check(CLI::IsMember({"bf16", "f16", "f32", "q8_0", "q4_0"}))
      ->capture_default_str();
  command->add_option("--name", options->name,
                      "Model name to record (default: the model's own)");
  command->add_option("--license", options->license,
                      "Licence to record, as an SPDX identifier");
  command->callback([options, random, &run] {
    options->random_weights = !random->empty();
    if (options->random_weights) options->input_dir = *random;
    if (options->input_dir.empty())
      throw CLI::RequiredError("HF_DIR or --random-weights");
    run = [options] { return RunConvert(*options); };
  });
}

}  // namespace dapple::tool
