// ModelKeys: a model's hyper-parameters as GGUF metadata.
#ifndef DAPPLE_CONVERT_MODEL_KEYS_H_
#define DAPPLE_CONVERT_MODEL_KEYS_H_

#include "convert/hf_config.h"
#include "gguf/gguf_writer.h"

namespace dapple {

// Adds every key under the architecture's own prefix ("qwen2.block_count").
void AddModelKeys(const HfConfig& config, GgufWriter* writer);

}  // namespace dapple

#endif  // DAPPLE_CONVERT_MODEL_KEYS_H_
