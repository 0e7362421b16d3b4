#include "needle_answer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>

#include "needle_run.h"
#include "word_tokenizer.h"

namespace dapple::tool {
namespace {

// A session whose variant v says script[v], token after token, then the end.
class ScriptedSession : public Session {
 public:
  ScriptedSession(const WordTokenizer& tokenizer,
                  const std::vector<std::string>& texts, size_t padding,
                  size_t* prefills = nullptr)
      : padding_(padding), prefills_(prefills) {
    for (const std::string& text : texts)
      script_.push_back(*tokenizer.Encode(text, {}));
    // Rows beyond the vocabulary, larger than all others.
    logits_.assign(tokenizer.vocab_size() + padding, 100.0f);
    Say();
  }

  Status Prefill(std::span<const TokenId> prompt,
                 const PrefillHooks&) override {
    CHECK(!prompt.empty());
    if (prefills_ != nullptr) ++*prefills_;
    return Status::Ok();
  }
  Status Append(TokenId id) override {
    CHECK(id == script_[variant_][at_]);
    ++at_;
    Say();
    return Status::Ok();
  }
  std::span<const float> logits() const override { return logits_; }
  Status SelectVariant(size_t variant) override {
    variant_ = variant;
    at_ = 0;
    Say();
    return Status::Ok();
  }
  const PlannedSchedule& planned() const override { return planned_; }
  KeptReport Kept() const override { return {}; }

 private:
  void Say() {
    std::fill(logits_.begin(), logits_.end() - static_cast<long>(padding_),
              0.0f);
    const auto& ids = script_[variant_];
    logits_[at_ < ids.size() ? static_cast<size_t>(ids[at_]) : 0] = 1;
  }

  size_t padding_;
  size_t* prefills_;
  std::vector<std::vector<TokenId>> script_;
  std::vector<float> logits_;
  size_t variant_ = 0, at_ = 0;
  PlannedSchedule planned_;
};

NeedleAnswer Answer(const std::string& says,
                    const std::vector<std::string>& expected,
                    size_t limit = 50) {
  WordTokenizer tokenizer;
  REQUIRE(tokenizer.Encode(says, {}).ok());
  ScriptedSession session(tokenizer, {says}, 3);
  const auto answer = AnswerGreedily(session, tokenizer, expected, limit);
  REQUIRE(answer.ok());
  return *answer;
}

TEST_CASE("an answer ends at an end token, padding logits notwithstanding") {
  const NeedleAnswer answer = Answer(" blue and red.", {"green"});
  CHECK(answer.text == " blue and red.");
  CHECK(answer.stop == "end");
  CHECK(answer.tokens == 7);
}

TEST_CASE("an answer ends at the line break after it, not before") {
  const NeedleAnswer answer = Answer("\n \nblue\nred", {"green"});
  CHECK(answer.text == "\n \nblue\n");
  CHECK(answer.stop == "newline");
}

TEST_CASE("an answer ends when all that is wanted was said") {
  const NeedleAnswer answer =
      Answer(" red, Blue, and green and more", {"blue", "red"});
  CHECK(answer.text == " red, Blue");
  CHECK(answer.stop == "found");
}

TEST_CASE("an answer has no more tokens than allowed") {
  const NeedleAnswer answer = Answer(" a b c d e f g h", {"zzz"}, 5);
  CHECK(answer.tokens == 5);
  CHECK(answer.text == " a b ");
  CHECK(answer.stop == "length");
}

TEST_CASE("an answer that repeats itself without end is given up") {
  std::string says = "it is ";
  for (int i = 0; i < 40; ++i) says += "so ";
  const NeedleAnswer answer = Answer(says, {"zzz"}, 200);
  CHECK(answer.stop == "loop");
  CHECK(answer.tokens < 30);
}

TEST_CASE("few samples already see all depths") {
  NeedlePlan plan;
  for (size_t count = 1; count <= 100; ++count) {
    plan.depths.clear();
    for (size_t i = 0; i < count; ++i)
      plan.depths.push_back(static_cast<double>(i));
    std::vector<bool> seen(count, false);
    for (size_t sample = 0; sample < count; ++sample)
      seen[static_cast<size_t>(plan.DepthOf(sample))] = true;
    CHECK(std::count(seen.begin(), seen.end(), true) ==
          static_cast<long>(count));
    CHECK(plan.DepthOf(count) == plan.DepthOf(0));
  }
}

// An engine whose sessions say the same whatever they read.
class ScriptedEngine : public Engine {
 public:
  explicit ScriptedEngine(std::vector<std::string> texts)
      : texts_(std::move(texts)) {
    for (const std::string& text : texts_)
      REQUIRE(tokenizer_.Encode(text, {}).ok());
  }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  std::string model_name() const override { return "scripted"; }
  size_t context() const override { return 1000; }
  size_t vocab() const override { return tokenizer_.vocab_size(); }
  int threads() const override { return 1; }
  std::string gemm_backend() const override { return "none"; }
  Result<PlanReport> Plan(const SessionOptions&) const override {
    return PlanReport();
  }
  Result<std::unique_ptr<Session>> NewSession(
      const SessionOptions& options) override {
    ++sessions;
    prompt_tokens = options.prompt_tokens;
    auto session =
        std::make_unique<ScriptedSession>(tokenizer_, texts_, 0, &prefills);
    return std::unique_ptr<Session>(std::move(session));
  }

  size_t sessions = 0, prefills = 0, prompt_tokens = 0;

 private:
  std::vector<std::string> texts_;
  WordTokenizer tokenizer_;
};

NeedlePlan SmallPlan() {
  NeedlePlan plan;
  plan.lengths = {500};
  plan.tasks = {FindNeedleTask("niah-2"), FindNeedleTask("multivalue")};
  plan.samples = 3;
  plan.depths = {0, 1};
  plan.prompt.chat = false;
  plan.session.max_new_tokens = 96;
  EvictionOptions dapq;
  dapq.policy = "dapq";
  dapq.keep.kind = KeepBudget::Kind::kTokens;
  dapq.keep.tokens = 16;
  plan.session.eviction = {EvictionOptions(), dapq};
  return plan;
}

TEST_CASE("all policies answer from one prefill a sample") {
  ScriptedEngine engine({" no idea.", " none either."});
  const NeedlePlan plan = SmallPlan();
  NeedleStore store;
  NeedleProgress progress("none", plan);
  const std::atomic<bool> cancel = false;
  REQUIRE(RunNeedles(engine, plan, cancel, &progress, &store).ok());
  CHECK(engine.sessions == 1);
  CHECK(engine.prefills == 6);
  REQUIRE(store.records().size() == 12);
  const NeedleRecord& record = store.records()[1];
  CHECK(record.task == "niah-2");
  CHECK(record.policy == "dapq");
  CHECK(record.keep == "16");
  CHECK(record.output == " none either.");
  CHECK(record.score == 0);
  CHECK(store.records()[0].keep == "all");
  CHECK(store.records()[0].output == " no idea.");
  CHECK(store.records()[0].prompt_tokens >= 495);

  // Again: nothing is left to do, then one more sample of each task.
  ScriptedEngine fresh({" no idea.", " none either."});
  REQUIRE(RunNeedles(fresh, plan, cancel, &progress, &store).ok());
  CHECK(fresh.sessions == 0);
  NeedlePlan more = plan;
  more.samples = 4;
  REQUIRE(RunNeedles(fresh, more, cancel, &progress, &store).ok());
  CHECK(fresh.prefills == 2);
  CHECK(store.records().size() == 16);
}

TEST_CASE("a run that is told to stop keeps what it has") {
  ScriptedEngine engine({" no idea.", " none either."});
  const NeedlePlan plan = SmallPlan();
  NeedleStore store;
  NeedleProgress progress("none", plan);
  const std::atomic<bool> cancel = true;
  const Status status = RunNeedles(engine, plan, cancel, &progress, &store);
  CHECK(status.code() == StatusCode::kCancelled);
  CHECK(store.records().empty());
}

TEST_CASE("a prompt of the whole context leaves room for the answer") {
  ScriptedEngine engine({" no."});
  NeedlePlan plan = SmallPlan();
  plan.session.eviction.resize(1);
  plan.samples = 1;
  plan.lengths = {1000};
  plan.session.max_new_tokens = 8;  // within the 1 % that a prompt may lack
  NeedleStore store;
  NeedleProgress progress("none", plan);
  const std::atomic<bool> cancel = false;
  REQUIRE(RunNeedles(engine, plan, cancel, &progress, &store).ok());
  CHECK(engine.prompt_tokens == 992);
}

}  // namespace
}  // namespace dapple::tool
