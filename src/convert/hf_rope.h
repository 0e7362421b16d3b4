// HfRope: what config.json says about rotary embeddings.
//
// Read from rope_parameters (newer) or rope_theta and rope_scaling (older).
// Kinds of scaling that Dapple cannot compute are refused by name.
#ifndef DAPPLE_CONVERT_HF_ROPE_H_
#define DAPPLE_CONVERT_HF_ROPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "convert/json_file.h"
#include "dapple/status.h"

namespace dapple {

struct HfRope {
  enum class Scaling { kNone, kLinear, kLlama3, kYarn, kLongRope };

  double theta = 10000.0;
  double local_theta = 10000.0;  // of layers with a window (Gemma 3)
  double rotary_share = 1.0;     // of each head
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;               // all kinds but kNone
  double original_context = 0;       // kLlama3, kYarn, kLongRope
  double low_freq_factor = 1.0;      // kLlama3
  double high_freq_factor = 4.0;     // kLlama3
  double attention_factor = 1.0;     // of cosines and sines, beyond the
                                     // kind's own (kYarn), or all (kLongRope)
  double beta_fast = 32.0;           // kYarn
  double beta_slow = 1.0;            // kYarn
  std::vector<float> short_factors;  // kLongRope, [dims / 2]
  std::vector<float> long_factors;   // kLongRope, [dims / 2]

  // `local`: layers with a window have a base of their own. `context` is
  // max_position_embeddings. head_dim is checked and even.
  Status Read(const std::string& path, const JsonFields& top, bool local,
              uint64_t context, uint64_t head_dim);

  // Rotated dims of a head, even.
  uint64_t Dims(uint64_t head_dim) const;
  // The divisor of each frequency for kLlama3, [dims / 2]; otherwise empty.
  std::vector<float> Llama3Factors(uint64_t head_dim) const;
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_HF_ROPE_H_
