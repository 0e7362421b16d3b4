// Random weights and a made-up vocabulary: a file of a real model's shape, for
// measuring speed and memory without that model.
//
// Deterministic in the tensor's name, so that a file can be made again.
#ifndef DAPPLE_CONVERT_RANDOM_WEIGHTS_H_
#define DAPPLE_CONVERT_RANDOM_WEIGHTS_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "convert/hf_config.h"
#include "convert/hf_tokenizer.h"
#include "dapple/status.h"

namespace dapple {

// Sizes that no real model reaches are refused: without weights beside it, a
// config.json could ask for any amount of them.
Status CheckRandomSizes(const HfConfig& config, const std::string& path);

class RandomValues {
 public:
  explicit RandomValues(std::string_view tensor_name);

  // Even in offset ± spread.
  void Fill(float spread, float offset, std::span<float> row);

 private:
  uint64_t state_;
};

// A "llama" vocabulary of `size` pieces: <unk>, <s>, </s>, the 256 bytes,
// printable characters, then short runs of letters, so that prose comes to two
// or three characters a token. size is at least kMinRandomVocabulary.
constexpr uint64_t kMinRandomVocabulary = 512;
HfTokenizer RandomTokenizer(uint64_t size);

}  // namespace dapple

#endif  // DAPPLE_CONVERT_RANDOM_WEIGHTS_H_
