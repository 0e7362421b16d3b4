// Options that every command which runs a model shares.
#ifndef DAPPLE_TOOLS_MODEL_OPTIONS_H_
#define DAPPLE_TOOLS_MODEL_OPTIONS_H_

#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "dapple/engine.h"
#include "dapple/sampler.h"
#include "memory_flags.h"
#include "trace_file.h"

namespace dapple::tool {

struct ModelOptions {
  std::string model;
  int threads = 0;
  bool pin = false;
  std::string compute = "default";
  std::string gemm = "auto";
  size_t tile_rows = 0;
  bool beyond_context = false;
  MemoryFlags memory;

  void AddTo(CLI::App& command);
  // What these options come to. kInvalidArgument when no model was named and
  // there is no embedded one.
  Result<EngineOptions> Resolve() const;
  Result<std::unique_ptr<Engine>> Open() const;
  Result<std::unique_ptr<Engine>> Open(
      Compute kind, bool bf16_rope_frequencies = false) const;
};

// What to keep of a prompt, as the command line says it.
struct EvictionFlags {
  std::string policy = "dapq";
  std::string keep = "auto";
  size_t probe_tokens = 32;
  std::string probe_content = "prefix-suffix";
  size_t pool = 7;
  size_t sinks = 4;
  size_t recent = 32;
  bool value_weighted = false;
  uint64_t seed = 0;
  size_t reserve = 0;
  std::string on_full = "stop";

  void AddTo(CLI::App& command);
  Status Apply(SessionOptions* session) const;
};

struct GenerationOptions {
  size_t max_new_tokens = 0;
  SamplerOptions sampler;
  std::string progress = "auto";
  bool json = false;
  std::string report;  // file that gets the JSON line; "": none
  bool quiet = false;
  // Shared by all runs of one command; never null.
  std::shared_ptr<TraceFile> trace = std::make_shared<TraceFile>();

  // `default_tokens` is the -n shown in the help.
  void AddTo(CLI::App& command, size_t default_tokens);
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_MODEL_OPTIONS_H_
