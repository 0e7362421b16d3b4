// How queries and keys make logits, and which keys a query sees: what prefill
// attention, decode attention and probe scores have in common.
#ifndef DAPPLE_KERNELS_ATTENTION_PARAMS_H_
#define DAPPLE_KERNELS_ATTENTION_PARAMS_H_

#include <cstddef>

namespace dapple::kernels {

struct AttentionParams {
  float scale = 1.0f;  // of q·k
  // Sliding window in keys: the query at key index i sees keys
  // (i - window, i]. 0: all keys [0, i].
  size_t window = 0;
  // Logits become softcap * tanh(logit / softcap) (Gemma 2, arXiv 2408.00118
  // §2). 0: they stay.
  float softcap = 0.0f;

  // The first of `count` keys that a query at key index count - 1 sees.
  constexpr size_t FirstSeen(size_t count) const {
    return window == 0 || window >= count ? 0 : count - window;
  }
};

}  // namespace dapple::kernels

#endif  // DAPPLE_KERNELS_ATTENTION_PARAMS_H_
