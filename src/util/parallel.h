// Parallel: the only place where threads (OpenMP) are used.
//
// Invariants: a result never depends on how many threads ran it, because an
// item is computed wholly by one thread. Items are handed out dynamically, so
// a disturbed core does not stall the rest. Owns no memory; the OpenMP
// runtime owns the team's stacks, which the memory plan counts.
#ifndef DAPPLE_UTIL_PARALLEL_H_
#define DAPPLE_UTIL_PARALLEL_H_

#include <cstddef>
#include <type_traits>

namespace dapple {

class Parallel {
 public:
  // threads >= 1. 0 means one per physical core this process may use.
  explicit Parallel(int threads = 0);

  int threads() const { return threads_; }

  // Calls fn(item, thread) once for each item in [0, items); thread is in
  // [0, threads()). Returns after all items are done. fn must not throw.
  template <class Fn>
  void For(size_t items, Fn&& fn) const {
    auto thunk = [](void* context, size_t item, int thread) {
      (*static_cast<std::remove_reference_t<Fn>*>(context))(item, thread);
    };
    Run(items, thunk, const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Thunk = void (*)(void* context, size_t item, int thread);
  void Run(size_t items, Thunk thunk, void* context) const;

  int threads_;
};

}  // namespace dapple

#endif  // DAPPLE_UTIL_PARALLEL_H_
