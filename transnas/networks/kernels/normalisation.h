// Batch normalisation: statistics, and the gradient as a line of g and z.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "branch.h"
#include "vectors.h"

namespace {

constexpr float kEpsilon = 1e-5f;

// sums[0..C) += sum of a, sums[C..2C) += sum of a b, by runs in float, then in double. `step` is
// the distance of a's pixels; those of b follow each other.
void add_sums(const float* a, int64_t step, const float* b, int64_t pixels, int64_t C,
              double* sums) {
  constexpr int64_t kRun = 64, kChains = 4;
  for (int64_t c = 0; c < C; c += kLanes)
    for (int64_t start = 0; start < pixels; start += kRun) {
      const int64_t end = std::min(pixels, start + kRun);
      vec one[kChains] = {}, two[kChains] = {};
      int64_t i = start;
      for (; i + kChains <= end; i += kChains)
        for (int64_t k = 0; k < kChains; ++k) {
          const vec v = load(a + (i + k) * step + c);
          one[k] += v;
          two[k] += v * load(b + (i + k) * C + c);
        }
      for (; i < end; ++i) {
        const vec v = load(a + i * step + c);
        one[0] += v;
        two[0] += v * load(b + i * C + c);
      }
      const vec all = one[0] + one[1] + (one[2] + one[3]);
      const vec inner = two[0] + two[1] + (two[2] + two[3]);
      for (int k = 0; k < kLanes; ++k) {
        sums[c + k] += all[k];
        sums[C + c + k] += inner[k];
      }
    }
}

void set_statistics(const Unit& u, const double* sums, double n, int64_t C) {
  for (int64_t c = 0; c < C; ++c) {
    const double mean = sums[c] / n, variance = std::max(0.0, sums[C + c] / n - mean * mean);
    const double scale = 1.0 / std::sqrt(variance + kEpsilon);
    const double factor = (u.gain ? u.gain[c] : 1.0) * scale;
    u.mean[c] = static_cast<float>(mean);
    u.scale[c] = static_cast<float>(scale);
    u.factor[c] = static_cast<float>(factor);
    u.offset[c] = static_cast<float>((u.bias ? u.bias[c] : 0.0) - factor * mean);
  }
}

// Coefficients of dz = scale g + slope z + shift, from the sums of g and g z; adds the gradients of
// gain and bias, and returns <g norm(z)>.
double gradient_line(const Unit& u, const double* sums, double n, double weight, int64_t C,
                     Floats& line) {
  double inner = 0.0;
  line.resize(3 * C);
  for (int64_t c = 0; c < C; ++c) {
    const double r = u.scale[c], m = u.mean[c], along = r * (sums[C + c] - m * sums[c]);
    const double gain = u.gain ? u.gain[c] : 1.0, all = weight * gain * r;
    inner += gain * along + (u.bias ? u.bias[c] * sums[c] : 0.0);
    line[c] = static_cast<float>(all);
    line[C + c] = static_cast<float>(-all * r * along / n);
    line[2 * C + c] = static_cast<float>(-all * (sums[c] - r * m * along) / n);
    if (u.gain_gradient) u.gain_gradient[c] += static_cast<float>(weight * along);
    if (u.bias_gradient) u.bias_gradient[c] += static_cast<float>(weight * sums[c]);
  }
  return inner;
}

// `step` is the distance of g's pixels.
void apply_line(const Floats& line, const float* g, int64_t step, const float* z, float* out,
                int64_t pixels, int64_t C) {
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t c = 0; c < C; c += kLanes)
      store(out + i * C + c, load(&line[c]) * load(g + i * step + c) +
                                 load(&line[C + c]) * load(z + i * C + c) + load(&line[2 * C + c]));
}

// g becomes the gradient before ReLU(norm(z)) where it was that after it.
void rectify(float* g, const float* z, const Unit& u, int64_t pixels, int64_t C) {
  for (int64_t i = 0; i < pixels * C; i += C)
    for (int64_t c = 0; c < C; c += kLanes)
      store(g + i + c, u.normalised(z + i, c) > 0 ? load(g + i + c) : vec{});
}

}  // namespace
