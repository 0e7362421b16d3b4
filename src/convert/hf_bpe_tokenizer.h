// The byte-level BPE vocabulary of a tokenizer.json, as GGUF's "gpt2" tokenizer
// wants it.
#ifndef DAPPLE_CONVERT_HF_BPE_TOKENIZER_H_
#define DAPPLE_CONVERT_HF_BPE_TOKENIZER_H_

#include <string>

#include "convert/hf_config.h"
#include "convert/hf_tokenizer.h"
#include "dapple/status.h"

namespace dapple {

// Fills tokens, types, merges, pre, the tokens that take white space, and
// whether a text begins with bos or ends with eos (by the post-processor).
// kUnsupported for other kinds of tokenizer.json, by what they are.
Status ReadBpeTokenizer(const std::string& path, const HfConfig& config,
                        HfTokenizer* out);

// Whether a piece of this text is a mark between turns: "<|name|>".
bool LooksLikeControl(std::string_view text);

}  // namespace dapple

#endif  // DAPPLE_CONVERT_HF_BPE_TOKENIZER_H_
