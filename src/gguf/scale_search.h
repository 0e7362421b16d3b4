// Scales of quantized blocks: weighted least squares over a grid of starting
// points.
//
// For given quants the scale (and minimum) that make the weighted squared error
// least follow from a linear equation; for a given scale the best quants are
// the nearest ones. The search tries several scales around the one that uses
// the whole range, takes the nearest quants of each, solves for the best scale
// of those, and keeps the best of all. Values are expected to be at most about
// 1 in magnitude, so that no sum overflows. Nothing here allocates.
#ifndef DAPPLE_GGUF_SCALE_SEARCH_H_
#define DAPPLE_GGUF_SCALE_SEARCH_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace dapple {

// Integers in [low, high]; low < 0 < high or low == 0.
struct UniformGrid {
  int low;
  int high;

  float least() const { return static_cast<float>(low); }
  float most() const { return static_cast<float>(high); }
  int Nearest(float v) const {
    // Clamped first: a float beyond int's range must not be converted.
    const float inside = std::clamp(v, least(), most());
    return static_cast<int>(std::lrint(inside));
  }
  float Value(int code) const { return static_cast<float>(code); }
};

// Sixteen values; the code is the index.
struct TableGrid {
  const int8_t* values;  // [16]
  float least() const { return *std::min_element(values, values + 16); }
  float most() const { return *std::max_element(values, values + 16); }
  int Nearest(float v) const {
    int best = 0;
    for (int i = 1; i < 16; ++i)
      if (std::fabs(v - Value(i)) < std::fabs(v - Value(best))) best = i;
    return best;
  }
  float Value(int code) const { return values[code]; }
};

// The least-error scale of x: [n] with weights w: [n]; 0 when all are zero. May
// be negative: grids reach further on one side.
template <class Grid>
float SearchScale(const Grid& grid, const float* x, const float* w, size_t n) {
  float extreme = 0.0f;
  for (size_t i = 0; i < n; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  if (std::fabs(extreme) < 1e-20f) return 0.0f;
  constexpr int kSteps = 9;
  float best_gain = 0.0f;
  float best = 0.0f;
  for (const float end : {grid.least(), grid.most()}) {
    for (int step = -kSteps; step <= kSteps; ++step) {
      // The extreme lands up to a tenth of the range (or 0.9) beyond or short
      // of the grid's end.
      const float width = std::max(0.1f, std::fabs(end) * 0.0125f);
      const float inverse = (end + width * static_cast<float>(step)) / extreme;
      float xq = 0.0f;
      float qq = 0.0f;
      for (size_t i = 0; i < n; ++i) {
        const float q = grid.Value(grid.Nearest(x[i] * inverse));
        xq += w[i] * x[i] * q;
        qq += w[i] * q * q;
      }
      // Error = Σ w x² - xq² / qq for the best scale, xq / qq.
      if (qq > 0.0f && xq * xq > best_gain * qq) {
        best_gain = xq * xq / qq;
        best = xq / qq;
      }
    }
  }
  return best;
}

struct AffineScale {
  float scale = 0.0f;  // >= 0
  float offset = 0.0f;
};

// x ≈ scale * q + offset, q in [0, most].
inline AffineScale SearchAffine(int most, bool offset_not_positive,
                                const float* x, const float* w, size_t n) {
  const auto [low, high] = std::minmax_element(x, x + n);
  const float base = offset_not_positive ? std::min(*low, 0.0f) : *low;
  const float range = *high - base;
  AffineScale best{0.0f, base};
  if (!(range > 1e-20f)) return best;
  const UniformGrid grid{0, most};
  float best_error = -1.0f;
  constexpr int kSteps = 10;
  for (int step = -kSteps; step <= kSteps; ++step) {
    const float width = std::max(0.1f, static_cast<float>(most) * 0.01f);
    const float inverse =
        (static_cast<float>(most) + width * static_cast<float>(step)) / range;
    if (!(inverse > 0.0f)) continue;
    float sw = 0, sx = 0, sq = 0, sqq = 0, sxq = 0, sxx = 0;
    for (size_t i = 0; i < n; ++i) {
      const float q = grid.Value(grid.Nearest((x[i] - base) * inverse));
      sw += w[i];
      sx += w[i] * x[i];
      sq += w[i] * q;
      sqq += w[i] * q * q;
      sxq += w[i] * x[i] * q;
      sxx += w[i] * x[i] * x[i];
    }
    const float determinant = sw * sqq - sq * sq;
    if (!(determinant > 0.0f)) continue;
    AffineScale fit{(sw * sxq - sq * sx) / determinant,
                    (sqq * sx - sq * sxq) / determinant};
    if (offset_not_positive && fit.offset > 0.0f) fit = {sxq / sqq, 0.0f};
    if (!(fit.scale > 0.0f)) continue;
    // The error with the nearest quants of the fit, not of the start.
    float error = 0.0f;
    for (size_t i = 0; i < n; ++i) {
      const float v = (x[i] - fit.offset) / fit.scale;
      const float d =
          fit.scale * grid.Value(grid.Nearest(v)) + fit.offset - x[i];
      error += w[i] * d * d;
    }
    if (best_error < 0.0f || error < best_error) {
      best_error = error;
      best = fit;
    }
  }
  return best;
}

}  // namespace dapple

#endif  // DAPPLE_GGUF_SCALE_SEARCH_H_
