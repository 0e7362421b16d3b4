// Planner: every way to run a prompt that could serve, what each needs, and
// which one is taken under a cap.
//
// Made from sizes alone (the GGUF header, the options, the GEMM's scratch): no
// tensor is read, so a plan takes milliseconds. The same Workspace::Layout
// that plans an arena carves it, so plan and use cannot disagree.
#ifndef DAPPLE_ENGINE_PLANNER_H_
#define DAPPLE_ENGINE_PLANNER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "dapple/engine.h"
#include "dapple/memory_plan.h"
#include "engine/eviction_plan.h"
#include "engine/workspace.h"
#include "gemm/gemm.h"
#include "model/model_config.h"
#include "model/model_weights.h"

namespace dapple {

class Planner {
 public:
  // What does not depend on the options. The references outlive the Planner.
  struct Model {
    const ModelConfig& config;
    const ModelWeights& weights;
    const Gemm& gemm;
    std::string path;
    bool exact = false;  // Compute::kF32
    int threads = 1;
    size_t tile_rows = 0;
    // Program, libraries and what else is resident already.
    uint64_t resident_bytes = 0;
    // The tokenizer, where it is not among them.
    uint64_t tokenizer_bytes = 0;
    uint64_t huge_page_bytes = 0;  // 0: there are none (util/huge_pages.h)
  };

  Planner(const Model& model, const SessionOptions& options)
      : model_(model), options_(options) {}

  // kInvalidArgument where the options contradict each other. A report in
  // which nothing fits is no error here.
  Result<PlanReport> Report() const;

  // What a session needs to run a candidate.
  struct Setup {
    std::unique_ptr<EvictionPlan> eviction;
    WorkspaceShape shape;
  };
  Result<Setup> SetupOf(const PlannedSchedule& planned) const;

 private:
  std::vector<PlannedSchedule> Ways() const;
  Result<Setup> SetupOf(const PlannedSchedule& planned, size_t prompt_tokens,
                        size_t keep_tokens) const;
  Result<MemoryPlan> PlanOf(const PlannedSchedule& planned,
                            size_t prompt_tokens, size_t keep_tokens) const;
  bool Fits(const PlannedSchedule& planned, size_t prompt_tokens,
            size_t keep_tokens) const;
  // Finds the most that can be kept and fills the candidate's plan.
  Status Fill(PlannedSchedule* planned) const;
  void Choose(PlanReport* report) const;
  size_t Longest(const PlannedSchedule& planned) const;
  void Suggest(PlanReport* report) const;
  bool WantsHugePages(const PlannedSchedule& planned) const;
  void AddWeights(const PlannedSchedule& planned, size_t rows,
                  MemoryPlan* plan) const;
  bool SearchesKeep() const;

  Model model_;
  const SessionOptions& options_;
};

}  // namespace dapple

#endif  // DAPPLE_ENGINE_PLANNER_H_
