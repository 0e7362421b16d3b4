#include "tensor_progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace dapple::tool {

bool TensorProgress::Update(std::string_view tensor, uint64_t done,
                            uint64_t total) {
  const int percent =
      static_cast<int>(done * 100 / std::max<uint64_t>(total, 1));
  if (percent != shown_ && isatty(STDERR_FILENO) != 0) {
    shown_ = percent;
    std::fprintf(stderr, "\r%3d %%  %-32.32s", percent,
                 std::string(tensor).c_str());
  }
  return !guard_.flag().load();
}

void TensorProgress::Clear() {
  if (shown_ >= 0) std::fprintf(stderr, "\r%*s\r", 40, "");
}

}  // namespace dapple::tool
