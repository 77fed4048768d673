// Depthwise convolution of NHWC maps, and its gradients.

#pragma once

#include <cstdint>

#include "vectors.h"

namespace {

// What outputs see: taps down and across; distances in floats between taps in both directions,
// between the inputs of neighbouring outputs, and between those of their rows.
struct Window {
  int64_t down, across, row, column, step, pitch;
};

// Where outputs go: their number, and distances in floats between neighbours and between rows.
struct Grid {
  int64_t rows, columns, step, pitch;
};

template <int T>
void depthwise_tile(const float* in, const Window& w, const float* weight, float* out,
                    int64_t step, int64_t C, bool add) {
  for (int64_t c = 0; c < C; c += kLanes) {
    vec sum[T];
    for (int t = 0; t < T; ++t) sum[t] = add ? load(out + t * step + c) : vec{};
    const float* tap = weight + c;
    for (int64_t i = 0; i < w.down; ++i) {
      const float* p = in + i * w.row + c;
      for (int64_t j = 0; j < w.across; ++j, p += w.column, tap += C) {
        const vec factor = load(tap);
        for (int t = 0; t < T; ++t) sum[t] += load(p + t * w.step) * factor;
      }
    }
    for (int t = 0; t < T; ++t) store(out + t * step + c, sum[t]);
  }
}

// T outputs whose distance is that of the K taps across: each pixel is loaded once a row of taps.
template <int K, int T>
void sliding_tile(const float* in, const Window& w, const float* weight, float* out, int64_t gap,
                  int64_t C, bool add) {
  for (int64_t c = 0; c < C; c += kLanes) {
    vec sum[T];
    for (int t = 0; t < T; ++t) sum[t] = add ? load(out + t * gap + c) : vec{};
    for (int64_t i = 0; i < w.down; ++i) {
      vec factor[K];
      for (int k = 0; k < K; ++k) factor[k] = load(weight + (i * K + k) * C + c);
      const float* p = in + i * w.row + c;
#pragma GCC unroll 16
      for (int j = 0; j < T + K - 1; ++j, p += w.column) {
        const vec pixel = load(p);
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k)
          if (j >= k && j - k < T) sum[j - k] += pixel * factor[k];
      }
    }
    for (int t = 0; t < T; ++t) store(out + t * gap + c, sum[t]);
  }
}

// Goes on from output x of a row as far as whole tiles fit; returns where it ends.
template <int K, int T>
int64_t sliding_tiles(const float* in, const Window& w, const float* weight, float* out, int64_t x,
                      const Grid& grid, int64_t C, bool add) {
  const int64_t apart = w.column / w.step, span = T * apart;
  for (; x + span <= grid.columns; x += span)
    for (int64_t k = x; k < x + apart; ++k)
      sliding_tile<K, T>(in + k * w.step, w, weight, out + k * grid.step, apart * grid.step, C, add);
  return x;
}

template <int K>
int64_t sliding_row(const float* in, const Window& w, const float* weight, float* out,
                    const Grid& grid, int64_t C, bool add) {
  if (grid.columns % (7 * (w.column / w.step)) == 0)
    return sliding_tiles<K, 7>(in, w, weight, out, 0, grid, C, add);
  const int64_t x = sliding_tiles<K, 8>(in, w, weight, out, 0, grid, C, add);
  return sliding_tiles<K, 4>(in, w, weight, out, x, grid, C, add);
}

template <int T>
int64_t depthwise_tiles(const float* in, const Window& w, const float* weight, float* out,
                        int64_t x, const Grid& grid, int64_t C, bool add) {
  for (; x + T <= grid.columns; x += T)
    depthwise_tile<T>(in + x * w.step, w, weight, out + x * grid.step, grid.step, C, add);
  return x;
}

// `in` is the first tap of the first output; weights are [taps down][taps across][C].
void depthwise(const float* in, const Window& w, const float* weight, float* out, const Grid& grid,
               int64_t C, bool add) {
  const bool slides = w.column % w.step == 0;
  for (int64_t y = 0; y < grid.rows; ++y) {
    const float* p = in + y * w.pitch;
    float* q = out + y * grid.pitch;
    int64_t x = 0;
    if (slides && w.across == 2) x = sliding_row<2>(p, w, weight, q, grid, C, add);
    if (slides && w.across == 3) x = sliding_row<3>(p, w, weight, q, grid, C, add);
    if (slides && w.across == 5) x = sliding_row<5>(p, w, weight, q, grid, C, add);
    if (grid.columns % 7 == 0) x = depthwise_tiles<7>(p, w, weight, q, x, grid, C, add);
    x = depthwise_tiles<8>(p, w, weight, q, x, grid, C, add);
    x = depthwise_tiles<4>(p, w, weight, q, x, grid, C, add);
    depthwise_tiles<1>(p, w, weight, q, x, grid, C, add);
  }
}

// Adds the gradient of `Rows` rows of taps to gradient [k][k][C]; g lies on a grid.
template <int K, int Rows>
void depthwise_gradient_rows(const float* in, const Window& w, const float* g, const Grid& grid,
                             float* gradient, int64_t C) {
  for (int64_t c = 0; c < C; c += kLanes) {
    vec sum[Rows * K];
    for (int k = 0; k < Rows * K; ++k) sum[k] = vec{};
    for (int64_t y = 0; y < grid.rows; ++y) {
      const float* p = in + y * w.pitch + c;
      const float* q = g + y * grid.pitch + c;
      for (int64_t x = 0; x < grid.columns; ++x, p += w.step, q += grid.step) {
        const vec by = load(q);
        for (int i = 0; i < Rows; ++i)
          for (int j = 0; j < K; ++j) sum[i * K + j] += load(p + i * w.row + j * w.column) * by;
      }
    }
    for (int k = 0; k < Rows * K; ++k) {
      float* to = gradient + k * C + c;
      store(to, load(to) + sum[k]);
    }
  }
}

template <int K, int Rows>
void depthwise_gradient_from(int64_t first, const float* in, const Window& w, const float* g,
                             const Grid& grid, float* gradient, int64_t C) {
  depthwise_gradient_rows<K, Rows>(in + first * w.row, w, g, grid, gradient + first * K * C, C);
}

void depthwise_gradient(const float* in, const Window& w, const float* g, const Grid& grid,
                        float* gradient, int64_t C) {
  if (w.across == 3) {
    depthwise_gradient_from<3, 3>(0, in, w, g, grid, gradient, C);
  } else if (w.across == 5) {
    depthwise_gradient_from<5, 2>(0, in, w, g, grid, gradient, C);
    depthwise_gradient_from<5, 2>(2, in, w, g, grid, gradient, C);
    depthwise_gradient_from<5, 1>(4, in, w, g, grid, gradient, C);
  } else {
    for (int64_t i = 0; i < 7; ++i) depthwise_gradient_from<7, 1>(i, in, w, g, grid, gradient, C);
  }
}

}  // namespace
