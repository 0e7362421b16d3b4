#include "util/parallel.h"

#include <omp.h>

#include <algorithm>

#include "util/cpu_info.h"

namespace dapple {

Parallel::Parallel(int threads)
    : threads_(threads > 0 ? threads : UsablePhysicalCores()) {}

void Parallel::Run(size_t items, Thunk thunk, void* context) const {
  if (threads_ == 1 || items <= 1) {
    for (size_t item = 0; item < items; ++item) thunk(context, item, 0);
    return;
  }
  const int team = static_cast<int>(
      std::min<size_t>(static_cast<size_t>(threads_), items));
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
  for (size_t item = 0; item < items; ++item)
    thunk(context, item, omp_get_thread_num());
}

}  // namespace dapple
