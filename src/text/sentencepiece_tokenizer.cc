#include "text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <bitset>
#include <exception>
#include <new>

#include "text/model_proto.h"
#include "text/utf8.h"
#include "text/word_cache.h"

namespace dapple {
namespace {

// While one lives, a `new` that finds no memory ends the process through
// std::terminate, with std::bad_alloc as the current exception: protobuf,
// inside of sentencepiece, would crash while it unwinds (the destructor of a
// message reads fields that were not made yet; seen with 0.1.97).
class NoUnwinding {
 public:
  NoUnwinding() : before_(std::set_new_handler(&OutOfMemory)) {}
  ~NoUnwinding() { std::set_new_handler(before_); }
  NoUnwinding(const NoUnwinding&) = delete;
  NoUnwinding& operator=(const NoUnwinding&) = delete;

 private:
  [[noreturn]] static void OutOfMemory() {
    try {
      throw std::bad_alloc();
    } catch (...) {
      std::terminate();
    }
  }
  std::new_handler before_;
};

// U+2581: sentencepiece's visible space.
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr char32_t kSpaceMarkCodePoint = 0x2581;

// Long texts go to the library word by word, or in parts of about this size. On
// a whole 500 KB document it would hold about 100 MB at once (a protobuf
// message with two strings a token); in parts, well under one.
constexpr size_t kPartBytes = 4096;

std::string WithSpaces(std::string_view piece) {
  std::string text;
  text.reserve(piece.size());
  while (!piece.empty()) {
    if (piece.starts_with(kSpaceMark)) {
      text.push_back(' ');
      piece.remove_prefix(kSpaceMark.size());
    } else {
      text.push_back(piece[0]);
      piece.remove_prefix(1);
    }
  }
  return text;
}

// The value of "<0x0A>", or -1.
int ByteValue(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>')
    return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'A' && c <= 'F') {
      value = value * 16 + (c - 'A' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

// The name under which the library holds a piece that text must not spell:
// valid UTF-8 never has its first byte.
std::string HiddenName(size_t id) {
  std::string name = std::to_string(id);
  name.insert(name.begin(), '\xFF');
  return name;
}

// Whether token i is a mark that only parse_special may yield.
bool IsSpecial(const Vocabulary& vocabulary, size_t i) {
  const TokenType type = vocabulary.types[i];
  if (type == TokenType::kControl || type == TokenType::kUnknown) return true;
  const TokenId id = static_cast<TokenId>(i);
  return type == TokenType::kUserDefined &&
         (LooksLikeTurnMark(vocabulary.pieces[i]) || id == vocabulary.bos ||
          id == vocabulary.eos || id == vocabulary.eot);
}

size_t BytePair(char first, char second) {
  return size_t{static_cast<unsigned char>(first)} << 8 |
         static_cast<unsigned char>(second);
}

void SortUnique(auto* values) {
  std::ranges::sort(*values);
  values->erase(std::unique(values->begin(), values->end()), values->end());
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> SentencepieceTokenizer::Create(
    const Vocabulary& vocabulary) {
  std::unique_ptr<SentencepieceTokenizer> tokenizer(new SentencepieceTokenizer);
  DAPPLE_RETURN_IF_ERROR(tokenizer->Load(vocabulary));
  tokenizer->FindSpecials(vocabulary);
  tokenizer->FindCutRules(vocabulary);
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

Status SentencepieceTokenizer::Load(const Vocabulary& vocabulary) {
  path_ = vocabulary.path;
  bos_ = vocabulary.bos;
  eos_ = vocabulary.eos;
  add_bos_ = vocabulary.add_bos.value_or(true);
  add_eos_ = vocabulary.add_eos.value_or(false);
  add_space_prefix_ = vocabulary.add_space_prefix.value_or(true);
  const size_t count = vocabulary.pieces.size();
  size_t text_bytes = 0;
  for (const std::string_view piece : vocabulary.pieces)
    text_bytes += piece.size();
  if (text_bytes >= size_t{1} << 30)
    return Corrupt(path_ + ": the vocabulary is too large");

  // The library wants exactly one unknown piece; files have none (then one is
  // made up behind the vocabulary) or several (Phi-3 marks its padding so).
  TokenId unknown = vocabulary.unknown;
  for (size_t i = 0; i < count && unknown < 0; ++i) {
    if (vocabulary.types[i] == TokenType::kUnknown)
      unknown = static_cast<TokenId>(i);
  }
  ModelProtoWriter proto(text_bytes + (count + 1) * 20);
  std::bitset<256> bytes_seen;
  texts_.reserve(text_bytes);
  offsets_.reserve(count + 1);
  kinds_.reserve(count);
  offsets_.push_back(0);
  for (size_t i = 0; i < count; ++i) {
    const std::string_view piece = vocabulary.pieces[i];
    const float score = vocabulary.scores[i];
    const TokenType type = vocabulary.types[i];
    if (static_cast<TokenId>(i) == unknown) {
      proto.AddPiece(HiddenName(i), score, TokenType::kUnknown);
      kinds_.push_back(Kind::kControl);
      texts_ += piece;
    } else if (IsSpecial(vocabulary, i)) {
      proto.AddPiece(HiddenName(i), score, TokenType::kControl);
      kinds_.push_back(Kind::kControl);
      texts_ += piece;
    } else if (type == TokenType::kByte) {
      const int value = ByteValue(piece);
      if (value < 0 || bytes_seen[static_cast<size_t>(value)]) {
        return Corrupt(
            path_ + ": byte token " + std::to_string(i) +
            (value < 0 ? " is not named <0x00> to <0xFF>" : " is there twice"));
      }
      bytes_seen.set(static_cast<size_t>(value));
      proto.AddPiece(piece, score, type);
      kinds_.push_back(Kind::kByte);
      texts_.push_back(static_cast<char>(value));
    } else {
      if (piece.find('\0') != piece.npos) {
        // The library keeps user-defined pieces as C strings.
        return Corrupt(path_ + ": token " + std::to_string(i) +
                       " has a zero byte");
      }
      proto.AddPiece(piece, score, type);
      kinds_.push_back(type == TokenType::kUnused ? Kind::kSilent
                                                  : Kind::kText);
      texts_ += WithSpaces(piece);
    }
    offsets_.push_back(static_cast<uint32_t>(texts_.size()));
  }
  if (bytes_seen.any() && !bytes_seen.all()) {
    return Corrupt(path_ + ": the vocabulary has " +
                   std::to_string(bytes_seen.count()) + " of 256 byte tokens");
  }
  if (unknown < 0) {
    if (bytes_seen.none()) {
      return Corrupt(path_ +
                     ": the vocabulary has neither byte tokens nor an "
                     "unknown token");
    }
    proto.AddPiece(HiddenName(count), 0.0f, TokenType::kUnknown);
  }
  may_cut_ = bytes_seen.all();
  return Hand(std::move(proto).Finish(bytes_seen.all()));
}

Status SentencepieceTokenizer::Hand(const std::string& model_proto) {
  try {
    const NoUnwinding loading;
    const auto status = processor_.LoadFromSerializedProto(model_proto);
    if (status.ok()) return Status::Ok();
    return Corrupt(path_ + ": vocabulary refused: " + status.ToString());
  } catch (const std::bad_alloc&) {
    return DoesNotFit("out of memory");
  } catch (const std::exception& error) {
    return Corrupt(path_ + ": vocabulary refused: " + error.what());
  }
}

void SentencepieceTokenizer::FindSpecials(const Vocabulary& vocabulary) {
  for (const TokenId id : {vocabulary.eos, vocabulary.eot, vocabulary.eom})
    if (id >= 0) end_ids_.push_back(id);
  for (size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i] != Kind::kControl) continue;
    const TokenId id = static_cast<TokenId>(i);
    if (EndsTurn(Text(id))) end_ids_.push_back(id);
    specials_.Add(Text(id), id, SpecialFlags(vocabulary, id));
  }
  SortUnique(&end_ids_);
}

// Why cutting there changes nothing: BPE only ever joins neighbours into a
// piece of the vocabulary, so where no piece holds the two characters beside
// each other, no join crosses, and what happens on one side never depends on
// the other (joins are ordered by score, then position, and only neighbours
// interact). The same holds for user-defined pieces. Vocabularies without byte
// tokens are never cut: there the library merges runs of unknown characters.
void SentencepieceTokenizer::FindCutRules(const Vocabulary& vocabulary) {
  for (size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i] != Kind::kText && kinds_[i] != Kind::kSilent) continue;
    std::string_view rest = vocabulary.pieces[i];
    char32_t before = 0;
    bool first = true;
    char last = 0;  // byte of the character before
    while (!rest.empty()) {
      const Utf8Step step = NextUtf8(rest);
      if (step.kind != Utf8Step::kComplete) break;  // matches no valid text
      char32_t here = step.code_point;
      if (here == kSpaceMarkCodePoint) here = ' ';
      if (!first && here == ' ') joins_space_.push_back(before);
      if (!first && before == '\n') joins_newline_.push_back(here);
      if (!first) joins_.set(BytePair(last, here == ' ' ? ' ' : rest[0]));
      last = here == ' ' ? ' ' : rest[step.length - 1];
      before = here;
      first = false;
      rest.remove_prefix(step.length);
    }
  }
  SortUnique(&joins_space_);
  SortUnique(&joins_newline_);
}

// Whether `text` may be cut at `at` (in it, > 0), where a space begins or a
// newline ends.
bool SentencepieceTokenizer::CutsWords(std::string_view text, size_t at) const {
  const auto has = [](const std::vector<char32_t>& set, char32_t c) {
    return std::ranges::binary_search(set, c);
  };
  if (text[at] == ' ') {
    size_t start = at - 1;  // of the character before
    while ((static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    char32_t before = NextUtf8(text.substr(start)).code_point;
    if (before == kSpaceMarkCodePoint) before = ' ';
    return !has(joins_space_, before);
  }
  char32_t here = NextUtf8(text.substr(at)).code_point;
  if (here == kSpaceMarkCodePoint) here = ' ';
  return !has(joins_newline_, here);
}

// The first place at or after `from` (> 0) where `text` may be cut, or its end.
size_t SentencepieceTokenizer::NextCut(std::string_view text,
                                       size_t from) const {
  if (!may_cut_) return text.size();
  for (size_t at = from; at < text.size(); ++at) {
    if (text[at] == ' ' || text[at - 1] == '\n') {
      if (CutsWords(text, at)) return at;
      continue;
    }
    // Inside a word: where no piece has these two bytes side by side, at the
    // end of one character and the start of the next. (A visible space in the
    // text counts as a space there: no cut beside one.)
    const bool boundary = (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
    if (boundary && !joins_[BytePair(text[at - 1], text[at])] &&
        text[at - 1] != '\x81' && text[at] != '\xE2')
      return at;
  }
  return text.size();
}

// The end of the text's first word, or of its first part if that word is longer
// than a part.
size_t SentencepieceTokenizer::NextWord(std::string_view text) const {
  if (may_cut_) {
    const size_t end = std::min(text.size(), kPartBytes);
    for (size_t at = 1; at < end; ++at)
      if ((text[at] == ' ' || text[at - 1] == '\n') && CutsWords(text, at))
        return at;
  }
  return NextPart(text);
}

size_t SentencepieceTokenizer::NextPart(std::string_view text) const {
  return text.size() <= kPartBytes ? text.size() : NextCut(text, kPartBytes);
}

Status SentencepieceTokenizer::EncodePart(std::string_view part,
                                          std::vector<int>* part_ids,
                                          std::vector<TokenId>* ids) const {
  static_assert(sizeof(int) == sizeof(TokenId));
  const NoUnwinding encoding;
  const auto status = processor_.Encode({part.data(), part.size()}, part_ids);
  if (!status.ok()) return Internal(path_ + ": " + status.ToString());
  for (const int id : *part_ids) {
    // The made-up unknown token lies behind the vocabulary.
    if (id < 0 || static_cast<size_t>(id) >= kinds_.size())
      return Internal(path_ + ": the text has no tokens in this vocabulary");
    ids->push_back(id);
  }
  return Status::Ok();
}

Status SentencepieceTokenizer::EncodePlain(std::string_view text,
                                           bool space_prefix,
                                           std::vector<TokenId>* ids) const {
  if (text.empty()) return Status::Ok();
  WordCache cache(text.size());
  std::vector<int> part_ids;
  if (space_prefix) {
    const size_t cut = cache.enabled() ? NextWord(text) : NextPart(text);
    std::string prefixed(1, ' ');
    prefixed.append(text.substr(0, cut));
    DAPPLE_RETURN_IF_ERROR(EncodePart(prefixed, &part_ids, ids));
    text.remove_prefix(cut);
  }
  while (!text.empty()) {
    // Words are looked up where they can be; a short text is one part.
    const std::string_view part =
        text.substr(0, cache.enabled() ? NextWord(text) : NextPart(text));
    text.remove_prefix(part.size());
    WordCache::Entry* entry = cache.Find(part);
    if (entry != nullptr && entry->length == part.size()) {
      ids->insert(ids->end(), entry->ids, entry->ids + entry->id_count);
      continue;
    }
    const size_t before = ids->size();
    DAPPLE_RETURN_IF_ERROR(EncodePart(part, &part_ids, ids));
    if (entry != nullptr)
      WordCache::Fill(entry, part, std::span(*ids).subspan(before));
  }
  return Status::Ok();
}

Result<std::vector<TokenId>> SentencepieceTokenizer::Encode(
    std::string_view text, const EncodeOptions& options) const {
  size_t bad = 0;
  if (!IsValidUtf8(text, &bad)) {
    return InvalidArgument("the text is not valid UTF-8 (byte " +
                           std::to_string(bad) + ")");
  }
  std::vector<TokenId> ids;
  if (options.add_bos && adds_bos()) ids.push_back(bos_);
  // The space prefix belongs to the text that begins the sequence, and only if
  // no special token comes before it: text after one follows a token already.
  bool space_prefix = options.add_space_prefix && add_space_prefix_;
  try {
    size_t done = 0;
    while (const auto match = specials_.Next(text, done, options.parse_special,
                                             options.plain)) {
      DAPPLE_RETURN_IF_ERROR(EncodePlain(text.substr(done, match->begin - done),
                                         space_prefix, &ids));
      ids.push_back(match->id);
      space_prefix = options.space_after_special && add_space_prefix_;
      done = match->end;
    }
    DAPPLE_RETURN_IF_ERROR(EncodePlain(text.substr(done), space_prefix, &ids));
    if (options.add_eos && adds_eos()) ids.push_back(eos_);
  } catch (const std::bad_alloc&) {
    return DoesNotFit("out of memory");
  } catch (const std::exception& error) {
    return Internal(path_ + ": " + error.what());
  }
  return ids;
}

std::string_view SentencepieceTokenizer::Text(TokenId id) const {
  const size_t i = static_cast<size_t>(id);
  if (id < 0 || i >= kinds_.size()) return {};
  return std::string_view(texts_).substr(offsets_[i],
                                         offsets_[i + 1] - offsets_[i]);
}

std::string SentencepieceTokenizer::Piece(TokenId id,
                                          bool render_special) const {
  const std::string_view text = Text(id);
  if (text.empty()) return {};
  const Kind kind = kinds_[static_cast<size_t>(id)];
  const bool shown = kind == Kind::kText || kind == Kind::kByte;
  return std::string(shown || render_special ? text : std::string_view());
}

std::string SentencepieceTokenizer::Decode(const std::vector<TokenId>& ids,
                                           bool render_special) const {
  std::string text;
  // The prefix can only be at the very start, or behind the bos.
  const size_t first = !ids.empty() && ids[0] == bos_ ? 1 : 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    std::string piece = Piece(ids[i], render_special);
    if (i == first && add_space_prefix_ && !IsControl(ids[i]) &&
        piece.starts_with(' '))
      piece.erase(0, 1);
    text += piece;
  }
  return text;
}

bool SentencepieceTokenizer::IsControl(TokenId id) const {
  const size_t i = static_cast<size_t>(id);
  return id >= 0 && i < kinds_.size() && kinds_[i] == Kind::kControl;
}

TokenId SentencepieceTokenizer::FindPiece(std::string_view text) const {
  TokenId byte = -1;  // a piece of its own wins over a byte token
  for (size_t i = 0; i < kinds_.size(); ++i) {
    const TokenId id = static_cast<TokenId>(i);
    if (Text(id) != text) continue;
    if (kinds_[i] != Kind::kByte) return id;
    byte = id;
  }
  return byte;
}

// Measured as heap growth with Debian 12's library: 237 kB for 1,024 pieces,
// 1,684 kB for 8,192, 6,660 kB for 32,000, 65,450 kB for 256,000 (longer ones,
// which take a heap block each). A piece costs it a message with a string and a
// hash table's node; our own copy of the text comes on top.
size_t SentencepieceTokenizer::MemoryBytes() const {
  const size_t bytes_a_piece = kinds_.size() > 128 * 1024 ? 240 : 208;
  // One part of a text being encoded, and the words seen before.
  constexpr size_t kFixed = 232 * 1024;
  return kFixed + kinds_.size() * bytes_a_piece + texts_.capacity() +
         specials_.MemoryBytes();
}

}  // namespace dapple
