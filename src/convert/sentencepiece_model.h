// SentencePieceModel: what a tokenizer.model file says, decoded.
//
// The few fields needed of the serialized ModelProto (sentencepiece_model.proto
// of the SentencePiece project) are decoded by hand, bounded by the file: the
// library's own proto classes are not part of its public headers.
#ifndef DAPPLE_CONVERT_SENTENCEPIECE_MODEL_H_
#define DAPPLE_CONVERT_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "dapple/status.h"

namespace dapple {

// Same numbers in SentencePiece and in GGUF's tokenizer.ggml.token_type.
enum class PieceType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0.0f;
    PieceType type = PieceType::kNormal;
  };

  // kCorrupt for bytes that are no ModelProto; kUnsupported for models other
  // than BPE (GGUF's "llama" tokenizer merges by score, as BPE does).
  static Result<SentencePieceModel> Read(const std::string& path);

  std::vector<Piece> pieces;
  int32_t unk_id = 0;  // -1: none
  int32_t bos_id = 1;
  int32_t eos_id = 2;
  int32_t pad_id = -1;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool has_charsmap = false;  // normalizes more than spaces
  std::string normalizer;     // its name: "identity", "nmt_nfkc"
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_SENTENCEPIECE_MODEL_H_
