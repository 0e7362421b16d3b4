#include "gguf/block_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gguf/scale_search.h"
#include "util/half.h"
#include "util/quant_block.h"

namespace dapple {
namespace {

constexpr size_t kMaxGroups = kMaxBlockElements / 16;

// A block to encode: values divided by their largest magnitude, with weights.
struct Source {
  size_t count = 0;
  float unit = 0.0f;           // the largest magnitude
  float x[kMaxBlockElements];  // in [-1, 1]
  float w[kMaxBlockElements];

  Source(const float* values, const float* importance, size_t n) : count(n) {
    for (size_t i = 0; i < n; ++i) unit = std::max(unit, std::fabs(values[i]));
    // Smaller than any f16 scale could make of it: zero.
    const float inverse = unit > 1e-30f ? 1.0f / unit : 0.0f;
    float mean = 0.0f;
    for (size_t i = 0; i < n; ++i) {
      x[i] = values[i] * inverse;
      mean += x[i] * x[i] / static_cast<float>(n);
    }
    float weights = 0.0f;
    for (size_t i = 0; i < n; ++i) {
      w[i] = std::sqrt(mean + x[i] * x[i]);
      if (importance != nullptr) w[i] *= importance[i];
      weights += w[i];
    }
    // Inputs that were never seen, or a block of zeros: all count the same.
    if (!(weights > 0.0f) || !std::isfinite(weights))
      std::fill(w, w + n, 1.0f);
    else
      for (size_t i = 0; i < n; ++i) w[i] *= static_cast<float>(n) / weights;
  }
};

// An f16 scale and the same in units of the block. A scale that f16 cannot
// hold is reported; one that vanishes is zero.
bool Half(float value, const Source& source, F16* out, float* rounded) {
  *out = ToF16(value * source.unit);
  *rounded = source.unit > 1e-30f ? ToFloat(*out) / source.unit : 0.0f;
  return (out->bits & 0x7C00) != 0x7C00 && std::isfinite(*rounded);
}

// 0 for scales without a finite inverse: everything becomes zero then.
float Inverse(float scale) {
  return std::fabs(scale) > 1e-30f ? 1.0f / scale : 0.0f;
}

template <class Grid>
float Error(const Grid& grid, const float* x, const float* w, size_t n,
            float scale, float offset) {
  const float inverse = Inverse(scale);
  float error = 0.0f;
  for (size_t i = 0; i < n; ++i) {
    const int code = grid.Nearest((x[i] - offset) * inverse);
    const float d = scale * grid.Value(code) + offset - x[i];
    error += w[i] * d * d;
  }
  return error;
}

// Codes of x: [n] for a scale that is final.
template <class Grid>
void Encode(const Grid& grid, const float* x, size_t n, float scale,
            float offset, uint8_t* codes) {
  const float inverse = Inverse(scale);
  for (size_t i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(grid.Nearest((x[i] - offset) * inverse));
}

// ---- Layouts ----------------------------------------------------------------

void PackNibbles(const uint8_t* codes /*[32]*/, uint8_t* nibbles /*[16]*/) {
  for (size_t i = 0; i < 16; ++i)
    nibbles[i] = static_cast<uint8_t>((codes[i] & 15) | codes[16 + i] << 4);
}

void PackFifthBits(const uint8_t* codes /*[32]*/, uint8_t* high /*[4]*/) {
  for (size_t i = 0; i < 32; ++i)
    high[i / 8] |= static_cast<uint8_t>((codes[i] >> 4 & 1) << (i % 8));
}

// Of Q4_K and Q5_K; scales, mins: [8] six-bit numbers.
void PackKScales(const int* scales, const int* mins, uint8_t* out /*[12]*/) {
  for (size_t g = 0; g < 4; ++g) {
    const int s = scales[g + 4];
    const int m = mins[g + 4];
    out[g] = static_cast<uint8_t>(scales[g] | s >> 4 << 6);
    out[g + 4] = static_cast<uint8_t>(mins[g] | m >> 4 << 6);
    out[g + 8] = static_cast<uint8_t>((s & 15) | (m & 15) << 4);
  }
}

template <class Block>
void Store(const Block& block, std::byte* out) {
  std::memcpy(out, &block, sizeof(block));
}

// ---- Blocks of 32 -----------------------------------------------------------

// The scale of a block with one, and its codes.
template <class Grid>
bool EncodeSymmetric(const Grid& grid, const Source& source, F16* half,
                     uint8_t* codes) {
  float scale = SearchScale(grid, source.x, source.w, source.count);
  if (!Half(scale, source, half, &scale)) return false;
  Encode(grid, source.x, source.count, scale, 0.0f, codes);
  return true;
}

template <class Block>
bool EncodeAffine32(int most, const Source& source, Block* block,
                    uint8_t* codes) {
  AffineScale fit = SearchAffine(most, false, source.x, source.w, 32);
  if (!Half(fit.scale, source, &block->scale, &fit.scale) ||
      !Half(fit.offset, source, &block->minimum, &fit.offset))
    return false;
  Encode(UniformGrid{0, most}, source.x, 32, fit.scale, fit.offset, codes);
  return true;
}

void EncodeMxfp4(const Source& source, BlockMXFP4* block) {
  const TableGrid grid{kMxfp4Values};
  constexpr int kMost = 252;  // 12 * 2^124 is the largest float of this form
  int exponent = 0;
  if (source.unit > 1e-30f) {
    // 12 steps of 2^(e - 128) reach the largest value; its neighbours may fit
    // the others better.
    const int middle =
        static_cast<int>(std::lrint(std::log2(source.unit / 12.0f))) + 128;
    float least = -1.0f;
    for (int e = middle - 1; e <= middle + 1; ++e) {
      const int inside = std::clamp(e, 0, kMost);
      const float scale = MxScale(static_cast<uint8_t>(inside)) / source.unit;
      const float error = Error(grid, source.x, source.w, 32, scale, 0.0f);
      if (least < 0.0f || error < least) {
        least = error;
        exponent = inside;
      }
    }
  }
  block->exponent = static_cast<uint8_t>(exponent);
  const float scale =
      source.unit > 1e-30f ? MxScale(block->exponent) / source.unit : 0.0f;
  uint8_t codes[32];
  Encode(grid, source.x, 32, scale, 0.0f, codes);
  PackNibbles(codes, block->nibbles);
}

// ---- Superblocks ------------------------------------------------------------

// Groups with small signed scales in [low, high]; `codes` are the grid's.
template <class Grid>
bool EncodeSigned(const Grid& grid, size_t group, int low, int high,
                  const Source& source, F16* half, int* group_scales,
                  uint8_t* codes) {
  const size_t groups = source.count / group;
  float scales[kMaxGroups];
  float extreme = 0.0f;
  for (size_t g = 0; g < groups; ++g) {
    scales[g] =
        SearchScale(grid, source.x + g * group, source.w + g * group, group);
    if (std::fabs(scales[g]) > std::fabs(extreme)) extreme = scales[g];
  }
  float scale;
  // The extreme becomes `low`, the end that reaches further.
  if (!Half(extreme / static_cast<float>(low), source, half, &scale))
    return false;
  const UniformGrid scale_grid{low, high};
  for (size_t g = 0; g < groups; ++g) {
    const float* x = source.x + g * group;
    const float* w = source.w + g * group;
    const int middle = scale_grid.Nearest(scales[g] * Inverse(scale));
    int best = middle;
    float least = -1.0f;
    for (int s = std::max(low, middle - 1); s <= std::min(high, middle + 1);
         ++s) {
      const float error =
          Error(grid, x, w, group, scale * static_cast<float>(s), 0.0f);
      if (least < 0.0f || error < least) {
        least = error;
        best = s;
      }
    }
    group_scales[g] = best;
    Encode(grid, x, group, scale * static_cast<float>(best), 0.0f,
           codes + g * group);
  }
  return true;
}

// Groups with small scales and minima in [0, most_scale].
template <class Block>
bool EncodeMinima(int most, size_t group, int most_scale, const Source& source,
                  Block* block, int* group_scales, int* group_mins,
                  uint8_t* codes) {
  const size_t groups = source.count / group;
  AffineScale fits[kMaxGroups];
  float largest = 0.0f;
  float deepest = 0.0f;
  for (size_t g = 0; g < groups; ++g) {
    fits[g] = SearchAffine(most, true, source.x + g * group,
                           source.w + g * group, group);
    largest = std::max(largest, fits[g].scale);
    deepest = std::max(deepest, -fits[g].offset);
  }
  const float steps = static_cast<float>(most_scale);
  float scale;
  float minimum;
  if (!Half(largest / steps, source, &block->scale, &scale) ||
      !Half(deepest / steps, source, &block->minimum, &minimum))
    return false;
  const UniformGrid small{0, most_scale};
  const UniformGrid grid{0, most};
  for (size_t g = 0; g < groups; ++g) {
    const float* x = source.x + g * group;
    const float* w = source.w + g * group;
    const int s0 = small.Nearest(fits[g].scale * Inverse(scale));
    const int m0 = small.Nearest(-fits[g].offset * Inverse(minimum));
    float least = -1.0f;
    for (int s = std::max(0, s0 - 1); s <= std::min(most_scale, s0 + 1); ++s) {
      for (int m = std::max(0, m0 - 1); m <= std::min(most_scale, m0 + 1);
           ++m) {
        const float error =
            Error(grid, x, w, group, scale * static_cast<float>(s),
                  -minimum * static_cast<float>(m));
        if (least < 0.0f || error < least) {
          least = error;
          group_scales[g] = s;
          group_mins[g] = m;
        }
      }
    }
    Encode(grid, x, group, scale * static_cast<float>(group_scales[g]),
           -minimum * static_cast<float>(group_mins[g]), codes + g * group);
  }
  return true;
}

bool EncodeQ2K(const Source& source, BlockQ2_K* block) {
  int scales[16];
  int mins[16];
  uint8_t codes[256];
  if (!EncodeMinima(3, 16, 15, source, block, scales, mins, codes))
    return false;
  for (size_t g = 0; g < 16; ++g)
    block->group_scales[g] = static_cast<uint8_t>(scales[g] | mins[g] << 4);
  for (size_t i = 0; i < 256; ++i)
    block->quants[i / 128 * 32 + i % 32] |=
        static_cast<uint8_t>(codes[i] << (i / 32 % 4 * 2));
  return true;
}

bool EncodeQ3K(const Source& source, BlockQ3_K* block) {
  int scales[16];
  uint8_t codes[256];
  if (!EncodeSigned(UniformGrid{-4, 3}, 16, -32, 31, source, &block->scale,
                    scales, codes))
    return false;
  for (size_t g = 0; g < 16; ++g) {
    const int s = scales[g] + 32;
    block->group_scales[g % 8] |= static_cast<uint8_t>((s & 15) << (g / 8 * 4));
    block->group_scales[8 + g % 4] |=
        static_cast<uint8_t>(s >> 4 << (g / 4 * 2));
  }
  for (size_t i = 0; i < 256; ++i) {
    const int q = static_cast<int8_t>(codes[i]) + 4;
    block->quants[i / 128 * 32 + i % 32] |=
        static_cast<uint8_t>((q & 3) << (i / 32 % 4 * 2));
    block->high[i % 32] |= static_cast<uint8_t>(q >> 2 << (i / 32));
  }
  return true;
}

// Q4_K and Q5_K: nibbles, and codes for what else the caller stores.
template <class Block>
bool EncodeK(int most, const Source& source, Block* block, uint8_t* codes) {
  int scales[8];
  int mins[8];
  if (!EncodeMinima(most, 32, 63, source, block, scales, mins, codes))
    return false;
  PackKScales(scales, mins, block->group_scales);
  for (size_t i = 0; i < 256; ++i)
    block->nibbles[i / 64 * 32 + i % 32] |=
        static_cast<uint8_t>((codes[i] & 15) << (i / 32 % 2 * 4));
  return true;
}

bool EncodeQ6K(const Source& source, BlockQ6_K* block) {
  int scales[16];
  uint8_t codes[256];
  if (!EncodeSigned(UniformGrid{-32, 31}, 16, -128, 127, source, &block->scale,
                    scales, codes))
    return false;
  for (size_t g = 0; g < 16; ++g)
    block->group_scales[g] = static_cast<int8_t>(scales[g]);
  for (size_t i = 0; i < 256; ++i) {
    const int q = static_cast<int8_t>(codes[i]) + 32;
    const size_t half = i / 128;
    const size_t part = i / 32 % 4;
    block->low[64 * half + i % 64] |=
        static_cast<uint8_t>((q & 15) << (part / 2 * 4));
    block->high[32 * half + i % 32] |=
        static_cast<uint8_t>(q >> 4 << (2 * part));
  }
  return true;
}

bool EncodeIQ4XS(const Source& source, BlockIQ4_XS* block) {
  int scales[8];
  uint8_t codes[256];
  if (!EncodeSigned(TableGrid{kIq4Values}, 32, -32, 31, source, &block->scale,
                    scales, codes))
    return false;
  for (size_t g = 0; g < 8; ++g) {
    const int s = scales[g] + 32;
    block->scales_low[g / 2] |= static_cast<uint8_t>((s & 15) << (g % 2 * 4));
    block->scales_high[g / 4] |= static_cast<uint8_t>(s >> 4 << (g % 4 * 2));
    PackNibbles(codes + g * 32, block->nibbles + g * 16);
  }
  return true;
}

// codes of a symmetric grid, made unsigned
void Raise(int offset, uint8_t* codes, size_t n) {
  for (size_t i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(static_cast<int8_t>(codes[i]) + offset);
}

}  // namespace

bool EncodeBlockBySearch(TensorType type, const float* x,
                         const float* importance, std::byte* out) {
  const Source source(x, importance, InfoOf(type).block_elements);
  uint8_t codes[kMaxBlockElements];
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
      return false;
    case TensorType::kQ4_0: {
      BlockQ4_0 block{};
      if (!EncodeSymmetric(UniformGrid{-8, 7}, source, &block.scale, codes))
        return false;
      Raise(8, codes, 32);
      PackNibbles(codes, block.nibbles);
      Store(block, out);
      return true;
    }
    case TensorType::kQ4_1: {
      BlockQ4_1 block{};
      if (!EncodeAffine32(15, source, &block, codes)) return false;
      PackNibbles(codes, block.nibbles);
      Store(block, out);
      return true;
    }
    case TensorType::kQ5_0: {
      BlockQ5_0 block{};
      if (!EncodeSymmetric(UniformGrid{-16, 15}, source, &block.scale, codes))
        return false;
      Raise(16, codes, 32);
      PackNibbles(codes, block.nibbles);
      PackFifthBits(codes, block.high);
      Store(block, out);
      return true;
    }
    case TensorType::kQ5_1: {
      BlockQ5_1 block{};
      if (!EncodeAffine32(31, source, &block, codes)) return false;
      PackNibbles(codes, block.nibbles);
      PackFifthBits(codes, block.high);
      Store(block, out);
      return true;
    }
    case TensorType::kQ8_0: {
      BlockQ8_0 block{};
      if (!EncodeSymmetric(UniformGrid{-127, 127}, source, &block.scale, codes))
        return false;
      std::memcpy(block.quants, codes, sizeof(block.quants));
      Store(block, out);
      return true;
    }
    case TensorType::kIQ4_NL: {
      BlockIQ4_NL block{};
      if (!EncodeSymmetric(TableGrid{kIq4Values}, source, &block.scale, codes))
        return false;
      PackNibbles(codes, block.nibbles);
      Store(block, out);
      return true;
    }
    case TensorType::kMXFP4: {
      BlockMXFP4 block{};
      EncodeMxfp4(source, &block);
      Store(block, out);
      return true;
    }
    case TensorType::kQ2_K: {
      BlockQ2_K block{};
      if (!EncodeQ2K(source, &block)) return false;
      Store(block, out);
      return true;
    }
    case TensorType::kQ3_K: {
      BlockQ3_K block{};
      if (!EncodeQ3K(source, &block)) return false;
      Store(block, out);
      return true;
    }
    case TensorType::kQ4_K: {
      BlockQ4_K block{};
      if (!EncodeK(15, source, &block, codes)) return false;
      Store(block, out);
      return true;
    }
    case TensorType::kQ5_K: {
      BlockQ5_K block{};
      if (!EncodeK(31, source, &block, codes)) return false;
      for (size_t i = 0; i < 256; ++i)
        block.high[i % 32] |=
            static_cast<uint8_t>((codes[i] >> 4 & 1) << (i / 32));
      Store(block, out);
      return true;
    }
    case TensorType::kQ6_K: {
      BlockQ6_K block{};
      if (!EncodeQ6K(source, &block)) return false;
      Store(block, out);
      return true;
    }
    case TensorType::kIQ4_XS: {
      BlockIQ4_XS block{};
      if (!EncodeIQ4XS(source, &block)) return false;
      Store(block, out);
      return true;
    }
  }
  return false;
}

}  // namespace dapple
