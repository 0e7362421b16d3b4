// MachineLimits: what this machine's processors and memory can do at most,
// measured. Speeds are judged as shares of these.
#ifndef DAPPLE_MACHINE_LIMITS_H_
#define DAPPLE_MACHINE_LIMITS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "dapple/status.h"

namespace dapple {

// Of several measurements.
struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;

  // Values in any order; zeros when there is none.
  static Spread Of(std::vector<double> values);
};

// A rate on one thread, and on all at once.
struct Limit {
  Spread one;
  Spread all;
};

struct CacheSize {
  int level = 0;
  std::string type;  // "Data", "Instruction", "Unified"
  uint64_t bytes = 0;
  std::string shared_by;  // processors, as "0-1"
};

struct MachineLimits {
  std::string processor;  // its name
  std::string target;     // instruction set of the kernels, "AVX3_ZEN4"
  int threads = 0;        // of Limit::all
  std::vector<int> cpus;  // where they were pinned; empty: nowhere
  Limit int8_ops;         // operations a second; a multiply and an add are two
  Limit int16_ops;        // 0 where prefill attention does not use them
  Limit bf16_ops;         // 0 where the processor has no bf16 dot product
  Limit f32_ops;
  Limit read_bytes;               // bytes read from memory a second
  std::vector<CacheSize> caches;  // of the first processor

  // What prefill attention multiplies in.
  const Limit& AttentionOps() const {
    return bf16_ops.all.median > 0    ? bf16_ops
           : int16_ops.all.median > 0 ? int16_ops
                                      : f32_ops;
  }
};

struct LimitOptions {
  int threads = 0;  // 0: one per physical core
  size_t repeat = 5;
  double seconds = 0.04;                      // of each measurement
  uint64_t read_bytes = uint64_t{256} << 20;  // read from; beyond any cache
};

// Takes about 20 × repeat × seconds. Threads are pinned, one a core first.
// kDoesNotFit when memory or threads cannot be had.
Result<MachineLimits> MeasureMachineLimits(const LimitOptions& options);

}  // namespace dapple

#endif  // DAPPLE_MACHINE_LIMITS_H_
