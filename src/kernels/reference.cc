#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "util/quant_block.h"

namespace dapple::kernels::reference {

void RmsNorm(const float* x, const float* weight, float eps, size_t rows,
             size_t cols, float* out) {
  for (size_t r = 0; r < rows; ++r) {
    double sum = 0.0;
    for (size_t c = 0; c < cols; ++c) {
      const double v = x[r * cols + c];
      sum += v * v;
    }
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(cols) +
                                         static_cast<double>(eps));
    for (size_t c = 0; c < cols; ++c)
      out[r * cols + c] = static_cast<float>(
          static_cast<double>(x[r * cols + c]) * scale * weight[c]);
  }
}

void Rope(float* x, size_t rows, size_t row_stride, size_t heads,
          size_t head_dim, size_t rotary, RopePairs pairs, const float* cos,
          const float* sin) {
  const size_t half = rotary / 2;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t h = 0; h < heads; ++h) {
      float* head = x + r * row_stride + h * head_dim;
      for (size_t i = 0; i < half; ++i) {
        const bool adjacent = pairs == RopePairs::kAdjacent;
        float& first = head[adjacent ? 2 * i : i];
        float& second = head[adjacent ? 2 * i + 1 : i + half];
        const double a = first;
        const double b = second;
        const double c = cos[r * half + i];
        const double s = sin[r * half + i];
        first = static_cast<float>(a * c - b * s);
        second = static_cast<float>(a * s + b * c);
      }
    }
  }
}

void SwiGlu(const float* gate, const float* up, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const double g = gate[i];
    out[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * up[i]);
  }
}

void GeGlu(const float* gate, const float* up, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const double g = gate[i];
    const double z =
        std::sqrt(2.0 / std::numbers::pi) * (g + 0.044715 * g * g * g);
    // 1 + tanh(z) of a very negative z would cancel to 0.
    const double twice =
        z < 0 ? 2.0 * std::exp(2.0 * z) / (1.0 + std::exp(2.0 * z))
              : 1.0 + std::tanh(z);
    out[i] = static_cast<float>(0.5 * g * twice * up[i]);
  }
}

F16 ToF16Saturated(float value) {
  if (value > 65504.0f) value = 65504.0f;
  if (value < -65504.0f) value = -65504.0f;
  return ToF16(value);
}

namespace {

float BlockScale(const unsigned char* block) {
  F16 scale;
  std::memcpy(&scale, block, sizeof(scale));
  return ToFloat(scale);
}

template <class T>
T Element(const void* row, size_t i) {
  T value;
  std::memcpy(&value, static_cast<const unsigned char*>(row) + i * sizeof(T),
              sizeof(T));
  return value;
}

double Capped(double logit, float cap) {
  if (cap == 0.0f) return logit;
  return static_cast<double>(cap) * std::tanh(logit / static_cast<double>(cap));
}

float Widen(float v) { return v; }
float Widen(F16 v) { return ToFloat(v); }

// The logit of key j for a query at key index i.
template <class T>
double Logit(const float* q, const T* keys, size_t head_dim, size_t i, size_t j,
             const AttentionParams& params) {
  if (j > i || (params.window != 0 && i - j >= params.window))
    return -std::numeric_limits<double>::infinity();
  double dot = 0.0;
  for (size_t c = 0; c < head_dim; ++c)
    dot += static_cast<double>(q[c]) *
           static_cast<double>(Widen(keys[j * head_dim + c]));
  return Capped(dot * static_cast<double>(params.scale), params.softcap);
}

}  // namespace

void Dequantize(TensorType type, const void* row, size_t count, float* out) {
  DequantizeReference(type, row, count, out);
}

void QuantizeActivations(const float* x, size_t k, BlockActivation* out) {
  for (size_t b = 0; b < k / 32; ++b, x += 32, ++out) {
    bool finite = true;
    float largest = 0.0f;
    for (size_t i = 0; i < 32; ++i) {
      finite = finite && std::isfinite(x[i]);
      largest = std::max(largest, std::fabs(x[i]));
    }
    if (!finite) {
      std::memset(out->quants, 0, sizeof(out->quants));
      out->scale = out->sum = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    const bool tiny = largest < 0x1p-100f;
    out->scale = tiny ? 0.0f : largest / 127.0f;
    const float inverse = tiny ? 0.0f : 127.0f / largest;
    int total = 0;
    for (size_t i = 0; i < 32; ++i) {
      // nearbyint: ties to even in the default rounding mode.
      out->quants[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
      total += out->quants[i];
    }
    out->sum = out->scale * static_cast<float>(total);
  }
}

void Gemv(TensorType type, const void* w, size_t row_bytes, size_t k,
          size_t first, size_t last, const float* x, double* y) {
  std::vector<float> row(k);
  for (size_t r = first; r < last; ++r) {
    Dequantize(type, static_cast<const unsigned char*>(w) + r * row_bytes, k,
               row.data());
    double sum = 0.0;
    for (size_t i = 0; i < k; ++i)
      sum += static_cast<double>(row[i]) * static_cast<double>(x[i]);
    y[r] = sum;
  }
}

void GemvQuantized(TensorType type, const void* w, size_t row_bytes, size_t k,
                   size_t first, size_t last, const BlockActivation* x,
                   double* y) {
  const TensorTypeInfo& info = InfoOf(type);
  UnpackedBlock block;
  for (size_t r = first; r < last; ++r) {
    const auto* row = static_cast<const unsigned char*>(w) + r * row_bytes;
    double sum = 0.0;
    for (size_t at = 0; at < k; at += info.block_elements) {
      UnpackBlock(type, row + RowBytes(type, at), &block);
      for (size_t g = 0; g < block.elements / block.group; ++g) {
        const BlockActivation& in = x[(at + g * block.group) / 32];
        int dot = 0;
        int total = 0;
        for (size_t i = g * block.group; i < (g + 1) * block.group; ++i) {
          dot += block.quants[i] * in.quants[(at + i) % 32];
          total += in.quants[(at + i) % 32];
        }
        sum += static_cast<double>(in.scale) *
               (static_cast<double>(block.scales[g]) * dot -
                static_cast<double>(block.mins[g]) * total);
      }
    }
    y[r] = sum;
  }
}

void Softmax(float* x, size_t count, float scale) {
  double max = -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < count; ++i)
    max = std::max(max, static_cast<double>(x[i]) * scale);
  std::vector<double> e(count, 0.0);
  double sum = 0.0;
  for (size_t i = 0; i < count; ++i) {
    if (x[i] * scale == -std::numeric_limits<float>::infinity()) continue;
    e[i] = std::exp(static_cast<double>(x[i]) * scale - max);
    sum += e[i];
  }
  for (size_t i = 0; i < count; ++i)
    x[i] = sum == 0.0 ? 0.0f : static_cast<float>(e[i] / sum);
}

size_t ArgMax(const float* x, size_t count) {
  size_t best = count;
  for (size_t i = 0; i < count; ++i)
    if (!std::isnan(x[i]) && (best == count || x[i] > x[best])) best = i;
  return best == count ? 0 : best;
}

void Softcap(float* x, size_t count, float cap) {
  for (size_t i = 0; i < count; ++i)
    x[i] = static_cast<float>(Capped(static_cast<double>(x[i]), cap));
}

double LogSumExp(const float* x, size_t count) {
  const double max = *std::max_element(x, x + count);
  double sum = 0.0;
  for (size_t i = 0; i < count; ++i)
    sum += std::exp(static_cast<double>(x[i]) - max);
  return max + std::log(sum);
}

namespace {

// quants[i] of x[i] / scale.
int RoundedQuant(float x, float scale, int low, int high) {
  if (scale == 0.0f) return low > 0 ? low : 0;
  // nearbyint: ties to even in the default rounding mode.
  const float q = std::nearbyint(x * (1.0f / scale));
  return static_cast<int>(
      std::clamp(q, static_cast<float>(low), static_cast<float>(high)));
}

void StoreHalf(float value, unsigned char* at) {
  const F16 half = ToF16Saturated(value);
  std::memcpy(at, &half, sizeof(half));
}

bool AllFinite(const float* x, size_t count) {
  return std::all_of(x, x + count, [](float v) { return std::isfinite(v); });
}

}  // namespace

void StoreKvRow(KvType type, const float* x, size_t head_dim, void* row) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  auto* bytes = static_cast<unsigned char*>(row);
  if (type == KvType::kF32) {
    std::memcpy(bytes, x, 4 * head_dim);
  } else if (type == KvType::kF16) {
    for (size_t i = 0; i < head_dim; ++i) StoreHalf(x[i], bytes + 2 * i);
  } else if (type == KvType::kQ8) {
    const bool finite = AllFinite(x, head_dim);
    float largest = 0.0f;
    for (size_t i = 0; i < head_dim; ++i)
      largest = std::max(largest, std::fabs(x[i]));
    StoreHalf(finite ? largest / 127.0f : kNan, bytes);
    const float scale = BlockScale(bytes);
    for (size_t i = 0; i < head_dim; ++i)
      bytes[2 + i] = static_cast<unsigned char>(
          finite ? RoundedQuant(x[i], scale, -127, 127) : 0);
  } else {
    for (size_t i = 0; i < head_dim;
         i += kQ4KvBlock, bytes += kQ4KvBlockBytes) {
      const size_t count = std::min(kQ4KvBlock, head_dim - i);
      std::memset(bytes, 0, kQ4KvBlockBytes);
      if (!AllFinite(x + i, count)) {
        StoreHalf(kNan, bytes);
        continue;
      }
      const auto [least, most] = std::minmax_element(x + i, x + i + count);
      StoreHalf(*most / 15.0f - *least / 15.0f, bytes);
      StoreHalf(*least, bytes + 2);
      for (size_t j = 0; j < count; ++j) {
        const int quant = RoundedQuant(x[i + j] - BlockScale(bytes + 2),
                                       BlockScale(bytes), 0, 15);
        bytes[4 + j % 16] |=
            static_cast<unsigned char>(j < 16 ? quant : quant << 4);
      }
    }
  }
}

void LoadKvRow(KvType type, const void* row, size_t head_dim, float* x) {
  const auto* bytes = static_cast<const unsigned char*>(row);
  for (size_t i = 0; i < head_dim; ++i) {
    switch (type) {
      case KvType::kF32:
        x[i] = Element<float>(row, i);
        break;
      case KvType::kF16:
        x[i] = ToFloat(Element<F16>(row, i));
        break;
      case KvType::kQ8:
        x[i] = BlockScale(bytes) *
               static_cast<float>(static_cast<int8_t>(bytes[2 + i]));
        break;
      case KvType::kQ4: {
        const auto* block = bytes + i / kQ4KvBlock * kQ4KvBlockBytes;
        const int byte = block[4 + i % 16];
        const int quant = i % kQ4KvBlock < 16 ? byte & 15 : byte >> 4;
        x[i] = static_cast<float>(quant) * BlockScale(block) +
               BlockScale(block + 2);
        break;
      }
    }
  }
}

template <class T>
void DecodeAttention(const KvHeadView<T>& kv, const float* q, size_t group,
                     size_t count, const AttentionParams& params, float* out) {
  const size_t dim = kv.head_dim;
  std::vector<double> p(count);
  for (size_t g = 0; g < group; ++g) {
    double max = -std::numeric_limits<double>::infinity();
    for (size_t j = 0; j < count; ++j) {
      p[j] = Logit(q + g * dim, kv.keys, dim, count - 1, j, params);
      max = std::max(max, p[j]);
    }
    double sum = 0.0;
    for (double& v : p) {
      v = std::exp(v - max);
      sum += v;
    }
    for (size_t i = 0; i < dim; ++i) {
      double value = 0.0;
      for (size_t j = 0; j < count; ++j)
        value += p[j] * static_cast<double>(Widen(kv.values[j * dim + i]));
      out[g * dim + i] = static_cast<float>(value / sum);
    }
  }
}

template <class T>
void PrefillAttention(const KvHeadView<T>& kv, const float* q, size_t q_stride,
                      size_t rows, size_t group, size_t first_visible,
                      const AttentionParams& params, float* out,
                      size_t out_stride) {
  for (size_t r = 0; r < rows; ++r)
    DecodeAttention(kv, q + r * q_stride, group, first_visible + r + 1, params,
                    out + r * out_stride);
}

template <class T>
void AddProbeScores(const T* keys, size_t head_dim, const float* q,
                    size_t q_stride, size_t rows, size_t group,
                    size_t first_visible, size_t scored,
                    const AttentionParams& params, float weight,
                    double* scores) {
  for (size_t r = 0; r < rows; ++r) {
    std::vector<double> p(first_visible + r + 1);
    for (size_t g = 0; g < group; ++g) {
      const float* query = q + r * q_stride + g * head_dim;
      for (size_t j = 0; j < p.size(); ++j)
        p[j] = Logit(query, keys, head_dim, first_visible + r, j, params);
      const double max = *std::max_element(p.begin(), p.end());
      double sum = 0.0;
      for (double& v : p) {
        v = std::exp(v - max);
        sum += v;
      }
      for (size_t j = 0; j < std::min(scored, p.size()); ++j)
        scores[j] += static_cast<double>(weight) * p[j] / sum;
    }
  }
}

#define DAPPLE_INSTANTIATE(T)                                                  \
  template void DecodeAttention<T>(const KvHeadView<T>&, const float*, size_t, \
                                   size_t, const AttentionParams&, float*);    \
  template void PrefillAttention<T>(const KvHeadView<T>&, const float*,        \
                                    size_t, size_t, size_t, size_t,            \
                                    const AttentionParams&, float*, size_t);   \
  template void AddProbeScores<T>(const T*, size_t, const float*, size_t,      \
                                  size_t, size_t, size_t, size_t,              \
                                  const AttentionParams&, float, double*);
DAPPLE_INSTANTIATE(F16)
DAPPLE_INSTANTIATE(float)
#undef DAPPLE_INSTANTIATE

}  // namespace dapple::kernels::reference
