// Probe scores: lanes are queries.
//
// The rows' queries are packed transposed in strips of up to three vectors, as
// in prefill attention, whose micro-kernel computes the scores of a block of
// keys. Pass 1 runs the online softmax down each lane, pass 2 adds each key's
// probabilities over the lanes. Key blocks begin at fixed multiples and a
// key's score does not depend on its block, so both passes see the same bits.
#if defined(DAPPLE_KERNELS_PROBE_SCORE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_PROBE_SCORE_INL_H_
#undef DAPPLE_KERNELS_PROBE_SCORE_INL_H_
#else
#define DAPPLE_KERNELS_PROBE_SCORE_INL_H_
#endif

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/attention_layout.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/exp-inl.h"
#include "util/half.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One call's queries: row r's are [group, dim] at q + r * q_stride.
struct ProbeQueries {
  const float* q;
  size_t q_stride;
  size_t rows;
  size_t group;
  size_t dim;
  size_t first_visible;
};

// Up to three vectors of packed queries.
struct ProbeStrip {
  size_t vectors;       // 1..3
  size_t all_visible;   // keys that every query of the strip sees
  size_t some_visible;  // keys that its last query sees
  float* q;             // [dim, width], times scale * log2(e)
  float* max;           // [width]
  float* sum;           // [width]; after pass 1 its inverse
  int32_t* last_key;    // [width] newest key that each lane sees
  size_t first_seen;    // oldest key that any query of the strip sees
  size_t all_seen;      // oldest key that every query sees
};

// Strip `index` in the memory that starts at `strips`.
HWY_INLINE ProbeStrip StripAt(const ProbeQueries& queries,
                              const AttentionParams& params, size_t index,
                              float* strips) {
  const size_t n = hn::Lanes(DQ());
  const size_t count = queries.rows * queries.group;
  const size_t begin = index * kStripVectors * n;
  ProbeStrip strip;
  strip.vectors = std::min(kStripVectors, (count - begin + n - 1) / n);
  const size_t width = strip.vectors * n;
  const size_t last = std::min(begin + width, count) - 1;
  strip.all_visible = queries.first_visible + begin / queries.group + 1;
  strip.some_visible = queries.first_visible + last / queries.group + 1;
  strip.first_seen = params.FirstSeen(strip.all_visible);
  strip.all_seen = params.FirstSeen(strip.some_visible);
  strip.q = strips + begin * (queries.dim + 3);
  strip.max = strip.q + queries.dim * width;
  strip.sum = strip.max + width;
  strip.last_key = reinterpret_cast<int32_t*>(strip.sum + width);
  return strip;
}

// Lanes past the last query get q = 0. Returns the largest Σ |q| of a query.
HWY_INLINE float PackProbes(const ProbeQueries& queries, size_t index,
                            float factor, const ProbeStrip& strip) {
  const size_t width = strip.vectors * hn::Lanes(DQ());
  const size_t count = queries.rows * queries.group;
  const size_t begin = index * kStripVectors * hn::Lanes(DQ());
  float largest = 0.0f;
  for (size_t lane = 0; lane < width; ++lane) {
    const size_t query = begin + lane;
    const bool real = query < count;
    const size_t row = real ? query / queries.group : queries.rows - 1;
    const float* q = queries.q + row * queries.q_stride +
                     query % queries.group * queries.dim;
    float magnitude = 0.0f;
    for (size_t i = 0; i < queries.dim; ++i) {
      const float value = real ? q[i] * factor : 0.0f;
      magnitude += std::fabs(value);
      strip.q[i * width + lane] = value;
    }
    largest = std::max(largest, magnitude);
    strip.max[lane] = kNoMax;
    strip.sum[lane] = 0.0f;
    strip.last_key[lane] = static_cast<int32_t>(queries.first_visible + row);
  }
  return largest;
}

// Makes every score finite, NaN (infinity minus infinity) the lowest. Only
// for inputs whose dot products may overflow. scores: [count].
HWY_INLINE void ClampScores(float* scores, size_t count) {
  const DQ d;
  const VQ lowest = hn::Set(d, -FLT_MAX);
  const VQ highest = hn::Set(d, FLT_MAX);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    VQ v = hn::Load(d, scores + i);
    v = hn::IfThenElse(hn::Gt(v, lowest), v, lowest);
    v = hn::IfThenElse(hn::Lt(v, highest), v, highest);
    hn::Store(v, d, scores + i);
  }
}

// Keys [first, first + keys) staged as float, and what is computed from them.
struct ProbeBlock {
  const float* k;  // [keys padded to kTile, dim]
  size_t first;
  size_t keys;
  size_t dim;
  bool clamp;
  float softcap;
  int32_t window;
  float* scores;    // [keys padded to kTile, kStripVectors * Lanes]
  float* key_sums;  // [keys, Lanes] probabilities, to be added over the lanes
};

template <size_t kV>
HWY_INLINE void ScoreProbes(const ProbeStrip& strip, const ProbeBlock& block,
                            size_t seen) {
  ScoreKeys<kV>(block.k, seen, block.dim, strip.q, block.scores);
  if (block.clamp) ClampScores(block.scores, seen * kV * hn::Lanes(DQ()));
  if (block.softcap != 0.0f)
    CapLogits(block.softcap, seen * kV * hn::Lanes(DQ()), block.scores);
  if (block.first + seen > strip.all_visible || block.first < strip.all_seen)
    HideUnseen<kV>(strip.last_key, block.window, block.first, seen,
                   block.scores);
}

// Pass 1: the strip's maxima and sums take in the block's first `seen` keys.
template <size_t kV>
HWY_NOINLINE void SumBlock(const ProbeStrip& strip, const ProbeBlock& block,
                           size_t seen) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  ScoreProbes<kV>(strip, block, seen);
  const float* scores = block.scores;
  VQ max[kV];
  VQ sum[kV];
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) {
    max[v] = hn::Load(d, strip.max + v * n);
    sum[v] = hn::Zero(d);
  }
  for (size_t j = 0; j < seen; ++j) {
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v)
      max[v] = hn::Max(max[v], hn::Load(d, scores + (j * kV + v) * n));
  }
  for (size_t j = 0; j < seen; ++j) {
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v)
      sum[v] = hn::Add(
          sum[v],
          Exp2(d, hn::Sub(hn::Load(d, scores + (j * kV + v) * n), max[v])));
  }
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) {
    const VQ factor = Exp2(d, hn::Sub(hn::Load(d, strip.max + v * n), max[v]));
    // The block's own sum first: long documents lose fewer digits.
    sum[v] = hn::MulAdd(hn::Load(d, strip.sum + v * n), factor, sum[v]);
    hn::Store(sum[v], d, strip.sum + v * n);
    hn::Store(max[v], d, strip.max + v * n);
  }
}

// Pass 2: key_sums += the strip's probabilities of the block's `seen` keys.
template <size_t kV>
HWY_NOINLINE void AddBlock(const ProbeStrip& strip, const ProbeBlock& block,
                           size_t seen) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  ScoreProbes<kV>(strip, block, seen);
  VQ max[kV];
  VQ inverse[kV];
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) {
    max[v] = hn::Load(d, strip.max + v * n);
    inverse[v] = hn::Load(d, strip.sum + v * n);
  }
  for (size_t j = 0; j < seen; ++j) {
    VQ total = hn::Load(d, block.key_sums + j * n);
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) {
      const VQ s = hn::Load(d, block.scores + (j * kV + v) * n);
      total = hn::MulAdd(Exp2(d, hn::Sub(s, max[v])), inverse[v], total);
    }
    hn::Store(total, d, block.key_sums + j * n);
  }
}

// sum = 1 / sum, 0 in lanes past the last query.
HWY_INLINE void InvertSums(size_t queries, const ProbeStrip& strip) {
  const size_t width = strip.vectors * hn::Lanes(DQ());
  for (size_t lane = 0; lane < width; ++lane)
    strip.sum[lane] = lane < queries ? 1.0f / strip.sum[lane] : 0.0f;
}

// Largest magnitude of a finite key, as far as the type says.
HWY_INLINE float LargestKey(const F16*) { return 65504.0f; }
HWY_INLINE float LargestKey(const float*) { return FLT_MAX; }
HWY_INLINE float LargestKey(const Q8KvByte*) { return 127.0f * 65504.0f; }
HWY_INLINE float LargestKey(const Q4KvByte*) { return 16.0f * 65504.0f; }

template <class T>
HWY_INLINE void AddProbeScoresTo(const T* keys, const ProbeQueries& queries,
                                 size_t scored, const AttentionParams& params,
                                 float weight, float* scratch, float* out) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  const size_t dim = queries.dim;
  const size_t count = queries.rows * queries.group;
  if (count == 0 || scored == 0) return;
  const size_t visible = queries.first_visible + queries.rows;
  const size_t start =
      params.FirstSeen(queries.first_visible + 1) / kProbeKeys * kProbeKeys;

  // Each part is a multiple of 16 floats: all stay aligned.
  float* k = AlignUp(scratch);
  ProbeBlock block;
  block.k = k;
  block.dim = dim;
  block.softcap = params.softcap;
  block.window = WindowLanes(params);
  block.scores = k + kProbeKeys * dim;
  block.key_sums = block.scores + kProbeKeys * kStripVectors * n;
  float* strips = block.key_sums + kProbeKeys * n;
  const size_t strip_count =
      (count + kStripVectors * n - 1) / (kStripVectors * n);

  float magnitude = 0.0f;
  for (size_t s = 0; s < strip_count; ++s)
    magnitude =
        std::max(magnitude, PackProbes(queries, s, QueryFactor(params),
                                       StripAt(queries, params, s, strips)));
  block.clamp = !(magnitude * LargestKey(keys) < FLT_MAX / 2);

  for (const bool summing : {true, false}) {
    const size_t end = summing ? visible : std::min(scored, visible);
    for (size_t first = start; first < end; first += kProbeKeys) {
      block.first = first;
      block.keys = std::min(kProbeKeys, end - first);
      const size_t padded = (block.keys + kTile - 1) / kTile * kTile;
      StageRows(keys + first * KvRowStep<T>(dim), block.keys, padded, dim, dim,
                k);
      if (!summing)
        std::fill(block.key_sums, block.key_sums + block.keys * n, 0.0f);

      for (size_t s = 0; s < strip_count; ++s) {
        const ProbeStrip strip = StripAt(queries, params, s, strips);
        // Blocks that are wholly in the strip's future, or before its window,
        // are skipped.
        if (first >= strip.some_visible ||
            first + block.keys <= strip.first_seen)
          continue;
        const size_t seen = std::min(block.keys, strip.some_visible - first);
        const auto run = [&](auto vectors) HWY_ATTR {
          constexpr size_t kV = decltype(vectors)::value;
          if (summing)
            SumBlock<kV>(strip, block, seen);
          else
            AddBlock<kV>(strip, block, seen);
        };
        if (strip.vectors == 3)
          run(std::integral_constant<size_t, 3>());
        else if (strip.vectors == 2)
          run(std::integral_constant<size_t, 2>());
        else
          run(std::integral_constant<size_t, 1>());
      }
      if (summing) continue;
      for (size_t j = 0; j < block.keys; ++j)
        out[first + j] +=
            weight * hn::ReduceSum(d, hn::Load(d, block.key_sums + j * n));
    }
    if (summing)
      for (size_t s = 0; s < strip_count; ++s)
        InvertSums(count - s * kStripVectors * n,
                   StripAt(queries, params, s, strips));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
