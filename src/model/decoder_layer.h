// One transformer decoder layer, over a tile of prompt rows or over one token.
//
// x ← x + Wo · attention(RoPE(norm(x)));  x ← x + Wd · swiglu(norm(x))
// (Touvron et al. 2023, "LLaMA"). What differs between architectures is data in
// ModelConfig and LayerWeights: biases and norms of q and k, norms of what is
// added to x, GELU for SiLU, windows and soft caps of attention. All buffers
// are spans of the session's arena (LayerScratch); nothing here allocates.
#ifndef DAPPLE_MODEL_DECODER_LAYER_H_
#define DAPPLE_MODEL_DECODER_LAYER_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "dapple/trace.h"
#include "gemm/gemm.h"
#include "kernels/gemv.h"
#include "kv/kv_slots.h"
#include "model/model_config.h"
#include "model/model_weights.h"
#include "model/rope_table.h"
#include "util/parallel.h"

namespace dapple {

// Buffers of one layer's computation, for up to `rows` rows.
struct LayerScratch {
  std::span<float> x;              // [rows, width]: residual stream of the tile
  std::span<float> a;              // [rows, max(width, query_width)]
  std::span<float> b;              // [rows, max(width, query_width)]
  std::span<float> k;              // [rows, kv_width]
  std::span<float> v;              // [rows, kv_width]
  std::span<float> gate;           // [rows, ffn_width]
  std::span<float> up;             // [rows, ffn_width]
  std::span<float> cos;            // [rows, rope dims / 2]
  std::span<float> sin;            // [rows, rope dims / 2]
  std::span<float> attention;      // [threads, attention_stride]
  size_t attention_stride = 0;     // floats a thread
  std::span<float> decode_parts;   // DecodePartsFloats
  std::span<uint32_t> parts_left;  // [kv_heads], of decode_parts
  std::span<kernels::BlockActivation> activations;  // [max k / 32]
  std::span<std::byte> gemm;                        // Gemm::ScratchBytes
};

// What eviction wants of a layer's prefill, beside its keys and values.
struct ProbeCapture {
  // Rotated queries of slots [first, first + rows) are copied out: [rows,
  // query_width].
  size_t first = 0;
  size_t rows = 0;
  std::span<float> queries;
  // Where not empty: every prompt row's attention is added up per key, for
  // each KV head: [kv_heads, prompt]. Slots from `prompt` on do not count.
  std::span<float> column_sums;
  size_t prompt = 0;
  std::span<float> score_scratch;  // [threads, score_stride]
  size_t score_stride = 0;
};

// A layer's matrices packed for prefill: views into one scratch span.
struct PackedLayer {
  std::span<std::byte> query, key, value, output, gate, up, down;
};

class DecoderLayer {
 public:
  DecoderLayer(const ModelConfig& config, const LayerRopes& ropes,
               const Parallel& parallel, KvType staging_type, bool exact,
               Trace* trace = nullptr)
      : config_(config),
        ropes_(ropes),
        parallel_(parallel),
        staging_type_(staging_type),
        exact_(exact),
        trace_(trace) {}

  // Bytes that Pack needs for any layer.
  static size_t PackedBytes(const ModelConfig& config, const Gemm& gemm);
  // Query rows of one attention work item.
  static size_t AttentionRows(const ModelConfig& config);
  // Floats of attention scratch a thread.
  static size_t AttentionScratch(const ModelConfig& config);
  // Floats that Decode needs for the parts of attention over `keys` slots.
  static size_t DecodePartsFloats(const ModelConfig& config, size_t keys);

  // Prepares a layer's weights for Prefill; `memory` has PackedBytes. With
  // `release`, the pages of each matrix are given back once it is packed.
  PackedLayer Pack(const LayerWeights& weights, const Gemm& gemm,
                   std::span<std::byte> memory, bool release) const;

  // Consecutive rows of a prefill pass. Slots count keys in the staging: those
  // that a pass begins with, then one a row.
  struct Tile {
    size_t slot = 0;      // of the first row; earlier slots are filled
    size_t rows = 0;      // their residual is in scratch.x
    size_t needed = 0;    // slots before this one are only wanted for their KV
    size_t position = 0;  // rotary, of the first row; then one up a row, but
    // rows whose slot is pseudo_slot or later are pseudo tokens, from
    // pseudo_position on.
    size_t pseudo_slot = SIZE_MAX;
    size_t pseudo_position = 0;
  };
  // Appends the rows' keys and values to `kv`, then updates scratch.x for the
  // rows that are needed.
  void Prefill(const LayerWeights& weights, const PackedLayer& packed,
               const Gemm& gemm, const Tile& tile, std::span<const KvRun> kv,
               const ProbeCapture& probe, const LayerScratch& scratch) const;

  // Where a decoded token stands.
  struct DecodeStep {
    size_t position = 0;   // of its rotary embedding
    size_t slot = 0;       // its slot, after the kept prompt keys
    size_t generated = 1;  // filled slots after them, its own included
  };
  // One token, its residual in scratch.x[0, width).
  void Decode(const LayerWeights& weights, const DecodeStep& step, size_t layer,
              const KvSlots& slots, const LayerScratch& scratch) const;

 private:
  // The table that a layer rotates with; nullptr: it does not.
  const RopeTable* RopeOf(size_t layer) const;
  // Rows [rows, heads, head_dim] of queries or keys, from projection to
  // attention: bias, norm, rotation. cos, sin: of the rows.
  void FinishHeads(float* x, size_t rows, size_t heads, const float* bias,
                   const float* norm, bool rotate, const float* cos,
                   const float* sin) const;
  // x += delta, or its norm. delta, x: [rows, width]; delta is overwritten.
  void AddToResidual(float* delta, const float* norm, size_t rows,
                     float* x) const;
  void GateUp(const float* gate, const float* up, size_t count,
              float* out) const;
  void StoreKv(std::span<const KvRun> kv, size_t slot, size_t rows,
               const LayerScratch& scratch) const;
  void AttendTile(const kernels::AttentionParams& params,
                  std::span<const KvRun> kv, const float* q, size_t first,
                  size_t rows, const LayerScratch& scratch, float* out) const;
  // Stores a token's key and value; its queries in scratch.b, its attention's
  // outcome in scratch.a.
  void AttendToken(const kernels::AttentionParams& params,
                   const DecodeStep& step, size_t layer, const KvSlots& slots,
                   const LayerScratch& scratch) const;
  void CaptureProbe(const kernels::AttentionParams& params,
                    const ProbeCapture& probe, std::span<const KvRun> kv,
                    size_t first, size_t rows, const float* q) const;

  const ModelConfig& config_;
  const LayerRopes ropes_;
  const Parallel& parallel_;
  KvType staging_type_;  // of Prefill's runs
  bool exact_;           // float activations everywhere (Compute::kF32)
  Trace* trace_;         // may be null
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_DECODER_LAYER_H_
