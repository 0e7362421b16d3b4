// Counts heap allocations of the whole process, libraries included, by
// standing in front of malloc and its kin.
//
// Not counted: what oneDNN takes inside one of its own calls and gives back
// before it returns (a few dozen bytes for its argument list, which its API
// offers no way to avoid); tests/gemm checks that it does give them back.
#ifndef DAPPLE_TESTS_ALLOCATION_COUNTER_H_
#define DAPPLE_TESTS_ALLOCATION_COUNTER_H_

#include <cstddef>

namespace dapple::test {

class AllocationCounter {
 public:
  AllocationCounter();   // starts counting
  ~AllocationCounter();  // stops
  AllocationCounter(const AllocationCounter&) = delete;
  AllocationCounter& operator=(const AllocationCounter&) = delete;

  // Stops counting; the number of allocations since construction.
  size_t Stop();

  // False under sanitizers, which own malloc themselves, and where the trap
  // (util/allocation_trap.h) does.
  static bool Works();
};

}  // namespace dapple::test

#endif  // DAPPLE_TESTS_ALLOCATION_COUNTER_H_
