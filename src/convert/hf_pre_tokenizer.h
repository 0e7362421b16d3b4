// Which of GGUF's pre-tokenizers a tokenizer.json describes.
#ifndef DAPPLE_CONVERT_HF_PRE_TOKENIZER_H_
#define DAPPLE_CONVERT_HF_PRE_TOKENIZER_H_

#include <nlohmann/json.hpp>
#include <string>

#include "dapple/status.h"

namespace dapple {

// tokenizer.ggml.pre for the object "pre_tokenizer" (its steps and patterns,
// compared as they are written) and the model's ignore_merges. kUnsupported,
// naming the path and the first step that is not known.
Result<std::string> IdentifyPreTokenizer(const nlohmann::json& pre_tokenizer,
                                         bool ignore_merges,
                                         const std::string& path);

}  // namespace dapple

#endif  // DAPPLE_CONVERT_HF_PRE_TOKENIZER_H_
