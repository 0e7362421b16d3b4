#include "text/model_proto.h"

#include <bit>
#include <cstdint>

namespace dapple {
namespace {

enum WireType { kVarint = 0, kBytes = 2, kFixed32 = 5 };

void PutVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7)
    out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

void PutTag(unsigned field, WireType type, std::string* out) {
  PutVarint((uint64_t{field} << 3) | type, out);
}

void PutInt(unsigned field, uint64_t value, std::string* out) {
  PutTag(field, kVarint, out);
  PutVarint(value, out);
}

void PutString(unsigned field, std::string_view value, std::string* out) {
  PutTag(field, kBytes, out);
  PutVarint(value.size(), out);
  out->append(value);
}

void PutFloat(unsigned field, float value, std::string* out) {
  PutTag(field, kFixed32, out);
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8)
    out->push_back(static_cast<char>(bits >> shift));
}

}  // namespace

ModelProtoWriter::ModelProtoWriter(size_t reserve_bytes) {
  bytes_.reserve(reserve_bytes);
}

void ModelProtoWriter::AddPiece(std::string_view piece, float score,
                                TokenType type) {
  std::string message;
  PutString(1, piece, &message);
  PutFloat(2, score, &message);
  PutInt(3, static_cast<uint64_t>(type), &message);
  PutString(1, message, &bytes_);
}

std::string ModelProtoWriter::Finish(bool byte_fallback) && {
  std::string trainer;
  PutInt(3, 2, &trainer);               // model_type = BPE
  PutInt(35, byte_fallback, &trainer);  // byte_fallback
  PutString(2, trainer, &bytes_);
  std::string normalizer;
  PutString(1, "identity", &normalizer);  // name
  PutInt(3, 0, &normalizer);              // add_dummy_prefix
  PutInt(4, 0, &normalizer);              // remove_extra_whitespaces
  PutInt(5, 1, &normalizer);              // escape_whitespaces
  PutString(3, normalizer, &bytes_);
  return std::move(bytes_);
}

}  // namespace dapple
