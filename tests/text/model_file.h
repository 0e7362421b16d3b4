// Reads sentencepiece's own tokenizer.model, for tests that compare a GGUF
// vocabulary with the file it was made from. A reader of its own, so that it
// shares no mistake with src/.
#ifndef DAPPLE_TESTS_TEXT_MODEL_FILE_H_
#define DAPPLE_TESTS_TEXT_MODEL_FILE_H_

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace dapple::testing {

struct ModelFile {
  std::string bytes;
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
};

inline uint64_t TakeVarint(const std::string& bytes, size_t* at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at((*at)++));
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
}

// Calls on_field(number, value) for a varint (value in 8 little-endian bytes),
// fixed32 (its 4 bytes) or byte-string field.
template <class OnField>
void ForEachField(const std::string& bytes, OnField on_field) {
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t tag = TakeVarint(bytes, &at);
    std::string value;
    if ((tag & 7) == 0) {
      const uint64_t number = TakeVarint(bytes, &at);
      value.assign(reinterpret_cast<const char*>(&number), 8);
    } else if ((tag & 7) == 5) {
      value = bytes.substr(at, 4);
      at += 4;
    } else if ((tag & 7) == 2) {
      const size_t length = TakeVarint(bytes, &at);
      value = bytes.substr(at, length);
      at += length;
    } else {
      throw std::runtime_error("unexpected wire type");
    }
    on_field(tag >> 3, value);
  }
}

inline ModelFile ReadModelFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  ModelFile model;
  model.bytes.assign(std::istreambuf_iterator<char>(in), {});
  ForEachField(model.bytes, [&](uint64_t number, const std::string& value) {
    if (number != 1) return;
    std::string piece;
    float score = 0;
    int32_t type = 1;
    ForEachField(value, [&](uint64_t field, const std::string& content) {
      if (field == 1) piece = content;
      if (field == 2) std::memcpy(&score, content.data(), 4);
      if (field == 3) std::memcpy(&type, content.data(), 4);
    });
    model.pieces.push_back(piece);
    model.scores.push_back(score);
    model.types.push_back(type);
  });
  return model;
}

}  // namespace dapple::testing

#endif  // DAPPLE_TESTS_TEXT_MODEL_FILE_H_
