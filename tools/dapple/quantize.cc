// dapple quantize: a GGUF file with smaller tensor types.

#include "dapple/quantize.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "command.h"
#include "tensor_progress.h"

namespace dapple::tool {
namespace {

int RunQuantize(QuantizeOptions options) {
  TensorProgress shown;
  options.progress = [&](const QuantizeProgress& progress) {
    return shown.Update(progress.tensor, progress.bytes_done,
                        progress.bytes_total);
  };
  options.note = [](const std::string& note) {
    std::fprintf(stderr, "note: %s\n", note.c_str());
  };
  const Result<QuantizeResult> result = Quantize(options);
  shown.Clear();
  if (!result.ok()) return Fail(result.status());
  std::printf("%s: %zu tensors, %s (was %s)\n", options.output_path.c_str(),
              result->tensors,
              HumanBytes(static_cast<double>(result->output_bytes)).c_str(),
              HumanBytes(static_cast<double>(result->input_bytes)).c_str());
  return kExitOk;
}

}  // namespace

void AddQuantize(CLI::App& root, Run& run) {
  auto options = std::make_shared<QuantizeOptions>();
  options->type = "q4_k_m";
  CLI::App* command = root.add_subcommand(
      "quantize", "Store a model's matrices in a smaller type");
  command->add_option("IN", options->input_path, "GGUF file to read")
      ->required();
  command->add_option("OUT", options->output_path, "GGUF file to write")
      ->required();
  command
      ->add_option("-t,--type", options->type,
                   "What matrices become; _m types keep some larger")
      ->transform(CLI::detail::to_lower)
      ->check(CLI::IsMember(QuantizeTypes()))
      ->capture_default_str();
  command
      ->add_option("--imatrix", options->importance_path,
                   "How much each input matters (file of llama-imatrix)")
      ->type_name("FILE");
  command->add_flag("--pure", options->pure,
                    "One type for all matrices, logits included");
  command
      ->add_option("--threads", options->threads,
                   "threads (default: one per physical core)")
      ->check(CLI::Range(1, 1024));
  command->callback(
      [options, &run] { run = [options] { return RunQuantize(*options); }; });
}

}  // namespace dapple::tool
