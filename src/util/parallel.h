// Parallel: the only place where threads (OpenMP) are used.
//
// Invariants: a result never depends on how many threads ran it, because an
// item is computed wholly by one thread. Each thread begins with its own run of
// consecutive items, then takes what others have not come to, and a loop ends
// when its *items* are done, not when every thread has come by: a thread that
// the system has put aside costs nothing unless it holds an item. (An OpenMP
// barrier waits for all threads: with two threads on a machine busy with
// compilers, decoding at 10 k tokens ran at 3 tokens/s that way, 32 now.)
//
// Owns a few hundred bytes; the OpenMP runtime owns the team's stacks.
#ifndef DAPPLE_UTIL_PARALLEL_H_
#define DAPPLE_UTIL_PARALLEL_H_

#include <cstddef>
#include <memory>
#include <type_traits>
#include <vector>

namespace dapple {

class Parallel {
 public:
  // threads >= 1. 0 means one per physical core this process may use; the big
  // ones where cores differ. `pin`: each thread, the caller's too, stays on a
  // core of its own from its first region on.
  explicit Parallel(int threads = 0, bool pin = false);
  ~Parallel();
  Parallel(Parallel&&) noexcept;
  Parallel& operator=(Parallel&&) noexcept;

  int threads() const { return threads_; }

  // Calls fn(item, thread) once for each item in [0, items); thread is in
  // [0, threads()). Returns after all items are done. fn must not throw, and
  // must not call For or Region itself. One caller at a time.
  template <class Fn>
  void For(size_t items, Fn&& fn) const {
    auto thunk = [](void* context, size_t item, int thread) {
      (*static_cast<std::remove_reference_t<Fn>*>(context))(item, thread);
    };
    RunFor(items, thunk, Erase(fn));
  }

  // Calls body() on this thread while the team stands by, so that the loops
  // inside of it start without waking threads up. body must not throw.
  template <class Fn>
  void Region(Fn&& body) const {
    auto thunk = [](void* context) {
      (*static_cast<std::remove_reference_t<Fn>*>(context))();
    };
    RunRegion(thunk, Erase(body));
  }

 private:
  using ItemThunk = void (*)(void* context, size_t item, int thread);
  using BodyThunk = void (*)(void* context);
  struct Team;

  template <class Fn>
  static void* Erase(Fn& fn) {
    return const_cast<void*>(static_cast<const void*>(&fn));
  }
  void RunFor(size_t items, ItemThunk thunk, void* context) const;
  void RunRegion(BodyThunk thunk, void* context) const;

  int threads_;
  std::unique_ptr<Team> team_;
};

// Processors that OpenMP spreads threads over where it was told to pin them
// (OMP_PROC_BIND), else none. It has pinned the first thread before main, whose
// affinity mask then names that thread's place only.
std::vector<int> ProcessorsOfPlaces();

}  // namespace dapple

#endif  // DAPPLE_UTIL_PARALLEL_H_
