#include "dapple/engine.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <bit>
#include <new>

#include "engine/planner.h"
#include "engine/session.h"
#include "engine/workspace.h"
#include "model/huge_weights.h"
#include "util/cpu_info.h"
#include "util/huge_pages.h"

namespace dapple {
namespace {

// Enough rows that a tile's products run near the GEMM's best speed; more
// only costs activation memory.
constexpr size_t kDefaultTileRows = 256;

// No exception leaves the library. The text is short enough to need no memory.
template <class Fn>
auto OrOutOfMemory(Fn&& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (const std::bad_alloc&) {
    return DoesNotFit("out of memory");
  }
}

Result<GemmBackend> ParseBackend(const EngineOptions& options) {
  if (options.compute == Compute::kF32) return GemmBackend::kF32;
  if (options.gemm == "auto") return GemmBackend::kAuto;
  if (options.gemm == "onednn") return GemmBackend::kOneDnn;
  if (options.gemm == "highway") return GemmBackend::kHighway;
  if (options.gemm == "int8") return GemmBackend::kInt8;
  return InvalidArgument("unknown GEMM '" + options.gemm +
                         "' (auto, onednn, highway or int8)");
}

// What kAuto means for these weights.
GemmBackend Resolve(GemmBackend backend, const ModelWeights& weights) {
  if (backend != GemmBackend::kAuto) return backend;
  const auto quantized = [](const WeightMatrix& w) {
    return InfoOf(w.type).block_elements > 1;
  };
  return Gemm::Choose(std::all_of(
      weights.layers.begin(), weights.layers.end(), [&](const LayerWeights& l) {
        return quantized(l.query) && quantized(l.key) && quantized(l.value) &&
               quantized(l.output) && quantized(l.gate) && quantized(l.up) &&
               quantized(l.down);
      }));
}

size_t TileRows(const EngineOptions& options) {
  return options.tile_rows != 0 ? options.tile_rows : kDefaultTileRows;
}

Result<std::unique_ptr<Gemm>> MakeGemm(const ModelConfig& c,
                                       GemmBackend backend, int threads,
                                       size_t max_rows, bool row_logits) {
  Gemm::Config config;
  config.backend = backend;
  config.max_rows = max_rows;
  config.threads = threads;
  config.shapes = {{c.query_width(), c.width},
                   {c.kv_width(), c.width},
                   {c.width, c.query_width()},
                   {c.ffn_width, c.width},
                   {c.width, c.ffn_width}};
  if (row_logits) {
    config.shapes.push_back({HeadColumns(c), c.width});
    config.max_rows = std::max(config.max_rows, Workspace::kLogitRows);
  }
  return Gemm::Create(config);
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

  ModelWork Work(size_t prompt_tokens) const override {
    const ModelConfig& c = model_.config;
    const auto n = static_cast<double>(prompt_tokens);
    const auto elements = [](const WeightMatrix& w) {
      return static_cast<double>(w.n) * static_cast<double>(w.k);
    };
    ModelWork work;
    for (size_t layer = 0; layer < c.layers; ++layer) {
      const LayerWeights& w = model_.weights.layers[layer];
      const bool last = layer + 1 == c.layers;
      for (const WeightMatrix* matrix : w.Matrices()) {
        const bool every_row = !last || matrix == &w.key || matrix == &w.value;
        work.linear_ops += 2 * elements(*matrix) * (every_row ? n : 1);
        work.token_weight_bytes += PagesOf(*matrix).size();
      }
      // Row i sees i + 1 keys, or its window.
      const size_t window = c.WindowOf(layer);
      const double w_rows =
          window == 0 ? n : std::min(n, static_cast<double>(window));
      const double keys = w_rows * (w_rows + 1) / 2 + (n - w_rows) * w_rows;
      // Two products of 2 × head_dim operations a key.
      work.attention_ops +=
          4 * static_cast<double>(c.query_width()) * (last ? w_rows : keys);
    }
    work.token_weight_bytes += PagesOf(model_.weights.head).size();
    return work;
  }

  Result<PlanReport> Plan(const SessionOptions& options) const override {
    return OrOutOfMemory([&]() -> Result<PlanReport> {
      DAPPLE_ASSIGN_OR_RETURN(const auto gemm, MakeGemm(options));
      return PlannerOf(*gemm, options).Report();
    });
  }

  Result<std::unique_ptr<Session>> NewSession(
      const SessionOptions& options) override {
    return OrOutOfMemory([&] { return MakeSession(options); });
  }

 private:
  Result<std::unique_ptr<Session>> MakeSession(const SessionOptions& options) {
    DAPPLE_ASSIGN_OR_RETURN(auto gemm, MakeGemm(options));
    const Planner planner = PlannerOf(*gemm, options);
    DAPPLE_ASSIGN_OR_RETURN(PlanReport report, planner.Report());
    if (!report.fits()) return NothingFits(report);
    DAPPLE_ASSIGN_OR_RETURN(Planner::Setup setup,
                            planner.SetupOf(report.Chosen()));
    if (!report.Chosen().huge_pages)
      huge_.reset();  // the plan has no room for it
    else if (huge_ == nullptr)
      huge_ = HugeWeights::Copy(model_.weights, model_.parallel);
    return SessionImpl::Create(model_, huge_, std::move(gemm),
                               std::move(setup.eviction), setup.shape, options,
                               std::move(report.candidates[report.chosen]));
  }

  Result<std::unique_ptr<Gemm>> MakeGemm(const SessionOptions& options) const {
    return dapple::MakeGemm(model_.config, backend_, threads(), tile_rows_,
                            options.row_logits);
  }

  Planner PlannerOf(const Gemm& gemm, const SessionOptions& options) const {
#ifdef __GLIBC__
    // What tokenizing a long text freed would be planned, and stay, for
    // nothing.
    malloc_trim(0);
#endif
    // The weights' own pages have a line of their own, and those of an earlier
    // session may be resident still: so the program's files are measured once,
    // when the first Gemm has brought its library in and before any weight is
    // read, and only the heap anew.
    if (program_bytes_ == 0) program_bytes_ = ResidentFileBytes();
    // So has a copy of the weights, unless a session that lives keeps it.
    const uint64_t copied =
        std::min(ResidentHeapBytes(),
                 huge_.use_count() == 1 ? huge_->bytes() : uint64_t{0});
    return Planner(
        {.config = model_.config,
         .weights = model_.weights,
         .gemm = gemm,
         .path = model_.file.path(),
         .exact = model_.exact,
         .threads = threads(),
         .tile_rows = tile_rows_,
         .resident_bytes = program_bytes_ + ResidentHeapBytes() - copied,
         .huge_page_bytes = HugePageBytes()},
        options);
  }

  LoadedModel model_;
  GemmBackend backend_;
  size_t tile_rows_;
  mutable uint64_t program_bytes_ = 0;  // 0: not measured yet
  // Kept for the next session.
  std::shared_ptr<const HugeWeights> huge_;
};

// Heap and stacks a vocabulary will take, from its size in the file.
uint64_t EstimateTokenizer(const GgufFile& file) {
  const GgufValue* tokens = file.Find("tokenizer.ggml.tokens");
  if (tokens == nullptr) return 0;
  const GgufValue* merges = file.Find("tokenizer.ggml.merges");
  if (merges != nullptr && merges->type == GgufType::kArray) {
    // Tables of 16 and 4 bytes a slot, as BpeMerges and PieceIndex size them.
    const uint64_t rules = std::min<uint64_t>(merges->count, 1 << 30);
    const uint64_t count = std::min<uint64_t>(tokens->count, 1 << 30);
    return 16 * std::bit_ceil(rules + rules * 3 / 5) +
           4 * std::bit_ceil(count + count / 2) + 5 * count +
           tokens->bytes.size();
  }
  // Measured: 8 k to 256 k pieces.
  constexpr uint64_t kBytesPerToken = 192;
  return tokens->count * kBytesPerToken + 2 * tokens->bytes.size();
}

Result<std::unique_ptr<Engine>> OpenEngine(const EngineOptions& options) {
  if (options.threads < 0 || options.threads > 1024)
    return InvalidArgument("threads must be between 1 and 1024");
  DAPPLE_ASSIGN_OR_RETURN(const GemmBackend backend, ParseBackend(options));
  DAPPLE_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(options.model_path));
  LoadedModel model(std::move(file), options.threads, options.pin_threads);
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
  const GemmBackend resolved = Resolve(backend, model.weights);
  return std::unique_ptr<Engine>(
      new EngineImpl(std::move(model), resolved, TileRows(options)));
}

Result<PlanReport> PlanFile(const EngineOptions& options,
                            const SessionOptions& session) {
  DAPPLE_ASSIGN_OR_RETURN(const GemmBackend backend, ParseBackend(options));
  DAPPLE_ASSIGN_OR_RETURN(const GgufFile file,
                          GgufFile::Open(options.model_path));
  DAPPLE_ASSIGN_OR_RETURN(const ModelConfig config,
                          ModelConfig::FromGguf(file));
  DAPPLE_ASSIGN_OR_RETURN(const ModelWeights weights,
                          ModelWeights::FromGguf(file, config));
  const int threads =
      options.threads != 0 ? options.threads : UsablePhysicalCores();
  DAPPLE_ASSIGN_OR_RETURN(const auto gemm,
                          MakeGemm(config, Resolve(backend, weights), threads,
                                   TileRows(options), session.row_logits));
  return Planner({.config = config,
                  .weights = weights,
                  .gemm = *gemm,
                  .path = file.path(),
                  .exact = options.compute == Compute::kF32,
                  .threads = threads,
                  .tile_rows = TileRows(options),
                  .resident_bytes = ResidentBytes(),
                  .tokenizer_bytes = EstimateTokenizer(file),
                  .huge_page_bytes = HugePageBytes()},
                 session)
      .Report();
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  return OrOutOfMemory([&] { return OpenEngine(options); });
}

Result<PlanReport> PlanModel(const EngineOptions& options,
                             const SessionOptions& session) {
  return OrOutOfMemory([&] { return PlanFile(options, session); });
}

}  // namespace dapple
