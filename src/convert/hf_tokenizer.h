// HfTokenizer: the vocabulary of a Hugging Face model folder, as GGUF's
// "llama" tokenizer wants it.
//
// tokenizer.model gives pieces, scores and types; added_tokens.json and
// tokenizer_config.json may add special tokens and say which ones begin and
// end a sequence; the chat template comes from chat_template.jinja or
// tokenizer_config.json.
#ifndef DAPPLE_CONVERT_HF_TOKENIZER_H_
#define DAPPLE_CONVERT_HF_TOKENIZER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert/hf_config.h"
#include "dapple/status.h"

namespace dapple {

struct HfTokenizer {
  static Result<HfTokenizer> Read(const std::string& folder,
                                  const HfConfig& config);

  // All [vocab_size]; texts are unique.
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;  // PieceType

  std::optional<uint32_t> bos_id;
  std::optional<uint32_t> eos_id;
  std::optional<uint32_t> unk_id;
  std::optional<uint32_t> pad_id;
  bool add_bos = true;
  bool add_eos = false;
  bool add_space_prefix = true;
  std::string chat_template;       // "": none
  std::vector<std::string> notes;  // what the user should know
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_HF_TOKENIZER_H_
