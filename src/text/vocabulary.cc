#include "text/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "gguf/gguf_file.h"

namespace dapple {
namespace {

constexpr std::string_view kTurnEnds[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"};
constexpr std::string_view kOtherMarks[] = {"<s>",
                                            "</s>",
                                            "<unk>",
                                            "<pad>",
                                            "<bos>",
                                            "<eos>",
                                            "<mask>",
                                            "[INST]",
                                            "[/INST]",
                                            "<<SYS>>",
                                            "<</SYS>>",
                                            "<start_of_turn>",
                                            "[SYSTEM_PROMPT]",
                                            "[/SYSTEM_PROMPT]"};

std::string Key(std::string_view name) {
  return "tokenizer.ggml." + std::string(name);
}

Status Wrong(const GgufFile& file, const std::string& reason) {
  return Corrupt(file.path() + ": " + reason);
}

// *id = the key's value, if it is there.
Status ReadId(const GgufFile& file, std::string_view name, size_t count,
              TokenId* id) {
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<uint64_t> value,
                          file.Uint(Key(name)));
  if (!value) return Status::Ok();
  if (*value >= count) {
    return Wrong(file, Key(name) + " is " + std::to_string(*value) +
                           ", but the vocabulary has " + std::to_string(count) +
                           " tokens");
  }
  *id = static_cast<TokenId>(*value);
  return Status::Ok();
}

Status ReadFlag(const GgufFile& file, std::string_view name,
                std::optional<bool>* flag) {
  DAPPLE_ASSIGN_OR_RETURN(*flag, file.Bool(Key(name)));
  return Status::Ok();
}

Status ReadText(const GgufFile& file, const std::string& key,
                std::string* text) {
  DAPPLE_ASSIGN_OR_RETURN(const auto value, file.String(key));
  if (value) *text = *value;
  return Status::Ok();
}

Status ReadIds(const GgufFile& file, const std::string& key, size_t count,
               std::vector<TokenId>* ids) {
  DAPPLE_ASSIGN_OR_RETURN(const auto values, file.Ints(key));
  if (!values) return Status::Ok();
  for (const int64_t value : *values) {
    if (value < 0 || static_cast<uint64_t>(value) >= count)
      return Wrong(file, key + " has the id " + std::to_string(value) +
                             ", beyond the vocabulary");
    ids->push_back(static_cast<TokenId>(value));
  }
  return Status::Ok();
}

// Files without the key mean sentencepiece's own name, if there is one.
TokenId FindControl(const Vocabulary& vocabulary, std::string_view piece) {
  for (size_t i = 0; i < vocabulary.pieces.size(); ++i) {
    if (vocabulary.types[i] == TokenType::kControl &&
        vocabulary.pieces[i] == piece)
      return static_cast<TokenId>(i);
  }
  return -1;
}

}  // namespace

bool LooksLikeTurnMark(std::string_view piece) {
  if (piece.size() > 4 && piece.starts_with("<|") && piece.ends_with("|>"))
    return true;
  return EndsTurn(piece) ||
         std::ranges::find(kOtherMarks, piece) != std::end(kOtherMarks);
}

bool EndsTurn(std::string_view piece) {
  return std::ranges::find(kTurnEnds, piece) != std::end(kTurnEnds);
}

AddedTokens::Flags SpecialFlags(const Vocabulary& vocabulary, TokenId id) {
  const auto has = [id](const std::vector<TokenId>& ids) {
    return std::ranges::find(ids, id) != ids.end();
  };
  AddedTokens::Flags flags;
  flags.takes_space_before = has(vocabulary.lstrip);
  flags.takes_space_after = has(vocabulary.rstrip);
  // Phi-3's and Phi-3.5's marks take the line end after them ("rstrip" in their
  // tokenizer_config.json), which GGUF files made by others cannot say.
  const std::string_view piece = vocabulary.pieces[static_cast<size_t>(id)];
  if (vocabulary.architecture == "phi3" && vocabulary.model == "llama" &&
      vocabulary.rstrip.empty() &&
      ((piece.starts_with("<|") && piece != "<|endoftext|>") ||
       piece == "</s>"))
    flags.takes_space_after = true;
  return flags;
}

Result<Vocabulary> Vocabulary::Read(const GgufFile& file) {
  Vocabulary vocabulary;
  vocabulary.path = file.path();
  DAPPLE_RETURN_IF_ERROR(ReadText(file, Key("model"), &vocabulary.model));
  DAPPLE_RETURN_IF_ERROR(ReadText(file, Key("pre"), &vocabulary.pre));
  DAPPLE_RETURN_IF_ERROR(
      ReadText(file, "general.architecture", &vocabulary.architecture));
  const bool byte_level = vocabulary.model == "gpt2";
  DAPPLE_ASSIGN_OR_RETURN(auto tokens, file.Strings(Key("tokens")));
  DAPPLE_ASSIGN_OR_RETURN(auto scores, file.Floats(Key("scores")));
  DAPPLE_ASSIGN_OR_RETURN(const auto types, file.Ints(Key("token_type")));
  if (!tokens) return Wrong(file, Key("tokens") + " is missing");
  if (!scores && !byte_level) return Wrong(file, Key("scores") + " is missing");
  if (!types) return Wrong(file, Key("token_type") + " is missing");
  const size_t count = tokens->size();
  if (count == 0) return Wrong(file, "the vocabulary is empty");
  if (count > size_t{1} << 30)
    return Wrong(file, "the vocabulary is too large");
  const size_t score_count = scores ? scores->size() : count;
  for (const auto& [name, size] : {std::pair("scores", score_count),
                                   std::pair("token_type", types->size())}) {
    if (size != count) {
      return Wrong(file, Key("tokens") + " has " + std::to_string(count) +
                             " entries, " + Key(name) + " " +
                             std::to_string(size));
    }
  }

  vocabulary.types.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t type = (*types)[i];
    if (type < 1 || type > 6) {
      return Wrong(file, "token " + std::to_string(i) + " has type " +
                             std::to_string(type) + " (1 to 6 are known)");
    }
    if (scores && !std::isfinite((*scores)[i]))
      return Wrong(file, "the score of token " + std::to_string(i) +
                             " is not a finite number");
    if ((*tokens)[i].empty() && !byte_level)
      return Wrong(file, "token " + std::to_string(i) + " is empty");
    vocabulary.types.push_back(static_cast<TokenType>(type));
  }
  vocabulary.pieces = std::move(*tokens);
  if (scores) vocabulary.scores = std::move(*scores);
  if (byte_level) {
    DAPPLE_ASSIGN_OR_RETURN(auto merges, file.Strings(Key("merges")));
    if (!merges) return Wrong(file, Key("merges") + " is missing");
    if (merges->size() > size_t{1} << 30)
      return Wrong(file, Key("merges") + " is too large");
    vocabulary.merges = std::move(*merges);
  }

  DAPPLE_RETURN_IF_ERROR(ReadId(file, "bos_token_id", count, &vocabulary.bos));
  DAPPLE_RETURN_IF_ERROR(ReadId(file, "eos_token_id", count, &vocabulary.eos));
  DAPPLE_RETURN_IF_ERROR(ReadId(file, "eot_token_id", count, &vocabulary.eot));
  DAPPLE_RETURN_IF_ERROR(ReadId(file, "eom_token_id", count, &vocabulary.eom));
  DAPPLE_RETURN_IF_ERROR(
      ReadId(file, "unknown_token_id", count, &vocabulary.unknown));
  DAPPLE_RETURN_IF_ERROR(ReadFlag(file, "add_bos_token", &vocabulary.add_bos));
  DAPPLE_RETURN_IF_ERROR(ReadFlag(file, "add_eos_token", &vocabulary.add_eos));
  DAPPLE_RETURN_IF_ERROR(
      ReadFlag(file, "add_space_prefix", &vocabulary.add_space_prefix));
  DAPPLE_RETURN_IF_ERROR(
      ReadIds(file, "dapple.tokenizer.lstrip", count, &vocabulary.lstrip));
  DAPPLE_RETURN_IF_ERROR(
      ReadIds(file, "dapple.tokenizer.rstrip", count, &vocabulary.rstrip));
  if (byte_level) return vocabulary;
  if (vocabulary.bos < 0) vocabulary.bos = FindControl(vocabulary, "<s>");
  if (vocabulary.eos < 0) vocabulary.eos = FindControl(vocabulary, "</s>");
  return vocabulary;
}

}  // namespace dapple
