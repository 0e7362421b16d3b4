// Sampler: picks the next token from logits.
//
// Order of operations, as is usual: repetition penalty (Keskar et al. 2019,
// CTRL), temperature, top-k, top-p (Holtzman et al. 2020), min-p. Temperature
// 0 is greedy. Allocates only at construction.
#ifndef DAPPLE_SAMPLER_H_
#define DAPPLE_SAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "dapple/status.h"
#include "dapple/tokenizer.h"

namespace dapple {

struct SamplerOptions {
  float temperature = 0.0f;         // >= 0; 0: the largest logit wins
  int top_k = 0;                    // keep the k largest; 0: all
  float top_p = 1.0f;               // (0, 1]: keep the smallest set of mass p
  float min_p = 0.0f;               // [0, 1]: drop below min_p × the largest
  float repetition_penalty = 1.0f;  // > 0; 1: none
  int repetition_window = 64;       // newest tokens that are penalised
  uint64_t seed = 0;

  // kInvalidArgument naming the option that is out of range.
  Status Validate() const;
};

class Sampler {
 public:
  Sampler(const SamplerOptions& options, size_t vocab);

  // logits: [vocab]. `allowed`: sorted ids to choose among; empty for all.
  // Ties go to the smallest id.
  TokenId Sample(std::span<const float> logits,
                 std::span<const TokenId> allowed);
  // Tells the sampler what was chosen (or was in the prompt), for the
  // repetition penalty.
  void Observe(TokenId id);

 private:
  struct Candidate {
    float logit;
    TokenId id;
  };
  float Penalised(float logit, TokenId id) const;

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::vector<Candidate> candidates_;  // capacity: vocab
  std::vector<TokenId> recent_;        // ring of repetition_window ids
  size_t observed_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_SAMPLER_H_
