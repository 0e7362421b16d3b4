#include "dapple/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <system_error>
#include <thread>

#include "kernels/peak.h"
#include "kernels/targets.h"
#include "util/cpu_info.h"

namespace dapple {
namespace {

using Clock = std::chrono::steady_clock;

// A thread's work on one thing: does a little of it, and returns how much.
using Step = double (*)(uint64_t* words, size_t count);

constexpr size_t kRounds = 20000;  // of RunPeak: below a tenth of a millisecond

double Int8Step(uint64_t*, size_t) {
  return kernels::RunPeak(kernels::PeakKind::kInt8, kRounds);
}
double Int16Step(uint64_t*, size_t) {
  return kernels::RunPeak(kernels::PeakKind::kInt16, kRounds);
}
double Bf16Step(uint64_t*, size_t) {
  return kernels::RunPeak(kernels::PeakKind::kBf16, kRounds);
}
double F32Step(uint64_t*, size_t) {
  return kernels::RunPeak(kernels::PeakKind::kF32, kRounds);
}
double ReadStep(uint64_t* words, size_t count) {
  // The result is stored where the next pass reads: it cannot be left out.
  words[0] = kernels::ReadWords(words, count);
  return static_cast<double>(count * sizeof(uint64_t));
}

struct Work {
  Step step;
  double seconds;
  uint64_t* words;  // [threads, count]
  size_t count;
};

// The rate of `threads` pinned threads together. Threads begin at the same
// moment and count what they have done when the time is over; each rate is
// over the thread's own time, as they overlap but for one step.
Result<double> RateOf(const Work& work, size_t threads,
                      const std::vector<int>& cpus, bool* pinned) {
  std::atomic<size_t> arrived{0};
  std::atomic<bool> stop{false};
  std::atomic<bool> all_pinned{true};
  std::vector<double> rates(threads);
  const auto body = [&](size_t i) {
    if (!PinThread(cpus[i % cpus.size()])) all_pinned = false;
    uint64_t* words = work.words + i * work.count;
    work.step(words, work.count);  // wakes the core up
    arrived.fetch_add(1);
    while (arrived.load() < threads)
      if (stop.load()) return;
    const auto start = Clock::now();
    double done = 0, seconds = 0;
    while (seconds < work.seconds) {
      done += work.step(words, work.count);
      seconds = std::chrono::duration<double>(Clock::now() - start).count();
    }
    rates[i] = done / seconds;
  };
  std::vector<std::thread> team;
  Status status = Status::Ok();
  try {
    for (size_t i = 0; i < threads; ++i) team.emplace_back(body, i);
  } catch (const std::system_error&) {
    stop = true;
    status = DoesNotFit("the system gives no more threads");
  }
  for (std::thread& thread : team) thread.join();
  DAPPLE_RETURN_IF_ERROR(status);
  if (!all_pinned) *pinned = false;
  double total = 0;
  for (const double rate : rates) total += rate;
  return total;
}

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "32K", "1024K", "32M" as sysfs has it; 0 when it is anything else.
uint64_t SizeOf(const std::string& text) {
  uint64_t value = 0;
  size_t i = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9' && i < 12; ++i)
    value = value * 10 + static_cast<uint64_t>(text[i] - '0');
  const std::string unit = text.substr(i);
  if (unit == "K") return value << 10;
  if (unit == "M") return value << 20;
  return unit.empty() ? value : 0;
}

std::vector<CacheSize> Caches(int cpu) {
  std::vector<CacheSize> caches;
  for (int i = 0; i < 16; ++i) {
    const std::string base = "/sys/devices/system/cpu/cpu" +
                             std::to_string(cpu) + "/cache/index" +
                             std::to_string(i) + "/";
    CacheSize cache;
    cache.level = static_cast<int>(SizeOf(FirstLine(base + "level")));
    cache.type = FirstLine(base + "type");
    cache.bytes = SizeOf(FirstLine(base + "size"));
    cache.shared_by = FirstLine(base + "shared_cpu_list");
    if (cache.level == 0) break;
    caches.push_back(std::move(cache));
  }
  return caches;
}

Result<MachineLimits> Measure(const LimitOptions& options) {
  MachineLimits limits;
  limits.processor = CpuModelName();
  limits.target = kernels::TargetName(kernels::ActiveTarget());
  limits.threads =
      options.threads > 0 ? options.threads : UsablePhysicalCores();
  limits.cpus = PinningOrder();
  limits.caches = Caches(limits.cpus[0]);
  const auto threads = static_cast<size_t>(limits.threads);
  // Whole steps of ReadWords a thread.
  const size_t count =
      std::max<size_t>(1,
                       options.read_bytes / sizeof(uint64_t) / threads / 64) *
      64;
  const std::unique_ptr<uint64_t[]> words(new uint64_t[threads * count]);
  std::memset(words.get(), 1, threads * count * sizeof(uint64_t));
  const std::pair<Step, Limit*> kinds[] = {{Int8Step, &limits.int8_ops},
                                           {Int16Step, &limits.int16_ops},
                                           {Bf16Step, &limits.bf16_ops},
                                           {F32Step, &limits.f32_ops},
                                           {ReadStep, &limits.read_bytes}};
  // Round by round, so that a machine whose speed drifts disturbs all alike.
  std::vector<double> ones[std::size(kinds)], alls[std::size(kinds)];
  bool pinned = true;
  for (size_t round = 0; round < options.repeat; ++round)
    for (size_t k = 0; k < std::size(kinds); ++k) {
      Work work{kinds[k].first, options.seconds, words.get(), threads * count};
      DAPPLE_ASSIGN_OR_RETURN(const double one,
                              RateOf(work, 1, limits.cpus, &pinned));
      ones[k].push_back(one);
      work.count = count;
      DAPPLE_ASSIGN_OR_RETURN(const double all,
                              RateOf(work, threads, limits.cpus, &pinned));
      alls[k].push_back(all);
    }
  for (size_t k = 0; k < std::size(kinds); ++k)
    *kinds[k].second = {Spread::Of(ones[k]), Spread::Of(alls[k])};
  limits.cpus.resize(std::min(limits.cpus.size(), threads));
  if (!pinned) limits.cpus.clear();
  return limits;
}

}  // namespace

Spread Spread::Of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {(values[(n - 1) / 2] + values[n / 2]) / 2, values.front(),
          values.back()};
}

Result<MachineLimits> MeasureMachineLimits(const LimitOptions& options) {
  if (options.threads < 0 || options.threads > 1024)
    return InvalidArgument("threads must be between 1 and 1024");
  if (options.repeat == 0)
    return InvalidArgument("nothing is measured in 0 rounds");
  try {
    return Measure(options);
  } catch (const std::bad_alloc&) {
    return DoesNotFit("out of memory");
  }
}

}  // namespace dapple
