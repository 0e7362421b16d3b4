#include "engine/planner.h"

#include <algorithm>

#include "model/huge_weights.h"
#include "util/checked.h"

namespace dapple {
namespace {

// What becomes resident between plan and peak and has no line of its own
// (code first run then, thread stacks, stdio), measured as 0.1–0.8 MiB.
constexpr uint64_t kSlackBytes = 3u << 19;
// A Sampler's list of candidates, which the writer of an answer owns.
constexpr uint64_t kSamplerBytesPerToken = 8;
// A page of eight-byte entries maps 512 pages: what page tables add to a
// control group's count.
constexpr uint64_t kPageTableShare = 512;
// A fault on a mapped file brings the 64 KiB around it.
constexpr uint64_t kFaultBytes = uint64_t{64} << 10;
// A prompt's text, its ids in the caller and here: measured 12–20 bytes.
constexpr uint64_t kTextBytesPerToken = 20;
// Copying the weights pays for answers, not for a token or two: a guess, on the
// large side.
constexpr size_t kLeastHugeTokens = 32;
// Norms and biases that stay in the file: up to nine, of some pages each.
constexpr uint64_t kVectorBytesPerLayer = uint64_t{64} << 10;
// Fewer keys a head than this answer nothing.
constexpr size_t kLeastKeep = 64;
// Below it summaries fall off a cliff (DAPQ.md; arXiv 2603.01426).
constexpr double kMildShare = 0.15;

uint64_t BytesOf(const WeightMatrix& w) { return uint64_t{w.row_bytes} * w.n; }

struct WeightSizes {
  uint64_t largest_layer = 0;
  uint64_t largest_matrix = 0;
};

WeightSizes SizesOf(const ModelWeights& weights) {
  WeightSizes sizes;
  for (const LayerWeights& layer : weights.layers) {
    uint64_t total = 0;
    for (const WeightMatrix* w : layer.Matrices()) {
      total += BytesOf(*w);
      sizes.largest_matrix = std::max(sizes.largest_matrix, BytesOf(*w));
    }
    sizes.largest_layer = std::max(sizes.largest_layer, total);
  }
  return sizes;
}

KvType TypeOf(KvPrecision precision) {
  switch (precision) {
    case KvPrecision::kAuto:
    case KvPrecision::kF16:
      break;
    case KvPrecision::kQ8:
      return KvType::kQ8;
    case KvPrecision::kQ4:
      return KvType::kQ4;
  }
  return KvType::kF16;
}

}  // namespace

bool Planner::SearchesKeep() const {
  return options_.eviction.size() == 1 &&
         options_.eviction[0].keep.kind == KeepBudget::Kind::kAuto &&
         options_.eviction[0].policy != "full";
}

std::vector<PlannedSchedule> Planner::Ways() const {
  const MemoryOptions& memory = options_.memory;
  std::vector<PlannedSchedule> ways;
  const auto add = [&](Schedule schedule, Residency weights, KvPrecision kv) {
    if (memory.schedule != Schedule::kAuto && memory.schedule != schedule)
      return;
    if (memory.weights != Residency::kAuto && memory.weights != weights) return;
    if (schedule == Schedule::kExactSpill && memory.spill_folder.empty())
      return;
    if (memory.kv != KvPrecision::kAuto) {
      // One way for each schedule: with the precision asked for.
      for (const PlannedSchedule& way : ways)
        if (way.schedule == schedule && way.weights == weights) return;
      kv = memory.kv;
    }
    PlannedSchedule way;
    way.schedule = schedule;
    way.weights = weights;
    way.kv = kv;
    ways.push_back(std::move(way));
  };
  // Promise 2 before promise 3: every exact way comes before streaming, also
  // those that read the weights again for each token.
  if (model_.exact) {
    add(Schedule::kExact, Residency::kResident, KvPrecision::kF16);
    return ways;
  }
  add(Schedule::kExact, Residency::kResident, KvPrecision::kF16);
  for (const Residency weights : {Residency::kReread, Residency::kStreamed}) {
    add(Schedule::kExact, weights, KvPrecision::kF16);
    add(Schedule::kExactQ8, weights, KvPrecision::kQ8);
    add(Schedule::kExactSpill, weights, KvPrecision::kF16);
    add(Schedule::kExactSpill, weights, KvPrecision::kQ8);
  }
  for (const Residency weights : {Residency::kReread, Residency::kStreamed}) {
    add(Schedule::kStreaming, weights, KvPrecision::kF16);
    add(Schedule::kStreaming, weights, KvPrecision::kQ8);
  }
  // Forced schedules may also keep their weights.
  if (memory.weights == Residency::kResident) {
    add(Schedule::kExactQ8, Residency::kResident, KvPrecision::kQ8);
    add(Schedule::kExactSpill, Residency::kResident, KvPrecision::kF16);
    add(Schedule::kStreaming, Residency::kResident, KvPrecision::kF16);
  }
  return ways;
}

Result<Planner::Setup> Planner::SetupOf(const PlannedSchedule& planned) const {
  return SetupOf(planned, options_.prompt_tokens, planned.keep_tokens);
}

Result<Planner::Setup> Planner::SetupOf(const PlannedSchedule& planned,
                                        size_t prompt_tokens,
                                        size_t keep_tokens) const {
  SessionOptions options = options_;
  options.prompt_tokens = prompt_tokens;
  if (keep_tokens != 0 && SearchesKeep()) {
    options.eviction[0].keep.kind = KeepBudget::Kind::kTokens;
    options.eviction[0].keep.tokens = keep_tokens;
  }
  Setup setup;
  DAPPLE_ASSIGN_OR_RETURN(EvictionPlan eviction,
                          EvictionPlan::Make(model_.config, options));
  if (planned.schedule == Schedule::kStreaming &&
      (eviction.column_sums || options.row_logits ||
       eviction.variants.size() > 1))
    return Unsupported(
        "the streaming schedule serves one policy, not h2o, and no logits of "
        "the prompt");
  setup.eviction = std::make_unique<EvictionPlan>(std::move(eviction));
  WorkspaceShape& shape = setup.shape;
  shape.prompt_tokens = prompt_tokens;
  shape.row_logits = options.row_logits;
  shape.exact = model_.exact;
  shape.threads = model_.threads;
  shape.eviction = setup.eviction.get();
  shape.schedule = planned.schedule;
  shape.weights = planned.weights;
  shape.retained_type = model_.exact ? KvType::kF32 : TypeOf(planned.kv);
  shape.staging_type = model_.exact ? KvType::kF32 : KvType::kF16;
  // Spilling with 8-bit keys is for caps that 16-bit staging exceeds, too.
  if (shape.retained_type != KvType::kF32 &&
      (planned.schedule == Schedule::kExactQ8 ||
       (planned.schedule == Schedule::kExactSpill &&
        planned.kv != KvPrecision::kF16)))
    shape.staging_type = KvType::kQ8;
  if (planned.schedule == Schedule::kExactQ8 &&
      shape.retained_type == KvType::kF16)
    shape.retained_type = KvType::kQ8;
  shape.chunk_tokens = options.memory.chunk_tokens;
  shape.tile_rows = std::min(model_.tile_rows, shape.pass_rows());
  return setup;
}

void Planner::AddWeights(const PlannedSchedule& planned, size_t rows,
                         MemoryPlan* plan) const {
  const ModelWeights& weights = model_.weights;
  const WeightSizes sizes = SizesOf(weights);
  const uint64_t table = BytesOf(weights.embedding);
  const bool tied = weights.head.data == weights.embedding.data;
  // Rows of the embedding are looked up here and there; the head is read
  // whole, in slabs where it must not stay.
  const uint64_t looked_up = std::min(
      table, std::min<uint64_t>(rows, model_.config.vocab) * kFaultBytes);
  const uint64_t in_layers =
      weights.bytes - table - (tied ? 0 : BytesOf(weights.head));
  const uint64_t resident =
      in_layers + BytesOf(weights.head) + (tied ? 0 : looked_up);
  const uint64_t slab =
      std::min(table, std::max<uint64_t>(kStreamedSlabBytes, kFaultBytes));
  const uint64_t window = std::max(sizes.largest_matrix + kFaultBytes, slab);
  MemoryPart part{"weights", resident, resident, false};
  if (planned.huge_pages) {
    part.name = "weights, in huge pages";
    part.prefill = part.decode =
        HugeWeights::Bytes(weights, model_.huge_page_bytes) +
        weights.layers.size() * kVectorBytesPerLayer + (tied ? 0 : looked_up);
  }
  switch (planned.weights) {
    case Residency::kAuto:
    case Residency::kResident:
      break;
    case Residency::kReread:
      part.name = "weights, dropped while reading";
      part.prefill = window;
      break;
    case Residency::kStreamed:
      part.name = "weights, a layer at a time";
      part.prefill = window;
      part.decode = std::max(sizes.largest_layer, slab) + kFaultBytes;
      break;
  }
  plan->parts.push_back(std::move(part));
}

Result<MemoryPlan> Planner::PlanOf(const PlannedSchedule& planned,
                                   size_t prompt_tokens,
                                   size_t keep_tokens) const {
  DAPPLE_ASSIGN_OR_RETURN(const Setup setup,
                          SetupOf(planned, prompt_tokens, keep_tokens));
  MemoryPlan plan;
  const auto both = [&](const char* name, uint64_t bytes) {
    plan.parts.push_back({name, bytes, bytes, false});
  };
  both("program and libraries", model_.resident_bytes + kSlackBytes);
  if (model_.tokenizer_bytes != 0) {
    both("tokenizer", model_.tokenizer_bytes);
    both("prompt text and ids", prompt_tokens * kTextBytesPerToken);
  }
  const OwnerMemory& owner = options_.memory.owner;
  const uint64_t owned = owner.per_token * prompt_tokens;
  const uint64_t later = owner.decode + owner.decode_per_token * prompt_tokens;
  if (owned + later != 0)
    plan.parts.push_back({"caller's ids and quotes", owned, owned + later});
  AddWeights(planned, setup.shape.pass_rows(), &plan);
  DAPPLE_ASSIGN_OR_RETURN(
      const std::vector<MemoryPart> arena,
      Workspace::Plan(model_.config, model_.gemm, setup.shape));
  plan.parts.insert(plan.parts.end(), arena.begin(), arena.end());
  plan.parts.push_back(
      {"sampler", 0, uint64_t{model_.config.vocab} * kSamplerBytesPerToken});
  both("page tables", plan.TotalBytes() / kPageTableShare);
  if (setup.shape.spilled())
    plan.spill_bytes = uint64_t{setup.shape.pass_rows()} * model_.config.width *
                       setup.shape.residual_bytes_per_element();
  return plan;
}

bool Planner::Fits(const PlannedSchedule& planned, size_t prompt_tokens,
                   size_t keep_tokens) const {
  const auto plan = PlanOf(planned, prompt_tokens, keep_tokens);
  return plan.ok() && (options_.memory.ram_bytes == 0 ||
                       plan->TotalBytes() <= options_.memory.ram_bytes);
}

bool Planner::WantsHugePages(const PlannedSchedule& planned) const {
  // The file's pages may stay in the system's cache beside the copy.
  return planned.fits && model_.huge_page_bytes != 0 &&
         planned.weights == Residency::kResident &&
         options_.memory.weights == Residency::kAuto &&
         options_.max_new_tokens >= kLeastHugeTokens &&
         (options_.memory.ram_bytes == 0 ||
          planned.plan.TotalBytes() +
                  HugeWeights::Bytes(model_.weights, model_.huge_page_bytes) <=
              options_.memory.ram_bytes);
}

Status Planner::Fill(PlannedSchedule* planned) const {
  const size_t length = options_.prompt_tokens;
  size_t keep = options_.eviction.empty()
                    ? length
                    : options_.eviction[0].keep.Resolve(length);
  bool fits = Fits(*planned, length, keep);
  if (!fits && SearchesKeep()) {
    size_t low = std::min(kLeastKeep, length), high = keep;
    keep = low;
    fits = Fits(*planned, length, low);
    while (fits && high - low > 1) {
      const size_t middle = low + (high - low) / 2;
      (Fits(*planned, length, middle) ? low : high) = middle;
    }
    if (fits) keep = low;
  }
  planned->fits = fits;
  planned->keep_tokens = keep;
  DAPPLE_ASSIGN_OR_RETURN(planned->plan, PlanOf(*planned, length, keep));
  if (WantsHugePages(*planned)) {
    planned->huge_pages = true;
    DAPPLE_ASSIGN_OR_RETURN(planned->plan, PlanOf(*planned, length, keep));
  }
  if (planned->weights == Residency::kStreamed)
    planned->reread_per_token = model_.weights.bytes;
  return Status::Ok();
}

void Planner::Choose(PlanReport* report) const {
  const size_t length = report->prompt_tokens;
  const auto share = [&](const PlannedSchedule& way) {
    return way.fits ? static_cast<double>(way.keep_tokens) /
                          static_cast<double>(length)
                    : 0.0;
  };
  const auto first = [&](auto&& accepts) {
    for (size_t i = 0; i < report->candidates.size(); ++i)
      if (report->candidates[i].fits && accepts(report->candidates[i]))
        return i;
    return SIZE_MAX;
  };
  if (!SearchesKeep()) {
    report->chosen = first([](const PlannedSchedule&) { return true; });
  } else {
    report->chosen = first(
        [&](const PlannedSchedule& way) { return way.keep_tokens == length; });
    if (!report->fits())
      report->chosen = first(
          [&](const PlannedSchedule& way) { return share(way) >= kMildShare; });
    if (!report->fits())
      for (size_t i = 0; i < report->candidates.size(); ++i)
        if (report->candidates[i].fits &&
            (!report->fits() ||
             share(report->candidates[i]) > share(report->Chosen())))
          report->chosen = i;
  }
  if (!report->fits()) return;
  const PlannedSchedule& way = report->Chosen();
  if (options_.memory.schedule != Schedule::kAuto)
    report->reason = "asked for";
  else if (report->chosen == 0)
    report->reason = "the first choice fits";
  else
    report->reason = SearchesKeep() && way.keep_tokens == length
                         ? "the first that fits with every key kept"
                         : "the first that fits";
  if (SearchesKeep() && way.keep_tokens < length)
    report->reason += share(way) >= kMildShare
                          ? "; with as many keys as the cap allows"
                          : "; no way keeps more keys under the cap";
}

size_t Planner::Longest(const PlannedSchedule& planned) const {
  if (options_.memory.ram_bytes == 0) return 0;
  constexpr size_t kMost = size_t{1} << 27;
  const size_t length = options_.prompt_tokens;
  const double share =
      static_cast<double>(planned.keep_tokens) / static_cast<double>(length);
  // With the share of keys that this prompt keeps.
  const auto fits = [&](size_t tokens) {
    return Fits(planned, tokens,
                std::clamp<size_t>(
                    static_cast<size_t>(share * static_cast<double>(tokens)), 1,
                    tokens));
  };
  size_t low = planned.fits ? length : 0, high = kMost;
  if (fits(high)) return high;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

void Planner::Suggest(PlanReport* report) const {
  // The same prompt with everything left to the planner.
  SessionOptions relaxed = options_;
  relaxed.memory.schedule = Schedule::kAuto;
  relaxed.memory.weights = Residency::kAuto;
  relaxed.memory.kv = KvPrecision::kAuto;
  relaxed.memory.spill_folder = "DIR";
  if (relaxed.eviction.size() == 1) {
    if (relaxed.eviction[0].policy == "full")
      relaxed.eviction[0].policy = "dapq";
    relaxed.eviction[0].keep = KeepBudget();
  }
  const Planner planner(model_, relaxed);
  uint64_t least = UINT64_MAX;
  for (PlannedSchedule way : planner.Ways()) {
    if (!planner.Fill(&way).ok()) continue;
    least = std::min(least, way.plan.TotalBytes());
    if (!way.fits || report->suggestions.size() >= 3) continue;
    std::string text = "--schedule " + std::string(NameOf(way.schedule));
    if (way.schedule == Schedule::kExactSpill) text += " --spill DIR";
    if (way.weights == Residency::kStreamed) text += " --weights streamed";
    if (relaxed.eviction.size() == 1 &&
        way.keep_tokens < options_.prompt_tokens)
      text += " --keep " + std::to_string(way.keep_tokens);
    report->suggestions.push_back(std::move(text));
  }
  uint64_t asked = UINT64_MAX;
  for (const PlannedSchedule& way : report->candidates)
    asked = std::min(asked, way.plan.TotalBytes());
  const auto ram = [&](uint64_t bytes) {
    return "--ram " + std::to_string(CeilDiv(bytes, 1 << 20)) + "M";
  };
  if (asked != UINT64_MAX)
    report->suggestions.push_back(ram(asked) + " with these settings");
  if (least < asked)
    report->suggestions.push_back(ram(least) + " with the smallest settings");
  size_t longest = 0;
  for (const PlannedSchedule& way : report->candidates)
    longest = std::max(longest, Longest(way));
  if (longest != 0)
    report->suggestions.push_back("a prompt of at most " +
                                  std::to_string(longest) + " tokens");
}

Result<PlanReport> Planner::Report() const {
  if (options_.prompt_tokens == 0)
    return InvalidArgument("a session needs room for at least one token");
  if (options_.prompt_tokens > model_.config.context &&
      !options_.beyond_context)
    return DoesNotFit("the prompt has " +
                      std::to_string(options_.prompt_tokens) + " tokens, but " +
                      model_.path + " was trained for " +
                      std::to_string(model_.config.context) +
                      " (--beyond-context runs it anyway)");
  const MemoryOptions& memory = options_.memory;
  if (memory.schedule == Schedule::kExactSpill && memory.spill_folder.empty())
    return InvalidArgument("the exact-spill schedule needs --spill DIR");
  if (memory.chunk_tokens == 0)
    return InvalidArgument("a chunk needs at least one token");
  if (model_.exact && memory.schedule != Schedule::kAuto &&
      memory.schedule != Schedule::kExact)
    return InvalidArgument("--compute f32 knows only the exact schedule");
  PlanReport report;
  report.prompt_tokens = options_.prompt_tokens;
  report.cap_bytes = memory.ram_bytes;
  Status problem;
  for (PlannedSchedule& way : Ways()) {
    const Status filled = Fill(&way);
    if (filled.ok())
      report.candidates.push_back(std::move(way));
    else if (problem.ok())
      problem = filled;
  }
  if (report.candidates.empty())
    return problem.ok()
               ? InvalidArgument("no schedule serves these settings together")
               : problem;
  Choose(&report);
  if (report.fits())
    report.longest_prompt = Longest(report.Chosen());
  else
    Suggest(&report);
  return report;
}

Status NothingFits(const PlanReport& report) {
  uint64_t least = UINT64_MAX;
  for (const PlannedSchedule& way : report.candidates)
    least = std::min(least, way.plan.TotalBytes());
  std::string text = "a prompt of " + std::to_string(report.prompt_tokens) +
                     " tokens needs " + BytesText(least) + ", " +
                     BytesText(least - report.cap_bytes) + " more than the " +
                     BytesText(report.cap_bytes) + " it may take";
  for (size_t i = 0; i < report.suggestions.size(); ++i)
    text += (i == 0 ? "; would fit: " : ", or ") + report.suggestions[i];
  return DoesNotFit(std::move(text));
}

}  // namespace dapple
