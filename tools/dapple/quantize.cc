// dapple quantize: a GGUF file with smaller tensor types.

#include "dapple/quantize.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>

#include "command.h"

namespace dapple::tool {
namespace {

std::atomic<bool> interrupted{false};

void OnInterrupt(int) { interrupted = true; }

int RunQuantize(QuantizeOptions options) {
  // Ctrl-C and a service manager's stop leave no half-written file behind.
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  const bool terminal = isatty(STDERR_FILENO) != 0;
  int shown = -1;
  options.progress = [&](const QuantizeProgress& progress) {
    const int percent =
        static_cast<int>(progress.bytes_done * 100 /
                         std::max<uint64_t>(progress.bytes_total, 1));
    if (terminal && percent != shown) {
      shown = percent;
      std::fprintf(stderr, "\r%3d %%  %-32.32s", percent,
                   std::string(progress.tensor).c_str());
    }
    return !interrupted;
  };
  options.note = [](const std::string& note) {
    std::fprintf(stderr, "note: %s\n", note.c_str());
  };
  const Result<QuantizeResult> result = Quantize(options);
  if (terminal && shown >= 0) std::fprintf(stderr, "\r%*s\r", 40, "");
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
