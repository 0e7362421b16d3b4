// The plan holds what dapple_quote makes of a long document. In a process of
// its own: a peak is never taken back.
#include <dapple/dapple.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../command_text.h"

namespace {

using dapple::test::Env;
using dapple::test::Prose;

template <class T>
T Sized() {
  T made{};
  made.struct_size = sizeof(T);
  return made;
}

}  // namespace

TEST_CASE("what is quoted from a long document is in the plan") {
  dapple_error error{};
  const std::string path =
      Env("DAPPLE_SOURCE_ROOT") + "/models/dapple-40m-q8_0.gguf";
  auto open = Sized<dapple_model_options>();
  open.path = path.c_str();
  open.threads = 2;
  dapple_model* model = nullptr;
  REQUIRE(dapple_open(&open, &model, &error) == DAPPLE_OK);

  const std::string document = Prose(90000);
  REQUIRE(document.size() > 500000);
  const std::string prompt = document.substr(0, 2000);
  size_t count = 0;
  std::vector<int32_t> ids(prompt.size());
  REQUIRE(dapple_encode(model, prompt.data(), prompt.size(), DAPPLE_ADD_BOS,
                        ids.data(), ids.size(), &count, &error) == DAPPLE_OK);

  auto options = Sized<dapple_session_options>();
  options.prompt_tokens = count;
  options.max_new_tokens = 96;
  options.ram_bytes = UINT64_MAX;
  // So that there is more while writing than while reading.
  options.schedule = "exact";
  options.weights = "reread";
  options.keep = "64";
  auto plan = Sized<dapple_plan>();
  REQUIRE(dapple_plan_session(model, &options, &plan, &error) == DAPPLE_OK);
  const uint64_t of_the_prompt = plan.decode_bytes;
  options.quote_tokens = SIZE_MAX;
  REQUIRE(dapple_plan_session(model, &options, &plan, &error) == DAPPLE_OK);
  const uint64_t without = plan.decode_bytes;
  CHECK(of_the_prompt > without);
  size_t quoted = 0;
  REQUIRE(dapple_encode(model, document.data(), document.size(), 0, nullptr, 0,
                        &quoted, &error) == DAPPLE_OK);
  options.quote_tokens = quoted;
  REQUIRE(dapple_plan_session(model, &options, &plan, &error) == DAPPLE_OK);
  CHECK(plan.decode_bytes > of_the_prompt);
  CHECK(plan.decode_bytes > plan.prefill_bytes);

  dapple_session* session = nullptr;
  REQUIRE_MESSAGE(
      dapple_session_new(model, &options, &session, &error) == DAPPLE_OK,
      error.message);
  REQUIRE(dapple_prefill(session, ids.data(), count, nullptr, nullptr,
                         &error) == DAPPLE_OK);
  REQUIRE_MESSAGE(dapple_quote(session, document.data(), document.size(), 1, 2,
                               &error) == DAPPLE_OK,
                  error.message);
  auto token = Sized<dapple_token>();
  dapple_code status = DAPPLE_OK;
  while (status == DAPPLE_OK) status = dapple_next(session, &token, &error);
  CHECK(status == DAPPLE_END);
  auto report = Sized<dapple_report>();
  REQUIRE(dapple_session_report(session, &report, &error) == DAPPLE_OK);
  constexpr double kMiB = 1 << 20;
  MESSAGE("planned ", static_cast<double>(report.planned_bytes) / kMiB,
          ", measured ", static_cast<double>(report.peak_bytes) / kMiB,
          " MiB; without quotes the plan would be ",
          static_cast<double>(without) / kMiB);
  CHECK(report.peak_bytes <= report.planned_bytes);
  CHECK(report.planned_bytes <= report.peak_bytes + report.peak_bytes / 10);
  // Else this test would show nothing.
  CHECK(report.peak_bytes > without);
  const std::string longer = document + Prose(120000).substr(document.size());
  REQUIRE(dapple_prefill(session, ids.data(), count, nullptr, nullptr,
                         &error) == DAPPLE_OK);
  CHECK(dapple_quote(session, longer.data(), longer.size(), 1, 2, &error) ==
        DAPPLE_DOES_NOT_FIT);
  dapple_session_close(session);
  dapple_close(model);
}
