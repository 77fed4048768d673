// What a call works on: the shape of maps, the branches, and inputs with a border.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "vectors.h"

namespace {

constexpr int kBorder = 4;  // of the shared input: the padding of a dilated 5x5 convolution

struct Shape {
  int64_t batch, channels, height, width, stride, tasks;
  int64_t rows() const { return (height + stride - 1) / stride; }
  int64_t columns() const { return (width + stride - 1) / stride; }
  int64_t pixels() const { return rows() * columns(); }
  int64_t image() const { return height * width * channels; }
  int64_t result() const { return pixels() * channels; }
  int64_t wide() const { return tasks * channels; }  // from a pixel to the next of all tasks' maps
};

// Rows of a band, of about 64 pixels: its maps stay in the nearest cache from one step to the next.
int64_t band_rows(const Shape& s) {
  return std::min(s.rows(), std::max<int64_t>(1, 64 / s.columns()));
}

// Calls `work(first row, rows)` for the bands of a result.
template <typename Work>
void by_band(const Shape& s, Work work) {
  const int64_t rows = band_rows(s);
  for (int64_t y = 0; y < s.rows(); y += rows) work(y, std::min(rows, s.rows() - y));
}

// A half of a branch: its weights as torch has them, what it keeps, its gradients (or null).
struct Unit {
  const float *depthwise, *pointwise;  // [C][k][k], [C out][C in]
  const float *gain, *bias;            // of the normalisation, [C] each; or null: 1 and 0
  float *mixed, *normal;               // u and z, [B][H][W][C]
  float *mean, *scale;                 // of z, [C]: its mean and 1 / deviation
  float *factor, *offset;              // the normalisation as a line, [C]: factor z + offset
  float *depthwise_gradient, *pointwise_gradient, *gain_gradient, *bias_gradient;

  vec normalised(const float* z, int64_t c) const {
    return load(factor + c) * load(z + c) + load(offset + c);
  }
};
constexpr int kAddresses = 14;

struct Branch {
  int64_t task, edge, kernel, dilation, units;
  Unit unit[2];
  int64_t padding() const { return dilation * (kernel - 1) / 2; }
};

// Writes `value(pixel, channel block)` into the inside of a bordered image.
template <typename Value>
void bordered(float* to, int64_t H, int64_t W, int64_t C, int64_t border, Value value) {
  const int64_t pitch = (W + 2 * border) * C;
  std::memset(to, 0, sizeof(float) * border * pitch);
  for (int64_t y = 0; y < H; ++y) {
    float* row = to + (y + border) * pitch;
    std::memset(row, 0, sizeof(float) * border * C);
    std::memset(row + (W + border) * C, 0, sizeof(float) * border * C);
    for (int64_t x = 0; x < W; ++x)
      for (int64_t c = 0; c < C; c += kLanes) store(row + (x + border) * C + c, value(y * W + x, c));
  }
  std::memset(to + (H + border) * pitch, 0, sizeof(float) * border * pitch);
}

int64_t bordered_size(int64_t H, int64_t W, int64_t C, int64_t border) {
  return (H + 2 * border) * (W + 2 * border) * C;
}

void bordered_relu(const float* x, float* to, const Shape& s) {
  bordered(to, s.height, s.width, s.channels, kBorder,
           [&](int64_t pixel, int64_t c) { return positive(load(x + pixel * s.wide() + c)); });
}

void bordered_norm_relu(const Unit& u, int64_t image, float* to, int64_t border, const Shape& s) {
  const float* z = u.normal + image * s.result();
  bordered(to, s.rows(), s.columns(), s.channels, border, [&](int64_t pixel, int64_t c) {
    return positive(u.normalised(z + pixel * s.channels, c));
  });
}

}  // namespace
