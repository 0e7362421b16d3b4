#include "dapple/trace.h"

#include <algorithm>
#include <cstdio>
#include <span>

#include "util/atomic_file.h"

namespace dapple {

Trace::Trace(size_t spans)
    : start_(std::chrono::steady_clock::now()),
      // Written to now, so that the plan of a run counts its pages.
      ring_(std::max<size_t>(1, spans)) {}

uint64_t Trace::overwritten() const {
  const uint64_t recorded = next_.load();
  return recorded > ring_.size() ? recorded - ring_.size() : 0;
}

std::vector<Trace::Span> Trace::Spans() const {
  const uint64_t recorded = next_.load();
  std::vector<Span> spans;
  for (uint64_t i = overwritten(); i < recorded; ++i)
    spans.push_back(ring_[i % ring_.size()]);
  std::stable_sort(
      spans.begin(), spans.end(),
      [](const Span& a, const Span& b) { return a.end_ns < b.end_ns; });
  return spans;
}

std::string Trace::ToJson() const {
  std::string json =
      "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"overwritten\":";
  json += std::to_string(overwritten()) + "},\"traceEvents\":[";
  bool first = true;
  char line[256];
  for (const Span& span : Spans()) {
    // Names are literals of the program: nothing to escape. Microseconds.
    std::snprintf(line, sizeof(line),
                  "%s\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,"
                  "\"ts\":%.3f,\"dur\":%.3f,\"args\":{",
                  first ? "" : ",", span.name, span.thread,
                  static_cast<double>(span.begin_ns) * 1e-3,
                  static_cast<double>(span.end_ns - span.begin_ns) * 1e-3);
    json += line;
    if (span.layer >= 0) json += "\"layer\":" + std::to_string(span.layer);
    if (span.count != 0)
      json += (span.layer >= 0 ? ",\"count\":" : "\"count\":") +
              std::to_string(span.count);
    json += "}}";
    first = false;
  }
  return json + "\n]}\n";
}

Status Trace::CheckPath(const std::string& path) {
  return AtomicFile::Create(path).status();
}

Status Trace::Write(const std::string& path) const {
  DAPPLE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  const std::string json = ToJson();
  DAPPLE_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(json))));
  return file.Commit();
}

}  // namespace dapple
