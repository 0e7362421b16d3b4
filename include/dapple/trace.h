// Trace: where the time of a run goes, as spans in the Chrome trace format.
//
// A ring of spans, all memory taken when it is made: recording neither
// allocates nor waits. When the ring is full the oldest spans are overwritten,
// and counted. Any thread may record; the rest is for when nobody does.
// Without a trace (a null pointer) a span costs one comparison.
#ifndef DAPPLE_TRACE_H_
#define DAPPLE_TRACE_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "dapple/status.h"

namespace dapple {

class Trace {
 public:
  struct Span {
    const char* name = nullptr;  // a literal: it outlives the trace
    uint64_t begin_ns = 0;       // since the trace was made
    uint64_t end_ns = 0;
    int16_t thread = 0;
    int16_t layer = -1;  // -1: of no layer
    uint32_t count = 0;  // rows or tokens; 0: not said
  };
  static constexpr size_t kDefaultSpans = size_t{1} << 17;  // 4 MiB

  explicit Trace(size_t spans = kDefaultSpans);

  uint64_t Now() const {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(
            std::chrono::steady_clock::now() - start_)
            .count());
  }
  void Add(const Span& span) {
    ring_[next_.fetch_add(1, std::memory_order_relaxed) % ring_.size()] = span;
  }

  // Spans recorded and still there, in order of their ends.
  std::vector<Span> Spans() const;
  uint64_t overwritten() const;
  // {"traceEvents": […], …}: opens in Perfetto and chrome://tracing.
  std::string ToJson() const;
  // Whether a file can be written there; then writes it, whole or not at all.
  static Status CheckPath(const std::string& path);
  Status Write(const std::string& path) const;

 private:
  std::chrono::steady_clock::time_point start_;
  std::vector<Span> ring_;
  std::atomic<uint64_t> next_{0};
};

// Records the time from its making to its end, or from one Next to another:
// the phases of a piece of work, one after the other.
class TraceSpan {
 public:
  TraceSpan(Trace* trace, const char* name, int layer = -1, size_t count = 0,
            int thread = 0)
      : trace_(trace) {
    if (trace_ == nullptr) return;
    span_.layer = static_cast<int16_t>(layer);
    span_.thread = static_cast<int16_t>(thread);
    span_.count = static_cast<uint32_t>(count);
    span_.name = name;
    span_.begin_ns = trace_->Now();
  }
  ~TraceSpan() { Next(nullptr); }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

  // Ends the phase and begins another of the same layer; nullptr: none.
  void Next(const char* name) {
    if (trace_ == nullptr) return;
    const uint64_t now = trace_->Now();
    span_.end_ns = now;
    if (span_.name != nullptr) trace_->Add(span_);
    span_.name = name;
    span_.begin_ns = now;
  }

 private:
  Trace* trace_;
  Trace::Span span_;
};

}  // namespace dapple

#endif  // DAPPLE_TRACE_H_
