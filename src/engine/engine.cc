#include "dapple/engine.h"

#include <algorithm>

#include "engine/session.h"
#include "engine/workspace.h"

namespace dapple {
namespace {

// Enough rows that a tile's products run near the GEMM's best speed; more
// only costs activation memory.
constexpr size_t kDefaultTileRows = 256;

// What libraries may still allocate between plan and peak (thread stacks,
// stdio, the C++ runtime), measured as 0.3–1.0 MiB.
constexpr uint64_t kSlackBytes = 1u << 20;

Result<GemmBackend> ParseBackend(const EngineOptions& options) {
  if (options.compute == Compute::kF32) return GemmBackend::kF32;
  if (options.gemm == "auto") return Gemm::Choose();
  if (options.gemm == "onednn") return GemmBackend::kOneDnn;
  if (options.gemm == "highway") return GemmBackend::kHighway;
  return InvalidArgument("unknown GEMM '" + options.gemm +
                         "' (auto, onednn or highway)");
}

class EngineImpl : public Engine {
 public:
  EngineImpl(LoadedModel model, GemmBackend backend, size_t tile_rows)
      : model_(std::move(model)), backend_(backend), tile_rows_(tile_rows) {}

  const Tokenizer& tokenizer() const override { return *model_.tokenizer; }
  std::string model_name() const override { return model_.config.name; }
  size_t context() const override { return model_.config.context; }
  size_t vocab() const override { return model_.config.vocab; }
  int threads() const override { return model_.parallel.threads(); }
  std::string gemm_backend() const override {
    return std::string(Gemm::BackendName(backend_));
  }

  Result<MemoryPlan> Plan(const SessionOptions& options) const override {
    DAPPLE_ASSIGN_OR_RETURN(WorkspaceShape shape, ShapeFor(options));
    DAPPLE_ASSIGN_OR_RETURN(const EvictionPlan eviction,
                            EvictionPlan::Make(model_.config, options));
    shape.eviction = &eviction;
    DAPPLE_ASSIGN_OR_RETURN(const auto gemm, MakeGemm(shape));
    return MakePlan(*gemm, shape);
  }

  Result<std::unique_ptr<Session>> NewSession(
      const SessionOptions& options) override {
    DAPPLE_ASSIGN_OR_RETURN(WorkspaceShape shape, ShapeFor(options));
    DAPPLE_ASSIGN_OR_RETURN(EvictionPlan made,
                            EvictionPlan::Make(model_.config, options));
    auto eviction = std::make_unique<EvictionPlan>(std::move(made));
    shape.eviction = eviction.get();
    DAPPLE_ASSIGN_OR_RETURN(auto gemm, MakeGemm(shape));
    DAPPLE_ASSIGN_OR_RETURN(MemoryPlan plan, MakePlan(*gemm, shape));
    return SessionImpl::Create(model_, std::move(gemm), std::move(eviction),
                               shape, options, std::move(plan));
  }

 private:
  // Without its eviction plan.
  Result<WorkspaceShape> ShapeFor(const SessionOptions& options) const {
    if (options.prompt_tokens == 0)
      return InvalidArgument("a session needs room for at least one token");
    if (options.prompt_tokens > context() && !options.beyond_context)
      return DoesNotFit(
          "the prompt has " + std::to_string(options.prompt_tokens) +
          " tokens, but " + model_.file.path() + " was trained for " +
          std::to_string(context()) + " (--beyond-context runs it anyway)");
    WorkspaceShape shape;
    shape.prompt_tokens = options.prompt_tokens;
    shape.tile_rows = std::min(tile_rows_, options.prompt_tokens);
    shape.row_logits = options.row_logits;
    shape.exact = model_.exact;
    shape.threads = threads();
    return shape;
  }

  Result<std::unique_ptr<Gemm>> MakeGemm(const WorkspaceShape& shape) const {
    const ModelConfig& c = model_.config;
    Gemm::Config config;
    config.backend = backend_;
    config.max_rows = shape.tile_rows;
    config.threads = threads();
    config.shapes = {{c.query_width(), c.width},
                     {c.kv_width(), c.width},
                     {c.width, c.query_width()},
                     {c.ffn_width, c.width},
                     {c.width, c.ffn_width}};
    if (shape.row_logits) {
      config.shapes.push_back({HeadColumns(c), c.width});
      config.max_rows = std::max(config.max_rows, Workspace::kLogitRows);
    }
    return Gemm::Create(config);
  }

  Result<MemoryPlan> MakePlan(const Gemm& gemm,
                              const WorkspaceShape& shape) const {
    MemoryPlan plan;
    // What is resident now: program, libraries, vocabulary, GEMM kernels.
    plan.parts.push_back({"program, libraries, tokenizer",
                          ResidentBytes() + kSlackBytes, false});
    plan.parts.push_back({"weights", model_.weights.bytes, false});
    DAPPLE_ASSIGN_OR_RETURN(const std::vector<MemoryPart> arena,
                            Workspace::Plan(model_.config, gemm, shape));
    plan.parts.insert(plan.parts.end(), arena.begin(), arena.end());
    return plan;
  }

  LoadedModel model_;
  GemmBackend backend_;
  size_t tile_rows_;
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  if (options.threads < 0 || options.threads > 1024)
    return InvalidArgument("threads must be between 1 and 1024");
  DAPPLE_ASSIGN_OR_RETURN(const GemmBackend backend, ParseBackend(options));
  DAPPLE_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(options.model_path));
  LoadedModel model(std::move(file), options.threads);
  DAPPLE_ASSIGN_OR_RETURN(model.config, ModelConfig::FromGguf(model.file));
  DAPPLE_ASSIGN_OR_RETURN(model.weights,
                          ModelWeights::FromGguf(model.file, model.config));
  DAPPLE_ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Create(model.file));
  if (model.tokenizer->vocab_size() > model.config.vocab)
    return Corrupt(options.model_path + ": the tokenizer has " +
                   std::to_string(model.tokenizer->vocab_size()) +
                   " tokens, the embedding only " +
                   std::to_string(model.config.vocab));
  model.config.rope.bf16_frequencies = options.bf16_rope_frequencies;
  model.ropes = std::make_unique<ModelRopes>(model.config);
  model.exact = options.compute == Compute::kF32;
  // Starts the threads now, so that the plan sees their stacks.
  model.parallel.For(static_cast<size_t>(model.parallel.threads()),
                     [](size_t, int) {});
  const size_t tile =
      options.tile_rows != 0 ? options.tile_rows : kDefaultTileRows;
  return std::unique_ptr<Engine>(
      new EngineImpl(std::move(model), backend, tile));
}

}  // namespace dapple
