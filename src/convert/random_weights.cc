#include "convert/random_weights.h"

#include <string>
#include <utility>

#include "convert/sentencepiece_model.h"

namespace dapple {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
constexpr uint64_t kLetters = 26;

// Vigna's SplitMix64.
uint64_t Next(uint64_t* state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// FNV-1a.
uint64_t Hash(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

class VocabularyMaker {
 public:
  explicit VocabularyMaker(uint64_t size) : size_(size) {}

  HfTokenizer Make() {
    Add("<unk>", PieceType::kUnknown);
    Add("<s>", PieceType::kControl);
    Add("</s>", PieceType::kControl);
    for (int byte = 0; byte < 256; ++byte) {
      const char* digits = "0123456789ABCDEF";
      Add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">",
          PieceType::kByte);
    }
    Add(std::string(kSpace), PieceType::kNormal);
    for (char c = '!'; c <= '~'; ++c)
      Add(std::string(1, c), PieceType::kNormal);
    for (size_t letters = 2; !Full(); ++letters) AddRuns(letters);
    out_.bos_id = 1;
    out_.eos_id = 2;
    out_.unk_id = 0;
    return std::move(out_);
  }

 private:
  bool Full() const { return out_.tokens.size() >= size_; }

  void Add(std::string text, PieceType type) {
    if (Full()) return;
    const bool merged = type == PieceType::kNormal;
    // A merge's rank; bytes and control tokens have none.
    out_.scores.push_back(merged ? -static_cast<float>(out_.tokens.size())
                                 : 0.0f);
    out_.types.push_back(static_cast<int32_t>(type));
    out_.tokens.push_back(std::move(text));
  }

  // All runs of so many characters, the first a letter or a space, in an order
  // that takes a part of them from everywhere.
  void AddRuns(size_t characters) {
    uint64_t runs = kLetters + 1;
    for (size_t i = 1; i < characters; ++i) runs *= kLetters;
    constexpr uint64_t kStep = 7919;  // a prime: shares no factor with runs
    for (uint64_t i = 0; i < runs && !Full(); ++i) {
      uint64_t number = i * kStep % runs;
      std::string rest;
      for (size_t j = 1; j < characters; ++j, number /= kLetters)
        rest.insert(rest.begin(), static_cast<char>('a' + number % kLetters));
      Add((number == kLetters
               ? std::string(kSpace)
               : std::string(1, static_cast<char>('a' + number))) +
              rest,
          PieceType::kNormal);
    }
  }

  const uint64_t size_;
  HfTokenizer out_;
};

}  // namespace

Status CheckRandomSizes(const HfConfig& config, const std::string& path) {
  // The engine's own bounds; their products stay inside 64 bits.
  const struct {
    const char* what;
    uint64_t value, least, most;
  } sizes[] = {
      {"vocab_size", config.vocab_size, kMinRandomVocabulary, 1u << 24},
      {"hidden_size", config.hidden_size, 1, 1u << 20},
      {"intermediate_size", config.ffn_size, 1, 1u << 20},
      {"num_hidden_layers", config.layers, 1, 1024},
      {"num_attention_heads", config.heads, 1, 4096},
      {"head_dim", config.head_dim, 1, 1024},
  };
  for (const auto& size : sizes)
    if (size.value < size.least || size.value > size.most)
      return InvalidArgument(
          path + ": '" + size.what + "' is " + std::to_string(size.value) +
          "; random weights are made for " + std::to_string(size.least) +
          " to " + std::to_string(size.most));
  return Status::Ok();
}

RandomValues::RandomValues(std::string_view tensor_name)
    : state_(Hash(tensor_name)) {}

void RandomValues::Fill(float spread, float offset, std::span<float> row) {
  for (float& value : row) {
    // 24 bits: every value exact in a float, from -1 to 1.
    const auto bits = static_cast<int32_t>(Next(&state_) >> 40);
    const float unit = static_cast<float>(bits - (1 << 23)) / (1 << 23);
    value = offset + spread * unit;
  }
}

HfTokenizer RandomTokenizer(uint64_t size) {
  return VocabularyMaker(size).Make();
}

}  // namespace dapple
