#include "dapple/tokenizer.h"

#include <optional>

#include "gguf/gguf_file.h"
#include "text/bpe_tokenizer.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/vocabulary.h"

namespace dapple {

Result<std::unique_ptr<Tokenizer>> Tokenizer::Create(const GgufFile& file) {
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string_view> model,
                          file.String(kModel));
  if (!model) {
    return Corrupt(file.path() + ": no vocabulary (" + std::string(kModel) +
                   " is missing)");
  }
  if (*model != "llama" && *model != "gpt2") {
    return Unsupported(file.path() + ": tokenizer \"" + std::string(*model) +
                       "\" is not supported (\"llama\" and \"gpt2\" are)");
  }
  DAPPLE_ASSIGN_OR_RETURN(const Vocabulary vocabulary, Vocabulary::Read(file));
  DAPPLE_ASSIGN_OR_RETURN(const auto chat_template,
                          file.String("tokenizer.chat_template"));
  Result<std::unique_ptr<Tokenizer>> made =
      *model == "gpt2" ? BpeTokenizer::Create(vocabulary)
                       : SentencepieceTokenizer::Create(vocabulary);
  if (made.ok() && chat_template) (*made)->chat_template_ = *chat_template;
  return made;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  return Create(file);
}

}  // namespace dapple
