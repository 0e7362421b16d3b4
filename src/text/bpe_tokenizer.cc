#include "text/bpe_tokenizer.h"

#include <algorithm>
#include <limits>

#include "gguf/pre_tokenizer_names.h"
#include "gguf/printable.h"
#include "text/byte_alphabet.h"
#include "text/word_cache.h"

namespace dapple {
namespace {

// "<think>", "[INST]": user-defined, but no text that a document should be
// able to turn into one token.
bool LooksLikeTag(std::string_view piece) {
  return piece.size() > 2 && ((piece.front() == '<' && piece.back() == '>') ||
                              (piece.front() == '[' && piece.back() == ']'));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::Create(
    const Vocabulary& vocabulary) {
  const std::string obstacle = PreTokenizerObstacle(vocabulary.pre);
  if (!obstacle.empty()) return Unsupported(vocabulary.path + ": " + obstacle);
  const PreTokenizerRule* rule = FindPreTokenizerRule(vocabulary.pre);
  size_t bytes = 0;
  for (const std::string_view piece : vocabulary.pieces) bytes += piece.size();
  if (bytes >= size_t{1} << 30)
    return Corrupt(vocabulary.path + ": the vocabulary is too large");

  std::unique_ptr<BpeTokenizer> made(new BpeTokenizer(vocabulary));
  DAPPLE_ASSIGN_OR_RETURN(made->pre_tokenizer_, PreTokenizer::Create(*rule));
  made->ignore_merges_ = rule->ignore_merges;
  made->add_bos_ = vocabulary.add_bos.value_or(rule->add_bos);
  made->AddPieces(vocabulary);
  made->AddSpecials(vocabulary);
  DAPPLE_RETURN_IF_ERROR(made->AddMerges(vocabulary));
  return std::unique_ptr<Tokenizer>(std::move(made));
}

BpeTokenizer::BpeTokenizer(const Vocabulary& vocabulary)
    : path_(vocabulary.path),
      index_(vocabulary.pieces.size()),
      merges_(vocabulary.merges.size()),
      bos_(vocabulary.bos),
      eos_(vocabulary.eos),
      add_eos_(vocabulary.add_eos.value_or(false)),
      add_space_prefix_(vocabulary.add_space_prefix.value_or(false)) {}

BpeTokenizer::Kind BpeTokenizer::KindOf(const Vocabulary& vocabulary,
                                        size_t i) const {
  const std::string_view piece = vocabulary.pieces[i];
  const TokenId id = static_cast<TokenId>(i);
  switch (vocabulary.types[i]) {
    case TokenType::kControl:
    case TokenType::kUnknown:
      return Kind::kControl;
    case TokenType::kUnused:
      return Kind::kUnused;
    case TokenType::kUserDefined:
      if (LooksLikeTurnMark(piece) || id == vocabulary.bos ||
          id == vocabulary.eos || id == vocabulary.eot || id == vocabulary.eom)
        return Kind::kControl;
      return LooksLikeTag(piece) ? Kind::kMark : Kind::kAdded;
    case TokenType::kNormal:
    case TokenType::kByte:
      break;
  }
  return Kind::kText;
}

void BpeTokenizer::AddPieces(const Vocabulary& vocabulary) {
  const size_t count = vocabulary.pieces.size();
  offsets_.reserve(count + 1);
  kinds_.reserve(count);
  offsets_.push_back(0);
  for (size_t i = 0; i < count; ++i) {
    const std::string_view piece = vocabulary.pieces[i];
    const Kind kind = KindOf(vocabulary, i);
    kinds_.push_back(kind);
    // Only the vocabulary proper is spelled in the byte alphabet.
    if (kind != Kind::kText || !AppendAlphabetBytes(piece, &texts_))
      texts_ += piece;
    offsets_.push_back(static_cast<uint32_t>(texts_.size()));
  }
  texts_.shrink_to_fit();
  const auto text_of = [this](TokenId id) { return Text(id); };
  for (const Kind kind : {Kind::kText, Kind::kAdded}) {
    for (size_t i = 0; i < count; ++i) {
      const TokenId id = static_cast<TokenId>(i);
      if (kinds_[i] == kind) index_.Add(Text(id), id, text_of);
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const TokenId id = FindText(std::string_view(&c, 1));
    merges_.SetByte(static_cast<unsigned char>(byte), id);
    if (id < 0) has_all_bytes_ = false;
  }
}

void BpeTokenizer::AddSpecials(const Vocabulary& vocabulary) {
  for (const TokenId id : {vocabulary.eos, vocabulary.eot, vocabulary.eom})
    if (id >= 0) end_ids_.push_back(id);
  for (size_t i = 0; i < kinds_.size(); ++i) {
    const Kind kind = kinds_[i];
    if (kind == Kind::kText || kind == Kind::kUnused) continue;
    const TokenId id = static_cast<TokenId>(i);
    if (kind == Kind::kControl && EndsTurn(Text(id))) end_ids_.push_back(id);
    AddedTokens::Flags flags = SpecialFlags(vocabulary, id);
    flags.special = kind != Kind::kAdded;
    added_.Add(Text(id), id, flags);
  }
  std::ranges::sort(end_ids_);
  end_ids_.erase(std::unique(end_ids_.begin(), end_ids_.end()), end_ids_.end());
}

Status BpeTokenizer::AddMerges(const Vocabulary& vocabulary) {
  std::string bytes;
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view merge = vocabulary.merges[i];
    const auto wrong = [&](const std::string& reason) {
      return Corrupt(path_ + ": merge " + std::to_string(i) + " (" +
                     Quoted(merge) + ") " + reason);
    };
    // No token holds a space: the alphabet spells it otherwise.
    const size_t space = merge.find(' ', 1);
    if (space == merge.npos || space + 1 == merge.size())
      return wrong("is not two tokens");
    bytes.clear();
    if (!AppendAlphabetBytes(merge.substr(0, space), &bytes))
      return wrong("is not spelled in GPT-2's byte alphabet");
    const size_t middle = bytes.size();
    if (!AppendAlphabetBytes(merge.substr(space + 1), &bytes))
      return wrong("is not spelled in GPT-2's byte alphabet");
    const std::string_view all = bytes;
    if (IsSpecialText(all)) continue;
    const TokenId left = FindText(all.substr(0, middle));
    const TokenId right = FindText(all.substr(middle));
    const TokenId joined = FindText(all);
    // Where a part is a special token, no text can reach the merge.
    if (left < 0 && IsSpecialText(all.substr(0, middle))) continue;
    if (right < 0 && IsSpecialText(all.substr(middle))) continue;
    if (left < 0 || right < 0 || joined < 0)
      return wrong("names a token that the vocabulary does not have");
    merges_.Add(left, right, joined);
  }
  return Status::Ok();
}

std::string_view BpeTokenizer::Text(TokenId id) const {
  const size_t i = static_cast<size_t>(id);
  if (id < 0 || i >= kinds_.size()) return {};
  return std::string_view(texts_).substr(offsets_[i],
                                         offsets_[i + 1] - offsets_[i]);
}

TokenId BpeTokenizer::FindText(std::string_view bytes) const {
  return index_.Find(bytes, [this](TokenId id) { return Text(id); });
}

bool BpeTokenizer::IsSpecialText(std::string_view bytes) const {
  const TokenId id = added_.Find(bytes);
  return id >= 0 && kinds_[static_cast<size_t>(id)] != Kind::kAdded;
}

Result<std::vector<TokenId>> BpeTokenizer::Encode(
    std::string_view text, const EncodeOptions& options) const {
  if (text.size() >= std::numeric_limits<uint32_t>::max())
    return InvalidArgument("the text has 4 GiB or more");
  std::vector<TokenId> ids;
  if (options.add_bos && adds_bos()) ids.push_back(bos_);
  bool space_prefix = options.add_space_prefix && add_space_prefix_;
  size_t done = 0;
  while (const auto match =
             added_.Next(text, done, options.parse_special, options.plain)) {
    DAPPLE_RETURN_IF_ERROR(
        EncodeText(text.substr(done, match->begin - done), space_prefix, &ids));
    ids.push_back(match->id);
    space_prefix = false;
    done = match->end;
  }
  DAPPLE_RETURN_IF_ERROR(EncodeText(text.substr(done), space_prefix, &ids));
  if (options.add_eos && adds_eos()) ids.push_back(eos_);
  return ids;
}

Status BpeTokenizer::EncodeText(std::string_view text, bool space_prefix,
                                std::vector<TokenId>* ids) const {
  if (text.empty()) return Status::Ok();
  std::string prefixed;
  if (space_prefix && text[0] != ' ') {
    prefixed.assign(1, ' ').append(text);
    text = prefixed;
  }
  WordCache cache(text.size());
  return pre_tokenizer_->Split(text, [&](std::string_view word) {
    // Bytes without a token are left out, as the models' own tokenizers do.
    while (!has_all_bytes_ && !word.empty()) {
      const size_t missing = MissingByte(word);
      if (missing == word.size()) break;
      if (missing > 0) EncodeWord(word.substr(0, missing), ids);
      word.remove_prefix(missing + 1);
    }
    if (word.empty()) return;
    WordCache::Entry* entry = cache.Find(word);
    if (entry == nullptr) return EncodeWord(word, ids);
    if (entry->length != word.size()) {
      const size_t before = ids->size();
      EncodeWord(word, ids);
      return cache.Fill(entry, word, std::span(*ids).subspan(before));
    }
    ids->insert(ids->end(), entry->ids, entry->ids + entry->id_count);
  });
}

size_t BpeTokenizer::MissingByte(std::string_view word) const {
  return static_cast<size_t>(
      std::ranges::find_if(word,
                           [this](char c) {
                             return merges_.Byte(
                                        static_cast<unsigned char>(c)) < 0;
                           }) -
      word.begin());
}

void BpeTokenizer::EncodeWord(std::string_view word,
                              std::vector<TokenId>* ids) const {
  if (ignore_merges_) {
    if (const TokenId id = FindText(word); id >= 0) {
      ids->push_back(id);
      return;
    }
  }
  merges_.Encode(word, ids);
}

std::string BpeTokenizer::Piece(TokenId id, bool render_special) const {
  const std::string_view text = Text(id);
  if (text.empty()) return {};
  const Kind kind = kinds_[static_cast<size_t>(id)];
  const bool hidden = kind == Kind::kControl || kind == Kind::kUnused;
  return std::string(hidden && !render_special ? std::string_view() : text);
}

std::string BpeTokenizer::Decode(const std::vector<TokenId>& ids,
                                 bool render_special) const {
  std::string text;
  const size_t first = !ids.empty() && ids[0] == bos_ ? 1 : 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    std::string piece = Piece(ids[i], render_special);
    if (i == first && add_space_prefix_ && piece.starts_with(' '))
      piece.erase(0, 1);
    text += piece;
  }
  return text;
}

bool BpeTokenizer::IsControl(TokenId id) const {
  const size_t i = static_cast<size_t>(id);
  return id >= 0 && i < kinds_.size() &&
         (kinds_[i] == Kind::kControl || kinds_[i] == Kind::kMark);
}

TokenId BpeTokenizer::FindPiece(std::string_view text) const {
  if (text.empty()) return -1;
  const TokenId added = added_.Find(text);
  return added >= 0 ? added : FindText(text);
}

// What the containers hold, which heap growth at load agrees with (see
// tests/text/bpe_memory_test.cc), and one PCRE2 program.
size_t BpeTokenizer::MemoryBytes() const {
  constexpr size_t kPatterns = 64 * 1024;
  return kPatterns + texts_.capacity() + offsets_.capacity() * 4 +
         kinds_.capacity() + index_.MemoryBytes() + merges_.MemoryBytes() +
         added_.MemoryBytes();
}

}  // namespace dapple
