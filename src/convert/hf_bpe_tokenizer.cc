#include "convert/hf_bpe_tokenizer.h"

#include <utility>

#include "convert/hf_pre_tokenizer.h"
#include "convert/json_file.h"
#include "convert/sentencepiece_model.h"
#include "gguf/printable.h"

namespace dapple {
namespace {

using nlohmann::json;

class BpeReader {
 public:
  BpeReader(const std::string& path, const HfConfig& config, HfTokenizer* out)
      : path_(path),
        vocab_(static_cast<size_t>(config.vocab_size)),
        out_(*out) {}

  Status Read() {
    DAPPLE_ASSIGN_OR_RETURN(const json object, ReadJsonObject(path_));
    const JsonFields fields(object, path_);
    const json* model = fields.Find("model");
    if (model == nullptr || !model->is_object())
      return fields.Wrong("model", "is missing");
    DAPPLE_RETURN_IF_ERROR(CheckKind(fields, *model));
    DAPPLE_RETURN_IF_ERROR(ReadVocabulary(*model));
    DAPPLE_RETURN_IF_ERROR(ReadMerges(*model));
    DAPPLE_RETURN_IF_ERROR(ReadAddedTokens(fields));
    ReadPostProcessor(fields);
    return Status::Ok();
  }

 private:
  Status CheckKind(const JsonFields& fields, const json& model) {
    const JsonFields parts(model, path_);
    DAPPLE_ASSIGN_OR_RETURN(const auto type, parts.String("type"));
    // Files of before 2020 do not say; only BPE has merges.
    const bool is_bpe =
        type.has_value() ? *type == "BPE" : model.contains("merges");
    if (!is_bpe)
      return Unsupported(path_ + ": a tokenizer of type " +
                         Quoted(type.value_or("(none)")) +
                         " is not supported (BPE is)");
    DAPPLE_ASSIGN_OR_RETURN(const auto fallback, parts.Bool("byte_fallback"));
    if (fallback.value_or(false))
      return Unsupported(path_ +
                         ": a SentencePiece tokenizer, which is read from "
                         "tokenizer.model; that file is missing");
    if (const json* normalizer = fields.Find("normalizer")) {
      const auto kind = normalizer->find("type");
      const bool is_nfc = kind != normalizer->end() && *kind == "NFC";
      const auto list = normalizer->find("normalizers");
      const bool is_empty =
          list != normalizer->end() && list->is_array() && list->empty();
      if (!is_nfc && !is_empty)
        return Unsupported(path_ + ": the normalizer " +
                           Quoted(kind != normalizer->end() && kind->is_string()
                                      ? kind->get_ref<const std::string&>()
                                      : "(unnamed)") +
                           " is not supported");
      if (is_nfc)
        out_.notes.push_back(
            "text is not brought to Unicode's composed form (NFC) before it "
            "is tokenized, as the original does: GGUF has no place for it");
    }
    DAPPLE_ASSIGN_OR_RETURN(const auto ignore, parts.Bool("ignore_merges"));
    const json* pre_tokenizer = fields.Find("pre_tokenizer");
    DAPPLE_ASSIGN_OR_RETURN(
        out_.pre,
        IdentifyPreTokenizer(pre_tokenizer == nullptr ? json() : *pre_tokenizer,
                             ignore.value_or(false), path_));
    out_.model = "gpt2";
    out_.add_space_prefix =
        pre_tokenizer != nullptr && HasPrefixSpace(*pre_tokenizer);
    return Status::Ok();
  }

  static bool HasPrefixSpace(const json& step) {
    if (const auto list = step.find("pretokenizers");
        list != step.end() && list->is_array()) {
      for (const json& one : *list)
        if (one.is_object() && !one.contains("pretokenizers") &&
            HasPrefixSpace(one))
          return true;
    }
    const auto type = step.find("type");
    const auto space = step.find("add_prefix_space");
    return type != step.end() && *type == "ByteLevel" && space != step.end() &&
           space->is_boolean() && space->get<bool>();
  }

  Status Place(uint64_t id, const std::string& text, PieceType type) {
    if (id >= vocab_) {
      out_.notes.push_back("token " + Quoted(text) + " has id " +
                           std::to_string(id) +
                           ", beyond the vocabulary: left out");
      return Status::Ok();
    }
    const size_t i = static_cast<size_t>(id);
    if (given_[i] && out_.tokens[i] != text)
      return Corrupt(path_ + ": id " + std::to_string(id) + " is both " +
                     Quoted(out_.tokens[i]) + " and " + Quoted(text));
    given_[i] = true;
    out_.tokens[i] = text;
    out_.types[i] = static_cast<int32_t>(type);
    return Status::Ok();
  }

  Status ReadVocabulary(const json& model) {
    const auto vocab = model.find("vocab");
    if (vocab == model.end() || !vocab->is_object())
      return Corrupt(path_ + ": the model has no vocabulary");
    out_.tokens.resize(vocab_);
    out_.types.assign(vocab_, static_cast<int32_t>(PieceType::kUnused));
    given_.assign(vocab_, false);
    for (const auto& [text, id] : vocab->items()) {
      const uint64_t* number = id.get_ptr<const uint64_t*>();
      if (number == nullptr)
        return Corrupt(path_ + ": " + Quoted(text) + " has no token id");
      DAPPLE_RETURN_IF_ERROR(Place(*number, text, PieceType::kNormal));
    }
    return Status::Ok();
  }

  // ["a b", ...] or, newer, [["a", "b"], ...]
  Status ReadMerges(const json& model) {
    const auto merges = model.find("merges");
    if (merges == model.end() || !merges->is_array() || merges->empty())
      return Corrupt(path_ + ": the model has no merges");
    out_.merges.reserve(merges->size());
    for (const json& merge : *merges) {
      if (const auto* text = merge.get_ptr<const std::string*>()) {
        out_.merges.push_back(*text);
        continue;
      }
      if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() ||
          !merge[1].is_string())
        return Corrupt(path_ + ": merge " + std::to_string(out_.merges.size()) +
                       " is not two tokens");
      out_.merges.push_back(merge[0].get_ref<const std::string&>() + " " +
                            merge[1].get_ref<const std::string&>());
    }
    return Status::Ok();
  }

  Status ReadAddedTokens(const JsonFields& fields) {
    if (const json* added = fields.Find("added_tokens")) {
      if (!added->is_array())
        return fields.Wrong("added_tokens", "is not a list");
      for (const json& entry : *added) {
        if (!entry.is_object())
          return fields.Wrong("added_tokens", "has a malformed entry");
        const JsonFields token(entry, path_);
        DAPPLE_ASSIGN_OR_RETURN(const auto id, token.Uint("id"));
        DAPPLE_ASSIGN_OR_RETURN(const auto text, token.String("content"));
        DAPPLE_ASSIGN_OR_RETURN(const auto special, token.Bool("special"));
        DAPPLE_ASSIGN_OR_RETURN(const auto left, token.Bool("lstrip"));
        DAPPLE_ASSIGN_OR_RETURN(const auto right, token.Bool("rstrip"));
        if (!id.has_value() || !text.has_value() || text->empty())
          return fields.Wrong("added_tokens", "has a malformed entry");
        const bool control = special.value_or(false) || LooksLikeControl(*text);
        DAPPLE_RETURN_IF_ERROR(
            Place(*id, *text,
                  control ? PieceType::kControl : PieceType::kUserDefined));
        if (*id >= vocab_) continue;
        if (left.value_or(false))
          out_.lstrip.push_back(static_cast<int32_t>(*id));
        if (right.value_or(false))
          out_.rstrip.push_back(static_cast<int32_t>(*id));
      }
    }
    // Ids without a token: their embeddings exist, their text does not.
    for (size_t i = 0; i < vocab_; ++i)
      if (!given_[i]) out_.tokens[i] = "[PAD" + std::to_string(i) + "]";
    return Status::Ok();
  }

  // TemplateProcessing, maybe inside a Sequence: what stands before and behind
  // a single text.
  void ReadPostProcessor(const JsonFields& fields) {
    const json* processor = fields.Find("post_processor");
    if (processor == nullptr || !processor->is_object()) return;
    if (const auto list = processor->find("processors");
        list != processor->end() && list->is_array()) {
      for (const json& one : *list) ReadTemplate(one);
    } else {
      ReadTemplate(*processor);
    }
  }
  void ReadTemplate(const json& processor) {
    if (!processor.is_object()) return;
    const auto single = processor.find("single");
    if (single == processor.end() || !single->is_array() || single->empty())
      return;
    const auto special = [](const json& part) {
      return part.is_object() && part.contains("SpecialToken");
    };
    out_.add_bos = special(single->front());
    out_.add_eos = single->size() > 1 && special(single->back());
  }

  const std::string& path_;
  const size_t vocab_;
  HfTokenizer& out_;
  std::vector<bool> given_;
};

}  // namespace

// Chat markers are often user-defined tokens. As control tokens they are never
// made from plain text, so a document cannot forge them.
bool LooksLikeControl(std::string_view text) {
  return text.size() > 4 && text.starts_with("<|") && text.ends_with("|>");
}

Status ReadBpeTokenizer(const std::string& path, const HfConfig& config,
                        HfTokenizer* out) {
  out->add_bos = false;
  return BpeReader(path, config, out).Read();
}

}  // namespace dapple
