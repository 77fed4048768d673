// Vectors of LANES floats (the compiler's own: AVX-512, AVX2, SSE or NEON code), and packed weights.

#pragma once

#include <cstdint>
#include <vector>

namespace {

constexpr int kLanes = LANES;  // 8, or 16 where a register has so many
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
inline vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
inline void store(float* p, vec v) { *reinterpret_cast<vec*>(p) = v; }
inline vec splat(float a) { return a - vec{}; }
inline vec positive(vec v) { return v > 0 ? v : vec{}; }

using Floats = std::vector<float>;

// [C][n] -> [n][C]
Floats transposed(const float* m, int64_t n, int64_t C) {
  Floats packed(n * C);
  for (int64_t c = 0; c < C; ++c)
    for (int64_t k = 0; k < n; ++k) packed[k * C + c] = m[c * n + k];
  return packed;
}

void add_transposed(const Floats& packed, float* m, int64_t n, int64_t C) {
  for (int64_t c = 0; c < C; ++c)
    for (int64_t k = 0; k < n; ++k) m[c * n + k] += packed[k * C + c];
}

}  // namespace
