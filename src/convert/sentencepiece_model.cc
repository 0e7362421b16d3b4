#include "convert/sentencepiece_model.h"

#include <bit>
#include <cstring>
#include <string_view>

#include "util/mmap_file.h"

namespace dapple {
namespace {

// Field numbers of sentencepiece_model.proto.
enum ModelField : uint64_t { kPieces = 1, kTrainer = 2, kNormalizer = 3 };
enum PieceField : uint64_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerField : uint64_t {
  kModelType = 3,
  kWhitespaceAsSuffix = 24,
  kUnkId = 40,
  kBosId = 41,
  kEosId = 42,
  kPadId = 43,
};
enum NormalizerField : uint64_t {
  kName = 1,
  kCharsmap = 2,
  kDummyPrefix = 3,
  kExtraWhitespaces = 4,
};
constexpr uint64_t kModelTypeBpe = 2;

// Walks the fields of one protobuf message: bounded, no copies.
class FieldReader {
 public:
  enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  explicit FieldReader(std::string_view message) : rest_(message) {}

  // False at the end or at an error (see bad()).
  bool Next() {
    if (rest_.empty() || bad_) return false;
    uint64_t tag;
    if (!ReadVarint(&tag)) return Fail();
    field_ = tag >> 3;
    wire_ = tag & 7;
    number_ = 0;
    bytes_ = {};
    switch (wire_) {
      case kVarint:
        return ReadVarint(&number_) || Fail();
      case kFixed64:
        return Take(8) || Fail();
      case kFixed32:
        return Take(4) || Fail();
      case kBytes:
        return (ReadVarint(&number_) && Take(number_)) || Fail();
      default:
        return Fail();
    }
  }

  bool bad() const { return bad_; }
  uint64_t field() const { return field_; }
  bool Is(uint64_t field, Wire wire) const {
    return field_ == field && wire_ == wire;
  }
  uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_; }
  float fixed_float() const {
    uint32_t bits = 0;
    std::memcpy(&bits, bytes_.data(), sizeof(bits));
    return std::bit_cast<float>(bits);
  }

 private:
  bool Fail() {
    bad_ = true;
    return false;
  }

  bool Take(uint64_t size) {
    if (size > rest_.size()) return false;
    bytes_ = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  bool ReadVarint(uint64_t* value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  std::string_view rest_;
  bool bad_ = false;
  uint64_t field_ = 0;
  uint64_t wire_ = 0;
  uint64_t number_ = 0;     // of a varint
  std::string_view bytes_;  // of the other wire types
};

bool ReadPiece(std::string_view message, SentencePieceModel::Piece* piece) {
  FieldReader reader(message);
  while (reader.Next()) {
    if (reader.Is(kText, FieldReader::kBytes)) piece->text = reader.bytes();
    if (reader.Is(kScore, FieldReader::kFixed32))
      piece->score = reader.fixed_float();
    if (reader.Is(kType, FieldReader::kVarint)) {
      if (reader.number() < 1 || reader.number() > 6) return false;
      piece->type = static_cast<PieceType>(reader.number());
    }
  }
  return !reader.bad() && !piece->text.empty();
}

// Ids are int32, sign-extended to 64 bits on the wire.
int32_t ToId(uint64_t number) {
  return static_cast<int32_t>(static_cast<uint32_t>(number));
}

Status ReadTrainer(const std::string& path, std::string_view message,
                   SentencePieceModel* model) {
  FieldReader reader(message);
  uint64_t model_type = 1;  // unigram, by the proto's default
  while (reader.Next()) {
    switch (reader.field()) {
      case kModelType:
        model_type = reader.number();
        break;
      case kUnkId:
        model->unk_id = ToId(reader.number());
        break;
      case kBosId:
        model->bos_id = ToId(reader.number());
        break;
      case kEosId:
        model->eos_id = ToId(reader.number());
        break;
      case kPadId:
        model->pad_id = ToId(reader.number());
        break;
      case kWhitespaceAsSuffix:
        if (reader.number() != 0)
          return Unsupported(path +
                             ": a tokenizer that treats white space as "
                             "a suffix is not supported");
        break;
      default:
        break;
    }
  }
  if (reader.bad()) return Corrupt(path + ": not a SentencePiece model");
  if (model_type != kModelTypeBpe)
    return Unsupported(path + ": SentencePiece model type " +
                       std::to_string(model_type) +
                       " is not supported (2, BPE, is)");
  return Status::Ok();
}

bool ReadNormalizer(std::string_view message, SentencePieceModel* model) {
  FieldReader reader(message);
  while (reader.Next()) {
    if (reader.Is(kName, FieldReader::kBytes))
      model->normalizer = reader.bytes();
    if (reader.Is(kCharsmap, FieldReader::kBytes))
      model->has_charsmap = !reader.bytes().empty();
    if (reader.Is(kDummyPrefix, FieldReader::kVarint))
      model->add_dummy_prefix = reader.number() != 0;
    if (reader.Is(kExtraWhitespaces, FieldReader::kVarint))
      model->remove_extra_whitespaces = reader.number() != 0;
  }
  return !reader.bad();
}

}  // namespace

Result<SentencePieceModel> SentencePieceModel::Read(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(const MmapFile file, MmapFile::Open(path));
  const std::string_view bytes(
      reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  SentencePieceModel model;
  const Status corrupt = Corrupt(path + ": not a SentencePiece model");
  bool has_trainer = false;
  FieldReader reader(bytes);
  while (reader.Next()) {
    if (reader.Is(kPieces, FieldReader::kBytes)) {
      if (!ReadPiece(reader.bytes(), &model.pieces.emplace_back()))
        return Corrupt(path + ": piece " +
                       std::to_string(model.pieces.size() - 1) +
                       " is malformed");
    } else if (reader.Is(kTrainer, FieldReader::kBytes)) {
      has_trainer = true;
      DAPPLE_RETURN_IF_ERROR(ReadTrainer(path, reader.bytes(), &model));
    } else if (reader.Is(kNormalizer, FieldReader::kBytes)) {
      if (!ReadNormalizer(reader.bytes(), &model)) return corrupt;
    }
  }
  if (reader.bad() || model.pieces.empty() || !has_trainer) return corrupt;
  return model;
}

}  // namespace dapple
