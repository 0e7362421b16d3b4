#include "convert/hf_tokenizer.h"

#include <unistd.h>

#include <charconv>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "convert/hf_bpe_tokenizer.h"
#include "convert/json_file.h"
#include "convert/sentencepiece_model.h"
#include "gguf/printable.h"
#include "util/mmap_file.h"

namespace dapple {
namespace {

using nlohmann::json;

// Of padding ids that no piece stands for: never chosen by any merge.
constexpr float kUnusedScore = -10000.0f;
// Of added tokens, which are split off before merging.
constexpr float kAddedScore = -1000.0f;

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

class Reader {
 public:
  Reader(const std::string& folder, const HfConfig& config)
      : folder_(folder), config_(config) {}

  Status Read() {
    DAPPLE_RETURN_IF_ERROR(ReadPieces());
    const std::string config_path = folder_ + "/tokenizer_config.json";
    json object = json::object();
    if (Exists(config_path)) {
      DAPPLE_ASSIGN_OR_RETURN(object, ReadJsonObject(config_path));
    }
    const JsonFields fields(object, config_path);
    if (out_.model == "llama") {  // tokenizer.json has them all
      DAPPLE_RETURN_IF_ERROR(ReadAddedTokens());
      DAPPLE_RETURN_IF_ERROR(ReadAddedTokensDecoder(fields));
    }
    DAPPLE_RETURN_IF_ERROR(IndexTexts());
    DAPPLE_RETURN_IF_ERROR(ReadSpecials(fields));
    DAPPLE_RETURN_IF_ERROR(ReadGenerationConfig());
    return ReadChatTemplate(fields);
  }

  HfTokenizer&& Take() { return std::move(out_); }

 private:
  Status ReadPieces() {
    path_ = folder_ + "/tokenizer.model";
    if (const std::string bpe = folder_ + "/tokenizer.json";
        !Exists(path_) && Exists(bpe))
      return ReadBpeTokenizer(bpe, config_, &out_);
    DAPPLE_ASSIGN_OR_RETURN(model_, SentencePieceModel::Read(path_));
    const size_t vocab = static_cast<size_t>(config_.vocab_size);
    if (model_.pieces.size() > vocab)
      return Corrupt(path_ + ": " + std::to_string(model_.pieces.size()) +
                     " pieces, but config.json's vocab_size is " +
                     std::to_string(vocab));
    // Ids without a piece: their embeddings exist, their text does not.
    out_.scores.assign(vocab, kUnusedScore);
    out_.types.assign(vocab, static_cast<int32_t>(PieceType::kUnused));
    out_.tokens.reserve(vocab);
    for (size_t i = 0; i < vocab; ++i) {
      if (i >= model_.pieces.size()) {
        out_.tokens.push_back("[PAD" + std::to_string(i) + "]");
        continue;
      }
      SentencePieceModel::Piece& piece = model_.pieces[i];
      if (piece.type == PieceType::kUserDefined && LooksLikeControl(piece.text))
        piece.type = PieceType::kControl;
      out_.tokens.push_back(std::move(piece.text));
      out_.scores[i] = piece.score;
      out_.types[i] = static_cast<int32_t>(piece.type);
    }
    out_.add_space_prefix = model_.add_dummy_prefix;
    if (model_.has_charsmap || model_.remove_extra_whitespaces)
      out_.notes.push_back(
          "the tokenizer's text normalization (" +
          (model_.normalizer.empty() ? "unnamed" : model_.normalizer) +
          (model_.remove_extra_whitespaces ? ", extra white space removed"
                                           : "") +
          ") is not kept: GGUF has no place for it");
    return Status::Ok();
  }

  // Sets an added token. `special`: a control token by the file's own word.
  void AddToken(uint64_t id, const std::string& text, bool special,
                bool lstrip = false, bool rstrip = false) {
    if (id >= out_.tokens.size()) {
      out_.notes.push_back("added token " + Quoted(text) + " has id " +
                           std::to_string(id) +
                           ", beyond the vocabulary: left out");
      return;
    }
    const bool control = special || LooksLikeControl(text);
    if (control && lstrip) out_.lstrip.push_back(static_cast<int32_t>(id));
    if (control && rstrip) out_.rstrip.push_back(static_cast<int32_t>(id));
    if (id >= model_.pieces.size()) {
      out_.tokens[id] = text;
      out_.scores[id] = kAddedScore;
      out_.types[id] = static_cast<int32_t>(control ? PieceType::kControl
                                                    : PieceType::kUserDefined);
    } else if (control && out_.tokens[id] == text &&
               out_.types[id] != static_cast<int32_t>(PieceType::kUnknown)) {
      out_.types[id] = static_cast<int32_t>(PieceType::kControl);
    }
  }

  // {"<|im_start|>": 32000}
  Status ReadAddedTokens() {
    const std::string path = folder_ + "/added_tokens.json";
    if (!Exists(path)) return Status::Ok();
    DAPPLE_ASSIGN_OR_RETURN(const json object, ReadJsonObject(path));
    for (const auto& [text, id] : object.items()) {
      if (text.empty() || !id.is_number_unsigned())
        return Corrupt(path + ": " + Quoted(text) + " has no token id");
      AddToken(*id.get_ptr<const uint64_t*>(), text, /*special=*/false);
    }
    return Status::Ok();
  }

  // {"32000": {"content": "<|im_start|>", "special": true}}
  Status ReadAddedTokensDecoder(const JsonFields& fields) {
    const char* key = "added_tokens_decoder";
    const json* added = fields.Find(key);
    if (added == nullptr) return Status::Ok();
    if (!added->is_object()) return fields.Wrong(key, "is not an object");
    for (const auto& [id_text, entry] : added->items()) {
      uint64_t id = 0;
      const char* end = id_text.data() + id_text.size();
      const auto [at, error] = std::from_chars(id_text.data(), end, id);
      if (error != std::errc() || at != end || !entry.is_object())
        return fields.Wrong(key, "has a malformed entry " + Quoted(id_text));
      const std::string where = folder_ + "/tokenizer_config.json";
      const JsonFields token(entry, where);
      DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> text,
                              token.String("content"));
      DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> special,
                              token.Bool("special"));
      if (!text.has_value() || text->empty())
        return fields.Wrong(key, "has no content for " + Quoted(id_text));
      DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> left,
                              token.Bool("lstrip"));
      DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> right,
                              token.Bool("rstrip"));
      AddToken(id, *text, special.value_or(false), left.value_or(false),
               right.value_or(false));
    }
    return Status::Ok();
  }

  Status IndexTexts() {
    for (size_t i = 0; i < out_.tokens.size(); ++i)
      if (!ids_.emplace(out_.tokens[i], static_cast<uint32_t>(i)).second)
        return Corrupt(folder_ + ": two tokens have the text " +
                       Quoted(out_.tokens[i]));
    return Status::Ok();
  }

  // Whose word counts, first to last: tokenizer_config.json's text,
  // config.json's id, tokenizer.model's id.
  Status ResolveId(const JsonFields& fields, const char* key,
                   std::optional<uint64_t> config_id, int32_t model_id,
                   std::optional<uint32_t>* out) {
    const json* value = fields.Find(key);
    if (value != nullptr && value->is_object()) {
      const auto content = value->find("content");
      value = content == value->end() ? nullptr : &*content;
    }
    const std::string* text =
        value == nullptr ? nullptr : value->get_ptr<const std::string*>();
    if (text != nullptr) {
      if (const auto found = ids_.find(*text); found != ids_.end()) {
        *out = found->second;
        return Status::Ok();
      }
    }
    if (!config_id.has_value() && model_id >= 0)
      config_id = static_cast<uint64_t>(model_id);
    if (!config_id.has_value()) return Status::Ok();
    if (*config_id >= out_.tokens.size())
      return Corrupt(folder_ + "/config.json: " + key + " has id " +
                     std::to_string(*config_id) +
                     ", beyond the vocabulary of " +
                     std::to_string(out_.tokens.size()));
    *out = static_cast<uint32_t>(*config_id);
    return Status::Ok();
  }

  Status ReadSpecials(const JsonFields& fields) {
    DAPPLE_RETURN_IF_ERROR(ResolveId(fields, "bos_token", config_.bos_id,
                                     model_.bos_id, &out_.bos_id));
    DAPPLE_RETURN_IF_ERROR(ResolveId(fields, "eos_token", config_.eos_id,
                                     model_.eos_id, &out_.eos_id));
    DAPPLE_RETURN_IF_ERROR(
        ResolveId(fields, "unk_token", {}, model_.unk_id, &out_.unk_id));
    DAPPLE_RETURN_IF_ERROR(ResolveId(fields, "pad_token", config_.pad_id,
                                     model_.pad_id, &out_.pad_id));
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> add_bos,
                            fields.Bool("add_bos_token"));
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> add_eos,
                            fields.Bool("add_eos_token"));
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<bool> prefix,
                            fields.Bool("add_prefix_space"));
    out_.add_bos = add_bos.value_or(out_.add_bos) && out_.bos_id.has_value();
    out_.add_eos = add_eos.value_or(out_.add_eos) && out_.eos_id.has_value();
    out_.add_space_prefix = prefix.value_or(out_.add_space_prefix);
    return Status::Ok();
  }

  // {"eos_token_id": [128001, 128009]}: GGUF has places for three.
  Status ReadGenerationConfig() {
    const std::string path = folder_ + "/generation_config.json";
    if (!Exists(path)) return Status::Ok();
    DAPPLE_ASSIGN_OR_RETURN(const json object, ReadJsonObject(path));
    const JsonFields fields(object, path);
    const json* ends = fields.Find("eos_token_id");
    if (ends == nullptr || !ends->is_array()) return Status::Ok();
    for (const json& end : *ends) {
      const uint64_t* id = end.get_ptr<const uint64_t*>();
      if (id == nullptr || *id >= out_.tokens.size())
        return fields.Wrong("eos_token_id", "has an id beyond the vocabulary");
      const uint32_t value = static_cast<uint32_t>(*id);
      if (value == out_.eos_id || value == out_.eot_id || value == out_.eom_id)
        continue;
      if (!out_.eos_id.has_value()) {
        out_.eos_id = value;
      } else if (!out_.eot_id.has_value()) {
        out_.eot_id = value;
      } else if (!out_.eom_id.has_value()) {
        out_.eom_id = value;
      } else {
        out_.notes.push_back("token " + std::to_string(value) +
                             " ends a generation, too: left out");
      }
    }
    return Status::Ok();
  }

  Status ReadChatTemplate(const JsonFields& fields) {
    const std::string path = folder_ + "/chat_template.jinja";
    if (Exists(path)) {
      DAPPLE_ASSIGN_OR_RETURN(const MmapFile file, MmapFile::Open(path));
      out_.chat_template.assign(
          reinterpret_cast<const char*>(file.bytes().data()),
          file.bytes().size());
      return Status::Ok();
    }
    const json* value = fields.Find("chat_template");
    if (value == nullptr) return Status::Ok();
    // Several templates: [{"name": "default", "template": "..."}].
    if (value->is_array()) {
      for (const json& entry : *value) {
        if (!entry.is_object()) continue;
        const std::string where = folder_ + "/tokenizer_config.json";
        const JsonFields named(entry, where);
        DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> name,
                                named.String("name"));
        DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> text,
                                named.String("template"));
        if (name == "default") out_.chat_template = text.value_or("");
      }
      return Status::Ok();
    }
    DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> text,
                            fields.String("chat_template"));
    out_.chat_template = text.value_or("");
    return Status::Ok();
  }

  const std::string& folder_;
  const HfConfig& config_;
  std::string path_;  // tokenizer.model
  SentencePieceModel model_;
  std::unordered_map<std::string_view, uint32_t> ids_;  // into out_.tokens
  HfTokenizer out_;
};

}  // namespace

Result<HfTokenizer> HfTokenizer::Read(const std::string& folder,
                                      const HfConfig& config) {
  Reader reader(folder, config);
  DAPPLE_RETURN_IF_ERROR(reader.Read());
  return reader.Take();
}

}  // namespace dapple
