#include "util/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "util/cpu_info.h"

namespace dapple {
namespace {

// How often a thread looks for work before it sleeps: about 50 µs, the serial
// stretch between two loops of a decoded token being 5 to 20.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

}  // namespace

// The loop that runs now. Its items are cut into one segment a thread, in
// order: a thread works through its own, so that what it reads of memory stays
// one stream, then helps with the others'. A segment's ticket is (loop number
// << 32 | next item): taking an item is one compare-and-swap, which fails when
// the loop has changed in between, so the fields read before it belong to that
// loop. Before the fields change, the tickets are closed (item number
// kItemMask): otherwise a late thread could hold the last loop's spent ticket
// against the next loop's item count.
struct Parallel::Team {
  static constexpr uint64_t kItemMask = 0xFFFFFFFFu;

  struct alignas(64) Segment {
    std::atomic<uint64_t> ticket{0};
  };

  explicit Team(int threads) : segments(static_cast<size_t>(threads)) {}

  std::vector<Segment> segments;
  uint64_t loop = 0;  // number of the current one; the caller's
  std::atomic<uint64_t> items{0};
  std::atomic<ItemThunk> thunk{nullptr};
  std::atomic<void*> context{nullptr};
  alignas(64) std::atomic<uint32_t> done{0};
  // Changes whenever there may be something to do; sleepers wait on it.
  alignas(64) std::atomic<int> signal{0};
  std::atomic<bool> open{false};  // inside of a region
  bool in_region = false;         // the same, for the calling thread
  std::vector<int> cpus;          // [threads] to be pinned to, or empty
  bool pinned = false;

  // Does items of the current loop until none is left to take.
  void Work(int thread) {
    const size_t count = segments.size();
    for (size_t i = 0; i < count; ++i) {
      size_t segment = static_cast<size_t>(thread) + i;
      if (segment >= count) segment -= count;
      WorkOn(segment, thread);
    }
  }

  void WorkOn(size_t segment, int thread) {
    std::atomic<uint64_t>& ticket = segments[segment].ticket;
    uint32_t finished = 0;
    uint64_t now = ticket.load(std::memory_order_acquire);
    for (;;) {
      const uint64_t count = items.load(std::memory_order_acquire);
      const ItemThunk run = thunk.load(std::memory_order_acquire);
      void* const with = context.load(std::memory_order_acquire);
      if ((now & kItemMask) >= count * (segment + 1) / segments.size()) break;
      if (!ticket.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel,
                                        std::memory_order_acquire))
        continue;
      run(with, static_cast<size_t>(now & kItemMask), thread);
      ++finished;
      now = ticket.load(std::memory_order_acquire);
    }
    // Once a segment: nobody but the caller waits, and for all of them. The
    // loop cannot have ended before.
    if (finished == 0) return;
    done.fetch_add(finished, std::memory_order_release);
    done.notify_one();
  }

  void Wake() {
    signal.fetch_add(1, std::memory_order_release);
    signal.notify_all();
  }

  // A thread of the team, until the region closes.
  void Serve(int thread) {
    int seen = signal.load(std::memory_order_acquire);
    while (open.load(std::memory_order_acquire)) {
      Work(thread);
      int spins = 0;
      while (signal.load(std::memory_order_acquire) == seen) {
        if (++spins < kSpins)
          Pause();
        else
          signal.wait(seen, std::memory_order_acquire);
      }
      seen = signal.load(std::memory_order_acquire);
    }
  }

  void Loop(size_t count, ItemThunk run, void* with) {
    ++loop;
    for (Segment& segment : segments)
      segment.ticket.store(loop << 32 | kItemMask, std::memory_order_release);
    done.store(0, std::memory_order_relaxed);
    items.store(count, std::memory_order_release);
    thunk.store(run, std::memory_order_release);
    context.store(with, std::memory_order_release);
    for (size_t i = 0; i < segments.size(); ++i)
      segments[i].ticket.store(loop << 32 | count * i / segments.size(),
                               std::memory_order_release);
    Wake();
    Work(0);
    // The last items are short; a thread that was put aside with one is not
    // back soon, and gets this processor's time if it is given up.
    int spins = 0;
    uint32_t finished;
    while ((finished = done.load(std::memory_order_acquire)) != count) {
      if (++spins < kSpins)
        Pause();
      else
        done.wait(finished, std::memory_order_acquire);
    }
  }
};

std::vector<int> ProcessorsOfPlaces() {
  std::vector<int> all;
  if (omp_get_proc_bind() == omp_proc_bind_false) return all;
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> cpus(static_cast<size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, cpus.data());
    all.insert(all.end(), cpus.begin(), cpus.end());
  }
  return all;
}

Parallel::Parallel(int threads, bool pin)
    : threads_(threads > 0 ? threads : UsablePhysicalCores()),
      team_(std::make_unique<Team>(threads_)) {
  if (!pin) return;
  const std::vector<int> cores = UsableCores();
  for (size_t thread = 0; thread < team_->segments.size(); ++thread)
    team_->cpus.push_back(cores[thread % cores.size()]);
}
Parallel::~Parallel() = default;
Parallel::Parallel(Parallel&&) noexcept = default;
Parallel& Parallel::operator=(Parallel&&) noexcept = default;

void Parallel::RunRegion(BodyThunk thunk, void* context) const {
  if (team_->in_region) return thunk(context);
  const bool pin = !team_->cpus.empty() && !team_->pinned;
  if (pin) PinThread(team_->cpus[0]);
  // The runtime keeps its threads: once is enough.
  team_->pinned = true;
  if (threads_ == 1) return thunk(context);
  team_->in_region = true;
  team_->open.store(true, std::memory_order_release);
#pragma omp parallel num_threads(threads_)
  {
    const int thread = omp_get_thread_num();
    if (pin && thread != 0) PinThread(team_->cpus[static_cast<size_t>(thread)]);
    if (thread == 0) {
      thunk(context);
      team_->open.store(false, std::memory_order_release);
      team_->Wake();
    } else {
      team_->Serve(thread);
    }
  }
  team_->in_region = false;
}

void Parallel::RunFor(size_t items, ItemThunk thunk, void* context) const {
  if (threads_ == 1 || items <= 1) {
    for (size_t item = 0; item < items; ++item) thunk(context, item, 0);
    return;
  }
  Region([&] { team_->Loop(items, thunk, context); });
}

}  // namespace dapple
