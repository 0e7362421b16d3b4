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
//
// Where the processor has a bf16 dot product, queries, keys, values and
// probabilities are rounded to bf16 for the two products (twice the float
// rate); scores, softmax and sums stay float. Rows of float are not. On x86
// without it the products are of 16-bit integers (attention_int16-inl.h).
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
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/attention.h"
#include "kernels/attention_int16-inl.h"
#include "kernels/attention_layout.h"
#include "kernels/attention_tile-inl.h"
#include "kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dapple::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Probabilities of a block as AddValues wants them. scores: [keys, kV * Lanes],
// in units of log2, become E [ceil(keys / PairOf<E>), kV * Lanes] in the same
// memory. Adds them to sum.
template <size_t kV>
HWY_INLINE float* MakeProbabilities(float*, size_t keys, const VQ (&max)[kV],
                                    VQ (&sum)[kV], float* scores) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  for (size_t j = 0; j < keys; ++j) {
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) {
      float* s = scores + (j * kV + v) * n;
      const VQ p = Exp2(d, hn::Sub(hn::Load(d, s), max[v]));
      hn::Store(p, d, s);
      sum[v] = hn::Add(sum[v], p);
    }
  }
  return scores;
}

#if HWY_NATIVE_DOT_BF16
template <size_t kV>
HWY_INLINE BF16Pair* MakeProbabilities(BF16Pair*, size_t keys,
                                       const VQ (&max)[kV], VQ (&sum)[kV],
                                       float* scores) {
  const DQ d;
  const hn::ScalableTag<BF16Pair> du32;
  const size_t n = hn::Lanes(d);
  // Pair j / 2 lies where scores that have been read lay.
  auto* pairs = reinterpret_cast<BF16Pair*>(scores);
  size_t j = 0;
  for (; j + 2 <= keys; j += 2) {
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) {
      const float* s = scores + (j * kV + v) * n;
      const VQ low = Exp2Coarse(d, hn::Sub(hn::Load(d, s), max[v]));
      const VQ high = Exp2Coarse(d, hn::Sub(hn::Load(d, s + kV * n), max[v]));
      sum[v] = hn::Add(sum[v], hn::Add(low, high));
      hn::Store(MakePairsFast(low, high), du32, pairs + (j / 2 * kV + v) * n);
    }
  }
  if (j < keys) {
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v) {
      const float* s = scores + (j * kV + v) * n;
      const VQ low = Exp2Coarse(d, hn::Sub(hn::Load(d, s), max[v]));
      sum[v] = hn::Add(sum[v], low);
      hn::Store(MakePairsFast(low, hn::Zero(d)), du32,
                pairs + (j / 2 * kV + v) * n);
    }
  }
  return pairs;
}
#endif

// One step of the online softmax over `keys` scores a lane, which become
// probabilities relative to the new maximum. correction: [kV * Lanes], by
// which older sums must be multiplied.
template <class E, size_t kV>
HWY_INLINE E* UpdateSoftmax(const Strip& strip, size_t keys, float* scores,
                            float* correction) {
  const DQ d;
  const size_t n = hn::Lanes(d);
  VQ max[kV];
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) max[v] = hn::Load(d, strip.max + v * n);
  for (size_t j = 0; j < keys; ++j) {
    HWY_UNROLL(3)
    for (size_t v = 0; v < kV; ++v)
      max[v] = hn::Max(max[v], hn::Load(d, scores + (j * kV + v) * n));
  }
  VQ sum[kV];
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) {
    const VQ factor = Exp2(d, hn::Sub(hn::Load(d, strip.max + v * n), max[v]));
    hn::Store(factor, d, correction + v * n);
    hn::Store(max[v], d, strip.max + v * n);
    sum[v] = hn::Mul(hn::Load(d, strip.sum + v * n), factor);
  }
  E* p =
      MakeProbabilities<kV>(static_cast<E*>(nullptr), keys, max, sum, scores);
  HWY_UNROLL(3)
  for (size_t v = 0; v < kV; ++v) hn::Store(sum[v], d, strip.sum + v * n);
  return p;
}

template <class E, class T>
HWY_INLINE void StageBlock(const T* keys, const T* values, size_t count,
                           size_t padded, size_t dim, const Staged<E>& to) {
  StageKeys(keys, count, padded, dim, to.k);
  StageValues(values, count, dim, to.values);
}

// block: of keys first_key and on.
template <size_t kV, class E>
HWY_NOINLINE void AttendBlock(const Strip& strip, const Staged<E>& block,
                              size_t first_key, size_t keys, size_t dim,
                              const AttentionParams& params, float* scores) {
  HWY_ALIGN float correction[kV * hn::MaxLanes(DQ())];
  ScoreKeys<kV>(block.k, keys, dim / PairOf<E>,
                reinterpret_cast<const E*>(strip.q), scores);
  if (params.softcap != 0.0f)
    CapLogits(params.softcap, keys * kV * hn::Lanes(DQ()), scores);
  if (first_key + keys > strip.all_visible || first_key < strip.all_seen)
    HideUnseen<kV>(strip.last_key, WindowLanes(params), first_key, keys,
                   scores);
  const E* p = UpdateSoftmax<E, kV>(strip, keys, scores, correction);
  AddValues<kV>(block.values, (keys + PairOf<E> - 1) / PairOf<E>, dim, p,
                correction, strip.o);
}

// Vectors of a strip: integers need a register for each product.
template <class E>
inline constexpr size_t kMostVectors =
    std::is_same_v<E, Int16Pair> ? 2 : kStripVectors;

// A block's operands in memory of [2, keys, dim] floats.
template <class E>
HWY_INLINE Staged<E> StagedAt(float* memory, size_t keys, size_t dim) {
  if constexpr (std::is_same_v<E, Int16Pair>) {
    // Pairs of values take half of the room, those of keys somewhat more;
    // scales have room for whole vectors.
    float* values = memory + keys * dim;
    float* scales = values + keys * dim / 2;
    const size_t each = keys + hn::MaxLanes(DQ());
    return {reinterpret_cast<Int16Pair*>(memory),
            reinterpret_cast<Int16Pair*>(values), scales, scales + each,
            scales + 2 * each};
  } else {
    auto* operands = reinterpret_cast<E*>(memory);
    return {operands, operands + keys * dim};
  }
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
template <class E>
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
    // A factor of 0 leaves lanes past the last query 0 (or NaN as the query).
    E* packed = reinterpret_cast<E*>(strip.q) + lane;
    PackQuery(q, block.dim, real ? factor : 0.0f, width, packed,
              strip.q_scale + lane);
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
  using E = TileElement<T>;
  const size_t n = hn::Lanes(DQ());
  const size_t dim = block.dim;
  const size_t queries = block.rows * block.group;
  const size_t total_keys = block.first_visible + block.rows;
  const size_t keys_a_block = KeysPerBlock(dim);

  // Each part is a multiple of 16 floats: all stay aligned.
  float* next = AlignUp(scratch);
  const Staged<E> staged = StagedAt<E>(next, keys_a_block, dim);
  next += 2 * keys_a_block * dim;
  float* scores = next;
  next += keys_a_block * kStripVectors * n;

  const size_t start =
      params.FirstSeen(block.first_visible + 1) / keys_a_block * keys_a_block;
  for (size_t first = start; first < total_keys; first += keys_a_block) {
    const size_t keys = std::min(keys_a_block, total_keys - first);
    const size_t padded = (keys + kTile - 1) / kTile * kTile;
    StageBlock(all_keys + first * KvRowStep<T>(dim),
               all_values + first * KvRowStep<T>(dim), keys, padded, dim,
               staged);

    float* strip_memory = next;
    for (size_t begin = 0; begin < queries; begin += kMostVectors<E> * n) {
      Strip strip;
      strip.begin = begin;
      strip.vectors = std::min(kMostVectors<E>, (queries - begin + n - 1) / n);
      const size_t width = strip.vectors * n;
      strip.q = strip_memory;
      strip.o = strip.q + dim * width;
      strip.max = strip.o + dim * width;
      strip.sum = strip.max + width;
      strip.last_key = reinterpret_cast<int32_t*>(strip.sum + width);
      strip.q_scale = strip.sum + 2 * width;
      strip_memory = strip.q_scale + width;
      if (first == start) PackStrip<E>(block, QueryFactor(params), strip);
      strip.all_visible = static_cast<size_t>(strip.last_key[0]) + 1;
      strip.some_visible = static_cast<size_t>(strip.last_key[width - 1]) + 1;

      strip.first_seen = params.FirstSeen(strip.all_visible);
      strip.all_seen = params.FirstSeen(strip.some_visible);

      // Blocks that are wholly in the strip's future, or before its window,
      // are skipped, not masked.
      if (first < strip.some_visible && first + keys > strip.first_seen) {
        const size_t seen = std::min(keys, strip.some_visible - first);
        if (strip.vectors == 1) {
          AttendBlock<1>(strip, staged, first, seen, dim, params, scores);
        } else if (strip.vectors == 2) {
          AttendBlock<2>(strip, staged, first, seen, dim, params, scores);
        } else {
          if constexpr (kMostVectors<E> == 3)
            AttendBlock<3>(strip, staged, first, seen, dim, params, scores);
        }
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
