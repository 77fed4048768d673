// 1x1 convolution of NHWC maps, and the gradient of its weights.

#pragma once

#include <cstdint>

#include "vectors.h"

namespace {

// Rows of a tile: enough sums to hide the latency of an addition, and all in registers.
constexpr int kTall = kLanes == 8 ? 12 : 14, kTallWide = kLanes == 8 ? 6 : 14;
constexpr int kOuter = 8, kOuterWide = kLanes == 8 ? 4 : 8;

template <int R, int V>
void product_tile(const float* a, const float* m, float* out, int64_t C) {
  vec sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = vec{};
  for (int64_t c = 0; c < C; ++c) {
    vec row[V];
    for (int v = 0; v < V; ++v) row[v] = load(m + c * C + kLanes * v);
    for (int r = 0; r < R; ++r) {
      const vec factor = splat(a[r * C + c]);
      for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(out + r * C + kLanes * v, sum[r][v]);
}

// Goes on from row i as far as whole tiles fit; returns where it ends.
template <int R>
int64_t product_rows(const float* a, const float* m, float* out, int64_t i, int64_t n, int64_t C) {
  for (; i + R <= n; i += R) {
    int64_t c = 0;
    for (; c + 2 * kLanes <= C; c += 2 * kLanes)
      product_tile<R, 2>(a + i * C, m + c, out + i * C + c, C);
    if (c < C) product_tile<R, 1>(a + i * C, m + c, out + i * C + c, C);
  }
  return i;
}

// out [n][C] = a [n][C] m [C][C]
void product(const float* a, const float* m, float* out, int64_t n, int64_t C) {
  int64_t i = C == kLanes ? product_rows<kTall>(a, m, out, 0, n, C)
                          : product_rows<kTallWide>(a, m, out, 0, n, C);
  i = product_rows<4>(a, m, out, i, n, C);
  i = product_rows<2>(a, m, out, i, n, C);
  product_rows<1>(a, m, out, i, n, C);
}

template <int R, int V>
void outer_tile(const float* a, const float* b, float* out, int64_t n, int64_t C) {
  vec sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = load(out + r * C + kLanes * v);
  for (int64_t i = 0; i < n; ++i, a += C, b += C) {
    vec row[V];
    for (int v = 0; v < V; ++v) row[v] = load(b + kLanes * v);
    for (int r = 0; r < R; ++r) {
      const vec factor = splat(a[r]);
      for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(out + r * C + kLanes * v, sum[r][v]);
}

// out [C][C] += a^T b for a, b [n][C]
void add_outer(const float* a, const float* b, float* out, int64_t n, int64_t C) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= C; c += 2 * kLanes)
    for (int64_t r = 0; r < C; r += kOuterWide)
      outer_tile<kOuterWide, 2>(a + r, b + c, out + r * C + c, n, C);
  for (; c < C; c += kLanes)
    for (int64_t r = 0; r < C; r += kOuter)
      outer_tile<kOuter, 1>(a + r, b + c, out + r * C + c, n, C);
}

}  // namespace
