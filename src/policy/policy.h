// Policy: who asks (probe), how keys are scored, how the budget is spread.
//
// A policy is one small file that subclasses Policy and stands in the registry
// (registry.cc). It sees one layer and KV head at a time through HeadView and
// never the cache. Everything after the raw scores is common to all policies
// (selection.h): value weighting, pooling, pins, top-K.
#ifndef DAPPLE_POLICY_POLICY_H_
#define DAPPLE_POLICY_POLICY_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "dapple/eviction.h"
#include "kernels/attention_params.h"
#include "util/kv_row.h"

namespace dapple {

// Queries of consecutive rows, rotated, not scaled.
struct ProbeRows {
  const float* queries = nullptr;  // [rows, group, head_dim]
  size_t stride = 0;               // floats between rows
  size_t first = 0;                // position of the first row
  size_t rows = 0;
};

// One KV head of one layer, all its keys staged.
struct HeadView {
  size_t layer = 0;
  size_t head = 0;
  size_t length = 0;  // L: prompt keys
  size_t head_dim = 0;
  size_t group = 0;  // query heads of this KV head
  kernels::AttentionParams attention;
  // At least L rows (util/kv_row.h): the probe's own keys follow the prompt's.
  KvType key_type = KvType::kF16;
  const void* keys = nullptr;
  ProbeRows pseudo;  // the pseudo tokens, at positions L …
  ProbeRows window;  // the newest prompt rows, up to position L - 1
  // Σ over every prompt row of its attention to each key: [L]. Only for
  // policies that ask for kEveryRow.
  std::span<const float> column_sums;
  std::span<float> scratch;  // for kernels::AddProbeScores
};

enum class ProbeKind {
  kNone,
  kPseudoTokens,  // HeadView::pseudo
  kWindow,        // HeadView::window, EvictionOptions::recent rows
  kLastToken,     // HeadView::window, its last row
  kEveryRow,      // HeadView::column_sums
};

// Keys that are kept whatever their score.
struct Pins {
  size_t first = 0;
  size_t last = 0;
};

class Policy {
 public:
  virtual ~Policy() = default;

  virtual ProbeKind probe() const = 0;
  // Keeps everything and needs no scores.
  virtual bool keeps_all() const { return false; }
  // Whether scores are pooled (attention: yes; positions, random: no).
  virtual bool pools() const { return true; }
  // Keys that a layer may keep, given the mean budget `keep` of all layers.
  virtual size_t LayerBudget(size_t keep, size_t length, size_t layer,
                             size_t layers) const {
    (void)length, (void)layer, (void)layers;
    return keep;
  }
  virtual Pins Pinned(size_t keep, size_t length) const {
    (void)keep, (void)length;
    return {};
  }
  // scores: [length], filled. Larger is kept. For probes: the mean probability
  // over probe rows and the group's queries.
  virtual void Score(const HeadView& head, std::span<float> scores) const = 0;
};

// The policy of that name; null when there is none.
std::unique_ptr<Policy> MakePolicy(const EvictionOptions& options);

// scores[j] = mean probability that the probe's queries give key j.
void MeanAttention(const HeadView& head, const ProbeRows& probe,
                   std::span<float> scores);

// Each policy's own maker; one file each.
std::unique_ptr<Policy> MakeFullPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakeDapqPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakeSnapKvPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakePyramidKvPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakeH2oPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakeTovaPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakeStreamingPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakeKeyDiffPolicy(const EvictionOptions& options);
std::unique_ptr<Policy> MakeRandomPolicy(const EvictionOptions& options);

}  // namespace dapple

#endif  // DAPPLE_POLICY_POLICY_H_
