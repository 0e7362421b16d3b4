// Convert: a Hugging Face model folder to one GGUF file.
//
// Reads config.json, *.safetensors (single or sharded), tokenizer.model and,
// where present, tokenizer_config.json, added_tokens.json and
// chat_template.jinja. Streams tensor by tensor: memory does not grow with the
// model. The output appears under its name only when complete.
#ifndef DAPPLE_CONVERT_H_
#define DAPPLE_CONVERT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "dapple/status.h"

namespace dapple {

struct ConvertProgress {
  size_t tensors_done = 0;
  size_t tensors_total = 0;
  uint64_t bytes_done = 0;  // of the output's tensor data
  uint64_t bytes_total = 0;
  std::string_view tensor;  // the one at work
};

struct ConvertOptions {
  std::string input_dir;
  std::string output_path;
  // Matrices are stored as this: "f32", "f16", "bf16", "q8_0" or "q4_0".
  // Vectors stay f32. With q4_0 the matrix that makes the logits is q8_0,
  // since its error lands on every token.
  std::string type = "q8_0";
  std::string name;     // general.name; "": from config.json or the folder
  std::string license;  // general.license (SPDX); "": not written
  // Called often; false cancels (kCancelled, nothing written). May be empty.
  std::function<bool(const ConvertProgress&)> progress;
  // Called with one line for each thing that the user should know. May be
  // empty.
  std::function<void(const std::string&)> note;
  // Random weights and a made-up vocabulary in the shape that a config.json
  // describes, for measuring; input_dir is that file or its folder.
  bool random_weights = false;
};

struct ConvertResult {
  uint64_t output_bytes = 0;
  size_t tensors = 0;
  uint64_t parameters = 0;
};

// kUnsupported names a model type, tokenizer or tensor that Dapple does not
// know; kCorrupt names the file and what is wrong with it.
Result<ConvertResult> Convert(const ConvertOptions& options);

}  // namespace dapple

#endif  // DAPPLE_CONVERT_H_
