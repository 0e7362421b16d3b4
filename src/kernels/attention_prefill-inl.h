// Prefill attention: lanes are queries.
//
// The block's queries (rows * group of them) are packed transposed, in strips
// of up to three vectors: [head_dim, strip]. For each block of keys, staged as
// float, a register-blocked micro-kernel computes S = K Qᵀ [keys, strip]; the
// online softmax then works down the columns, so that it needs no horizontal
// reduction and the causal mask is a per-lane comparison; a second run of the
// micro-kernel adds Vᵀ P to Oᵀ [head_dim, strip]. Key blocks begin at fixed
// multiples and each lane sees its keys in order: a row's result does not
// depend on which rows share its block.
#if defined(DAPPLE_KERNELS_ATTENTION_PREFILL_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef DAPPLE_KERNELS_ATTENTION_PREFILL_INL_H_
#undef DAPPLE_KERNELS_ATTENTION_PREFILL_INL_H_
#else
#define DAPPLE_KERNELS_ATTENTION_PREFILL_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/attention.h"
#include "kernels/attention_layout.h"
#include "kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DQ = hn::ScalableTag<float>;
using VQ = hn::Vec<DQ>;

inline constexpr size_t kStripVectors = 3;
// Rows of the register tile: kTile * 3 accumulators + 3 + 1 registers.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3
inline constexpr size_t kTile = 4;  // 16 registers
#else
inline constexpr size_t kTile = 8;  // 32 registers
#endif

// params.window for comparisons of key indices, which are below 2^31.
HWY_INLINE int32_t WindowLanes(const AttentionParams& params) {
  constexpr size_t kAll = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(
      params.window == 0 ? kAll : std::min(params.window, kAll));
}

// Strip of queries [begin, begin + vectors * Lanes).
struct Strip {
  size_t begin;
  size_t vectors;       // 1..3
  size_t all_visible;   // keys that every query of the strip sees
  size_t some_visible;  // keys that its last query sees
  float* q;             // [head_dim, width]
  float* o;             // [head_dim, width]
  float* max;           // [width]
  float* sum;           // [width]
  int32_t* last_key;    // [width] newest key that each lane sees
  size_t first_seen;    // oldest key that any query of the strip sees
  size_t all_seen;      // oldest key that every query sees
};

// acc[i][v] += Σ_t a(i, t) b[t][v], t in order. a(i, t) is a[i * stride + t]
// if kRowsOfA, else a[t * stride + i]. b: [depth, kV * Lanes].
template <bool kRowsOfA, size_t kV>
HWY_INLINE void MultiplyTile(const float* HWY_RESTRICT a, size_t stride,
                             const float* HWY_RESTRICT b, size_t depth,
                             VQ (&acc)[kTile][kV]) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  for (size_t t = 0; t < depth; ++t) {
    VQ bv[kV];
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) bv[v] = hn::Load(d, b + v * n);
    b += kV * n;
    const float* at = kRowsOfA ? a + t : a + t * stride;
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      const VQ av = hn::Set(d, at[kRowsOfA ? i * stride : i]);
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        acc[i][v] = hn::MulAdd(av, bv[v], acc[i][v]);
    }
  }
}

// scores[j][:] = k[j] · q for j < keys (rounded up to kTile: k is padded).
// k: [keys, dim]; q: [dim, kV * Lanes]; scores: [keys, kV * Lanes].
template <size_t kV>
HWY_INLINE void ScoreKeys(const float* k, size_t keys, size_t dim,
                          const float* q, float* scores) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  for (size_t j = 0; j < keys; j += kTile) {
    VQ acc[kTile][kV];
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v) acc[i][v] = hn::Zero(d);
    }
    MultiplyTile<true, kV>(k + j * dim, dim, q, dim, acc);
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        hn::Store(acc[i][v], d, scores + ((j + i) * kV + v) * n);
    }
  }
}

// One step of the online softmax over `keys` scores a lane, the first of which
// is of key `first_key`. Scores become probabilities relative to the new
// maximum; correction: [kV * Lanes], by which older sums must be multiplied.
template <size_t kV>
HWY_INLINE void UpdateSoftmax(const Strip& strip, size_t first_key, size_t keys,
                              int32_t window, float* scores,
                              float* correction) {
  const DQ d;
  const hn::RebindToSigned<DQ> di32;
  const size_t n = hn::Lanes(d);
  VQ max[kV];
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) max[v] = hn::Load(d, strip.max + v * n);

  if (first_key + keys > strip.all_visible || first_key < strip.all_seen) {
    const VQ minus_inf = hn::Neg(hn::Inf(d));
    const auto window_keys = hn::Set(di32, window);
    hn::Vec<decltype(di32)> last[kV];
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v)
      last[v] = hn::Load(di32, strip.last_key + v * n);
    for (size_t j = 0; j < keys; ++j) {
      const auto key = hn::Set(di32, static_cast<int32_t>(first_key + j));
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v) {
        float* s = scores + (j * kV + v) * n;
        const auto hidden = hn::Or(hn::Gt(key, last[v]),
                                   hn::Ge(hn::Sub(last[v], window_keys), key));
        const VQ masked = hn::IfThenElse(hn::RebindMask(d, hidden), minus_inf,
                                         hn::Load(d, s));
        hn::Store(masked, d, s);
        max[v] = hn::Max(max[v], masked);
      }
    }
  } else {
    for (size_t j = 0; j < keys; ++j) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        max[v] = hn::Max(max[v], hn::Load(d, scores + (j * kV + v) * n));
    }
  }

  VQ sum[kV];
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) {
    const VQ factor = Exp2(d, hn::Sub(hn::Load(d, strip.max + v * n), max[v]));
    hn::Store(factor, d, correction + v * n);
    hn::Store(max[v], d, strip.max + v * n);
    sum[v] = hn::Mul(hn::Load(d, strip.sum + v * n), factor);
  }
  for (size_t j = 0; j < keys; ++j) {
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) {
      float* s = scores + (j * kV + v) * n;
      const VQ p = Exp2(d, hn::Sub(hn::Load(d, s), max[v]));
      hn::Store(p, d, s);
      sum[v] = hn::Add(sum[v], p);
    }
  }
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) hn::Store(sum[v], d, strip.sum + v * n);
}

// o = o * correction + vᵀ p. values: [keys, dim]; p: [keys, kV * Lanes].
template <size_t kV>
HWY_INLINE void AddValues(const float* values, size_t keys, size_t dim,
                          const float* p, const float* correction, float* o) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  for (size_t i0 = 0; i0 < dim; i0 += kTile) {
    VQ acc[kTile][kV];
    float* rows = o + i0 * kV * n;
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        acc[i][v] = hn::Mul(hn::Load(d, rows + (i * kV + v) * n),
                            hn::Load(d, correction + v * n));
    }
    MultiplyTile<false, kV>(values + i0, dim, p, keys, acc);
    HWY_UNROLL(8)
    for (size_t i = 0; i < kTile; ++i) {
      HWY_UNROLL(3)
      for (size_t v = 0; v < kV; ++v)
        hn::Store(acc[i][v], d, rows + (i * kV + v) * n);
    }
  }
}

// k, values: [keys padded to kTile, dim], of keys first_key and on.
template <size_t kV>
HWY_NOINLINE void AttendBlock(const Strip& strip, const float* k,
                              const float* values, size_t first_key,
                              size_t keys, size_t dim,
                              const AttentionParams& params, float* scores) {
  HWY_ALIGN float correction[kV * hn::MaxLanes(DQ())];
  ScoreKeys<kV>(k, keys, dim, strip.q, scores);
  if (params.softcap != 0.0f)
    CapLogits(params.softcap, keys * kV * hn::Lanes(DQ()), scores);
  UpdateSoftmax<kV>(strip, first_key, keys, WindowLanes(params), scores,
                    correction);
  AddValues<kV>(values, keys, dim, scores, correction, strip.o);
}

// The queries of one call, their order being [rows, group].
struct QueryBlock {
  const float* q;
  size_t q_stride;
  size_t rows;
  size_t group;
  size_t dim;
  size_t first_visible;
};

// Fills the strip's q (scaled), visibility and start values. Lanes past the
// last query repeat the last row's visibility with q = 0.
HWY_INLINE void PackStrip(const QueryBlock& block, float factor,
                          const Strip& strip) {
  const size_t width = strip.vectors * hn::Lanes(DQ());
  const size_t queries = block.rows * block.group;
  for (size_t lane = 0; lane < width; ++lane) {
    const size_t query = strip.begin + lane;
    const bool real = query < queries;
    const size_t row = real ? query / block.group : block.rows - 1;
    strip.last_key[lane] = static_cast<int32_t>(block.first_visible + row);
    strip.max[lane] = kNoMax;
    strip.sum[lane] = 0.0f;
    const float* q =
        block.q + row * block.q_stride + query % block.group * block.dim;
    for (size_t i = 0; i < block.dim; ++i)
      strip.q[i * width + lane] = real ? q[i] * factor : 0.0f;
  }
  std::fill(strip.o, strip.o + block.dim * width, 0.0f);
}

HWY_INLINE void UnpackStrip(const QueryBlock& block, const Strip& strip,
                            float* out, size_t out_stride) {
  const size_t width = strip.vectors * hn::Lanes(DQ());
  const size_t queries = block.rows * block.group;
  for (size_t lane = 0; lane < width; ++lane) {
    const size_t query = strip.begin + lane;
    if (query >= queries) return;
    const float sum = strip.sum[lane];
    // A sum of 0 means that every score was -inf.
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    float* row = out + query / block.group * out_stride +
                 query % block.group * block.dim;
    for (size_t i = 0; i < block.dim; ++i)
      row[i] = strip.o[i * width + lane] * inverse;
  }
}

template <class T>
HWY_INLINE void PrefillAttentionBlock(const T* all_keys, const T* all_values,
                                      const QueryBlock& block,
                                      const AttentionParams& params,
                                      float* scratch, float* out,
                                      size_t out_stride) {
  const size_t n = hn::Lanes(DQ());
  const size_t dim = block.dim;
  const size_t queries = block.rows * block.group;
  const size_t total_keys = block.first_visible + block.rows;
  const size_t keys_a_block = KeysPerBlock(dim);

  // Each part is a multiple of 16 floats: all stay aligned.
  float* next = AlignUp(scratch);
  float* k = next;
  next += keys_a_block * dim;
  float* values = next;
  next += keys_a_block * dim;
  float* scores = next;
  next += keys_a_block * kStripVectors * n;

  const size_t start =
      params.FirstSeen(block.first_visible + 1) / keys_a_block * keys_a_block;
  for (size_t first = start; first < total_keys; first += keys_a_block) {
    const size_t keys = std::min(keys_a_block, total_keys - first);
    const size_t padded = (keys + kTile - 1) / kTile * kTile;
    StageRows(all_keys + first * KvRowStep<T>(dim), keys, padded, dim, dim, k);
    StageRows(all_values + first * KvRowStep<T>(dim), keys, keys, dim, dim,
              values);

    float* strip_memory = next;
    for (size_t begin = 0; begin < queries; begin += kStripVectors * n) {
      Strip strip;
      strip.begin = begin;
      strip.vectors = std::min(kStripVectors, (queries - begin + n - 1) / n);
      const size_t width = strip.vectors * n;
      strip.q = strip_memory;
      strip.o = strip.q + dim * width;
      strip.max = strip.o + dim * width;
      strip.sum = strip.max + width;
      strip.last_key = reinterpret_cast<int32_t*>(strip.sum + width);
      strip_memory = strip.sum + 2 * width;
      if (first == start) PackStrip(block, QueryFactor(params), strip);
      strip.all_visible = static_cast<size_t>(strip.last_key[0]) + 1;
      strip.some_visible = static_cast<size_t>(strip.last_key[width - 1]) + 1;

      strip.first_seen = params.FirstSeen(strip.all_visible);
      strip.all_seen = params.FirstSeen(strip.some_visible);

      // Blocks that are wholly in the strip's future, or before its window,
      // are skipped, not masked.
      if (first < strip.some_visible && first + keys > strip.first_seen) {
        const size_t seen = std::min(keys, strip.some_visible - first);
        if (strip.vectors == 3)
          AttendBlock<3>(strip, k, values, first, seen, dim, params, scores);
        else if (strip.vectors == 2)
          AttendBlock<2>(strip, k, values, first, seen, dim, params, scores);
        else
          AttendBlock<1>(strip, k, values, first, seen, dim, params, scores);
      }
      if (first + keys == total_keys)
        UnpackStrip(block, strip, out, out_stride);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dapple::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
