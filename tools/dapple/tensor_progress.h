// Progress of a command that writes a model file tensor by tensor.
//
// While one lives, Ctrl-C and a service manager's stop are caught, so that no
// half-written file stays behind.
#ifndef DAPPLE_TOOLS_TENSOR_PROGRESS_H_
#define DAPPLE_TOOLS_TENSOR_PROGRESS_H_

#include <cstdint>
#include <string_view>

#include "interrupt.h"

namespace dapple::tool {

class TensorProgress {
 public:
  // A percentage and the tensor's name on stderr, where that is a terminal.
  // False once interrupted: the work should stop.
  bool Update(std::string_view tensor, uint64_t done, uint64_t total);
  void Clear();

 private:
  InterruptGuard guard_;
  int shown_ = -1;  // percent; -1: nothing yet
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_TENSOR_PROGRESS_H_
