#include "dapple/trace.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "temporary_folder.h"

namespace dapple {
namespace {

TEST_CASE("phases follow each other without a gap, inside their parent") {
  Trace trace(16);
  {
    const TraceSpan outer(&trace, "outer", -1, 9);
    TraceSpan phase(&trace, "first", 3, 256, 1);
    phase.Next("second");
    phase.Next(nullptr);
    phase.Next("third");
  }
  const std::vector<Trace::Span> spans = trace.Spans();
  REQUIRE(spans.size() == 4);
  CHECK(std::string(spans[0].name) == "first");
  CHECK(std::string(spans[1].name) == "second");
  CHECK(std::string(spans[2].name) == "third");
  CHECK(std::string(spans[3].name) == "outer");
  CHECK(spans[0].end_ns == spans[1].begin_ns);
  CHECK(spans[1].end_ns <= spans[2].begin_ns);
  for (const Trace::Span& span : spans) {
    CHECK(span.begin_ns <= span.end_ns);
    CHECK(span.begin_ns >= spans[3].begin_ns);
    CHECK(span.end_ns <= spans[3].end_ns);
  }
  CHECK(spans[2].layer == 3);
  CHECK(spans[2].count == 256);
  CHECK(spans[2].thread == 1);
  CHECK(spans[3].layer == -1);
}

TEST_CASE("a full ring keeps the newest spans and counts the others") {
  Trace trace(4);
  for (uint32_t i = 0; i < 11; ++i) trace.Add({"span", i, i + 1, 0, -1, i});
  CHECK(trace.overwritten() == 7);
  const std::vector<Trace::Span> spans = trace.Spans();
  REQUIRE(spans.size() == 4);
  for (uint32_t i = 0; i < 4; ++i) CHECK(spans[i].count == 7 + i);
  CHECK(trace.ToJson().find("\"overwritten\":7") != std::string::npos);
}

TEST_CASE("spans of several threads are all there") {
  Trace trace(1000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) TraceSpan(&trace, "work", i, 1, t);
    });
  for (std::thread& thread : threads) thread.join();
  size_t of[3] = {};
  for (const Trace::Span& span : trace.Spans()) ++of[span.thread];
  for (const size_t count : of) CHECK(count == 100);
}

TEST_CASE("a span without a trace does nothing") {
  TraceSpan span(nullptr, "nothing");
  span.Next("more");
}

TEST_CASE("a trace is written whole, or refused with its path") {
  const TemporaryFolder folder;
  Trace trace(8);
  trace.Add({"a phase", 1500, 4500, 2, 7, 256});
  const std::string path = folder.Write("trace.json", "old");
  REQUIRE(Trace::CheckPath(path).ok());
  REQUIRE(trace.Write(path).ok());
  std::ifstream file(path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  CHECK(text ==
        "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"overwritten\":0},"
        "\"traceEvents\":[\n{\"name\":\"a phase\",\"ph\":\"X\",\"pid\":1,"
        "\"tid\":2,\"ts\":1.500,\"dur\":3.000,\"args\":{\"layer\":7,"
        "\"count\":256}}\n]}\n");
  const Status refused = Trace::CheckPath("/nonexistent/trace.json");
  CHECK_FALSE(refused.ok());
  CHECK(refused.message().find("/nonexistent/trace.json") == 0);
}

}  // namespace
}  // namespace dapple
