// The wire form of sentencepiece's ModelProto, written by hand so that a GGUF
// vocabulary can be loaded without protobuf's headers.
//
// Field numbers are those of sentencepiece_model.proto: ModelProto {1 pieces,
// 2 trainer_spec, 3 normalizer_spec}. Owns the bytes it builds.
#ifndef DAPPLE_TEXT_MODEL_PROTO_H_
#define DAPPLE_TEXT_MODEL_PROTO_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "text/vocabulary.h"

namespace dapple {

class ModelProtoWriter {
 public:
  explicit ModelProtoWriter(size_t reserve_bytes);

  void AddPiece(std::string_view piece, float score, TokenType type);
  // A BPE model whose normalizer leaves text alone but for escaping spaces:
  // no dummy prefix (Tokenizer adds it itself, where it belongs) and all
  // spaces kept. To be called last.
  std::string Finish(bool byte_fallback) &&;

 private:
  std::string bytes_;
};

}  // namespace dapple

#endif  // DAPPLE_TEXT_MODEL_PROTO_H_
