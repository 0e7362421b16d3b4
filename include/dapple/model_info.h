// ModelInfo: what a GGUF file says of its model, without loading it.
//
// Everything is copied out of the file: a ModelInfo owns its memory and
// outlives the file.
#ifndef DAPPLE_MODEL_INFO_H_
#define DAPPLE_MODEL_INFO_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dapple/status.h"

namespace dapple {

struct TensorSummary {
  std::string name;
  std::string type;            // "q8_0"
  std::vector<uint64_t> dims;  // GGUF order: a row's length first
  uint64_t bytes = 0;
};

struct TypeSummary {
  std::string type;
  size_t tensors = 0;
  uint64_t elements = 0;
  uint64_t bytes = 0;
};

struct TokenizerSummary {
  std::string model;  // tokenizer.ggml.model: "llama"; "": none in the file
  uint64_t vocab_size = 0;
  std::optional<uint64_t> bos_id;
  std::optional<uint64_t> eos_id;
  std::optional<uint64_t> unk_id;
  std::optional<uint64_t> pad_id;
  std::optional<bool> add_bos;
  bool has_chat_template = false;
};

struct ModelInfo {
  std::string path;
  uint64_t file_bytes = 0;
  uint32_t gguf_version = 0;
  std::string architecture;  // "llama"; "": not said
  std::string name;
  std::string license;

  // Hyper-parameters; 0 where the file does not say.
  uint64_t context_length = 0;
  uint64_t embedding_length = 0;
  uint64_t layers = 0;
  uint64_t heads = 0;
  uint64_t kv_heads = 0;  // the most of any layer
  uint64_t key_length = 0;
  uint64_t value_length = 0;
  uint64_t feed_forward_length = 0;
  uint64_t rope_dimensions = 0;
  double rope_base = 0.0;
  double norm_epsilon = 0.0;
  bool has_rope_factors = false;  // rope_freqs.weight: llama-3 scaling
  bool tied_embeddings = false;

  TokenizerSummary tokenizer;

  uint64_t parameters = 0;             // elements of all tensors
  uint64_t tensor_bytes = 0;           // of all tensors
  std::vector<TypeSummary> types;      // most bytes first
  std::vector<TensorSummary> tensors;  // in file order

  // All layers' keys and values of one token as f16; 0 when unknown.
  uint64_t kv_bytes_per_token = 0;

  // Why Dapple cannot run this file, one reason each; empty: it can, as far as
  // its keys and tensor names tell.
  std::vector<std::string> obstacles;
};

// Errors as for opening the file; a file that is well-formed but that Dapple
// cannot run is no error (see obstacles).
Result<ModelInfo> InspectModel(const std::string& path);

}  // namespace dapple

#endif  // DAPPLE_MODEL_INFO_H_
