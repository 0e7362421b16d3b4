// HfTokenizer: the vocabulary of a Hugging Face model folder, as GGUF wants it.
//
// tokenizer.model gives pieces, scores and types of a "llama" tokenizer;
// without it tokenizer.json gives tokens and merges of a "gpt2" one.
// added_tokens.json and tokenizer_config.json may add special tokens and say
// which ones begin and end a sequence, generation_config.json which others end
// one; the chat template comes from chat_template.jinja or
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

  std::string model = "llama";  // tokenizer.ggml.model: or "gpt2"
  std::string pre = "default";  // tokenizer.ggml.pre
  // All [vocab_size]; texts are unique.
  std::vector<std::string> tokens;
  std::vector<float> scores;        // "llama" alone
  std::vector<int32_t> types;       // PieceType
  std::vector<std::string> merges;  // "gpt2" alone: "left right"
  // Ids of added tokens that take the white space before or after them.
  std::vector<int32_t> lstrip, rstrip;

  std::optional<uint32_t> bos_id;
  std::optional<uint32_t> eos_id;
  std::optional<uint32_t> eot_id;  // other ids that end a generation
  std::optional<uint32_t> eom_id;
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
