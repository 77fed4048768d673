// All edges that leave one node of a mixed cell, forward and backward, float32 on CPUs.
//
// A branch is an operation of one edge: ReLU, depthwise convolution, 1x1 convolution and batch
// normalisation (without scale and shift), once or twice. Maps are NHWC, [B][H][W][C] with C a
// multiple of 8. An edge's output is
//     out_e = sum_b weight_b norm(z_b) + sum_s share_es S_s
// over its branches and the terms S that all edges share (pools, the identity). Normalisation and
// weight are one scale and shift of z; z is kept for the backward pass, its gradient is
//     dz = scale g + slope z + shift,
// whose coefficients come from <g> and <g z>, and <g norm(z)> is the gradient of the weight.
//
// Vectors of 8 floats are the compiler's own: they become AVX-512, AVX2, SSE or NEON code.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
inline v8 load(const float* p) { return *reinterpret_cast<const v8*>(p); }
inline void store(float* p, v8 v) { *reinterpret_cast<v8*>(p) = v; }
inline v8 splat(float a) { return v8{a, a, a, a, a, a, a, a}; }
inline v8 positive(v8 v) { return v > 0 ? v : splat(0.f); }

constexpr float kEpsilon = 1e-5f;
constexpr int kBorder = 4;  // of the shared input: the padding of a dilated 5x5 convolution
using Floats = std::vector<float>;

struct Shape {
  int64_t batch, channels, height, width, stride;
  int64_t rows() const { return (height + stride - 1) / stride; }
  int64_t columns() const { return (width + stride - 1) / stride; }
  int64_t pixels() const { return rows() * columns(); }
  int64_t image() const { return height * width * channels; }
  int64_t result() const { return pixels() * channels; }
};

// A half of a branch: its weights as torch has them, what it keeps, its gradients (or null).
struct Unit {
  const float *depthwise, *pointwise;  // [C][k][k], [C out][C in]
  float *mixed, *normal, *mean, *scale;  // u, z: [B][H][W][C]; mean and 1 / deviation: [C]
  float *depthwise_gradient, *pointwise_gradient;
};

struct Branch {
  int64_t edge, kernel, dilation, units;
  Unit unit[2];
  int64_t padding() const { return dilation * (kernel - 1) / 2; }
};

// Depthwise convolution -------------------------------------------------------------------------

struct Window {
  int64_t kernel, row, column, step;  // distances in floats: taps down, taps across, next output
};

template <int T>
void depthwise_tile(const float* in, const Window& w, const float* weight, float* out, int64_t C,
                    bool add) {
  for (int64_t c = 0; c < C; c += 8) {
    v8 sum[T];
    for (int t = 0; t < T; ++t) sum[t] = add ? load(out + t * C + c) : splat(0.f);
    const float* tap = weight + c;
    for (int64_t i = 0; i < w.kernel; ++i) {
      const float* p = in + i * w.row + c;
      for (int64_t j = 0; j < w.kernel; ++j, p += w.column, tap += C) {
        const v8 factor = load(tap);
        for (int t = 0; t < T; ++t) sum[t] += load(p + t * w.step) * factor;
      }
    }
    for (int t = 0; t < T; ++t) store(out + t * C + c, sum[t]);
  }
}

// T outputs whose distance is that of the taps: each pixel is loaded once a row of taps.
template <int K, int T>
inline void sliding_tile(const float* in, int64_t row, int64_t gap, const float* weight, float* out,
                         int64_t C, bool add) {
  for (int64_t c = 0; c < C; c += 8) {
    v8 sum[T];
    for (int t = 0; t < T; ++t) sum[t] = add ? load(out + t * gap + c) : splat(0.f);
    for (int i = 0; i < K; ++i) {
      v8 factor[K];
      for (int k = 0; k < K; ++k) factor[k] = load(weight + (i * K + k) * C + c);
      const float* p = in + i * row + c;
#pragma GCC unroll 16
      for (int j = 0; j < T + K - 1; ++j, p += gap) {
        const v8 pixel = load(p);
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k)
          if (j >= k && j - k < T) sum[j - k] += pixel * factor[k];
      }
    }
    for (int t = 0; t < T; ++t) store(out + t * gap + c, sum[t]);
  }
}

// Goes on from output x of a row with stride 1 as far as whole tiles fit; returns where it ends.
template <int K, int T>
int64_t sliding_row(const float* in, const Window& w, const float* weight, float* out, int64_t x,
                    int64_t columns, int64_t C, bool add) {
  const int64_t phases = w.column / C, span = T * phases;
  for (; x + span <= columns; x += span)
    for (int64_t k = x; k < x + phases; ++k)
      sliding_tile<K, T>(in + k * C, w.row, w.column, weight, out + k * C, C, add);
  return x;
}

// `in` is the first tap of the first output; weights are [k][k][C].
void depthwise(const float* in, int64_t pitch, const Window& w, const float* weight, float* out,
               int64_t rows, int64_t columns, int64_t C, bool add) {
  for (int64_t y = 0; y < rows; ++y) {
    const float* p = in + y * pitch;
    float* q = out + y * columns * C;
    int64_t x = 0;
    if (w.step == C && w.kernel == 3) {
      x = sliding_row<3, 8>(p, w, weight, q, x, columns, C, add);
      x = sliding_row<3, 4>(p, w, weight, q, x, columns, C, add);
    } else if (w.step == C && w.kernel == 5) {
      x = sliding_row<5, 8>(p, w, weight, q, x, columns, C, add);
      x = sliding_row<5, 4>(p, w, weight, q, x, columns, C, add);
    }
    for (; x + 8 <= columns; x += 8) depthwise_tile<8>(p + x * w.step, w, weight, q + x * C, C, add);
    for (; x + 4 <= columns; x += 4) depthwise_tile<4>(p + x * w.step, w, weight, q + x * C, C, add);
    for (; x < columns; ++x) depthwise_tile<1>(p + x * w.step, w, weight, q + x * C, C, add);
  }
}

// Adds the gradient of `Rows` rows of taps to gradient [k][k][C].
template <int K, int Rows>
void depthwise_gradient_rows(const float* in, int64_t pitch, const Window& w, const float* g,
                             float* gradient, int64_t rows, int64_t columns, int64_t C) {
  for (int64_t c = 0; c < C; c += 8) {
    v8 sum[Rows * K];
    for (int k = 0; k < Rows * K; ++k) sum[k] = splat(0.f);
    for (int64_t y = 0; y < rows; ++y) {
      const float* p = in + y * pitch + c;
      const float* q = g + y * columns * C + c;
      for (int64_t x = 0; x < columns; ++x, p += w.step, q += C) {
        const v8 by = load(q);
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

void depthwise_gradient(const float* in, int64_t pitch, const Window& w, const float* g,
                        float* gradient, int64_t rows, int64_t columns, int64_t C) {
  if (w.kernel == 3) {
    depthwise_gradient_rows<3, 3>(in, pitch, w, g, gradient, rows, columns, C);
    return;
  }
  if (w.kernel == 7) {
    for (int64_t i = 0; i < 7; ++i)
      depthwise_gradient_rows<7, 1>(in + i * w.row, pitch, w, g, gradient + i * 7 * C, rows, columns,
                                    C);
    return;
  }
  const int64_t two = 2 * w.row, taps = 2 * 5 * C;
  depthwise_gradient_rows<5, 2>(in, pitch, w, g, gradient, rows, columns, C);
  depthwise_gradient_rows<5, 2>(in + two, pitch, w, g, gradient + taps, rows, columns, C);
  depthwise_gradient_rows<5, 1>(in + 2 * two, pitch, w, g, gradient + 2 * taps, rows, columns, C);
}

// 1x1 convolution -------------------------------------------------------------------------------

template <int R, int V>
void product_tile(const float* a, const float* m, float* out, int64_t C) {
  v8 sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = splat(0.f);
  for (int64_t c = 0; c < C; ++c) {
    v8 row[V];
    for (int v = 0; v < V; ++v) row[v] = load(m + c * C + 8 * v);
    for (int r = 0; r < R; ++r) {
      const v8 factor = splat(a[r * C + c]);
      for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(out + r * C + 8 * v, sum[r][v]);
}

// out [n][C] = a [n][C] m [C][C]
void product(const float* a, const float* m, float* out, int64_t n, int64_t C) {
  int64_t i = 0;
  for (; i + 6 <= n; i += 6) {
    int64_t c = 0;
    for (; c + 16 <= C; c += 16) product_tile<6, 2>(a + i * C, m + c, out + i * C + c, C);
    for (; c < C; c += 8) product_tile<6, 1>(a + i * C, m + c, out + i * C + c, C);
  }
  for (; i < n; ++i)
    for (int64_t c = 0; c < C; c += 8) product_tile<1, 1>(a + i * C, m + c, out + i * C + c, C);
}

template <int V>
void outer_tile(const float* a, const float* b, float* out, int64_t n, int64_t C) {
  v8 sum[4][V];
  for (int r = 0; r < 4; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = load(out + r * C + 8 * v);
  for (int64_t i = 0; i < n; ++i, a += C, b += C) {
    v8 row[V];
    for (int v = 0; v < V; ++v) row[v] = load(b + 8 * v);
    for (int r = 0; r < 4; ++r) {
      const v8 factor = splat(a[r]);
      for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < 4; ++r)
    for (int v = 0; v < V; ++v) store(out + r * C + 8 * v, sum[r][v]);
}

// out [C][C] += a^T b for a, b [n][C]
void add_outer(const float* a, const float* b, float* out, int64_t n, int64_t C) {
  for (int64_t r = 0; r < C; r += 4) {
    int64_t c = 0;
    for (; c + 16 <= C; c += 16) outer_tile<2>(a + r, b + c, out + r * C + c, n, C);
    for (; c < C; c += 8) outer_tile<1>(a + r, b + c, out + r * C + c, n, C);
  }
}

// Layouts ---------------------------------------------------------------------------------------

// [C][k k] -> [k k][C], the taps in reverse order where `flip`
Floats taps_first(const float* weight, int64_t taps, int64_t C, bool flip) {
  Floats packed(taps * C);
  for (int64_t c = 0; c < C; ++c)
    for (int64_t k = 0; k < taps; ++k)
      packed[(flip ? taps - 1 - k : k) * C + c] = weight[c * taps + k];
  return packed;
}

void add_taps_last(const Floats& packed, float* weight, int64_t taps, int64_t C) {
  for (int64_t c = 0; c < C; ++c)
    for (int64_t k = 0; k < taps; ++k) weight[c * taps + k] += packed[k * C + c];
}

Floats transposed(const float* m, int64_t C) { return taps_first(m, C, C, false); }

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
      for (int64_t c = 0; c < C; c += 8)
        store(row + (x + border) * C + c, value((y * W + x) * C + c, c));
  }
  std::memset(to + (H + border) * pitch, 0, sizeof(float) * border * pitch);
}

int64_t bordered_size(int64_t H, int64_t W, int64_t C, int64_t border) {
  return (H + 2 * border) * (W + 2 * border) * C;
}

void bordered_relu(const float* x, float* to, const Shape& s) {
  bordered(to, s.height, s.width, s.channels, kBorder,
           [&](int64_t i, int64_t) { return positive(load(x + i)); });
}

void bordered_norm_relu(const Unit& u, int64_t image, float* to, int64_t border, const Shape& s) {
  const float* z = u.normal + image * s.result();
  bordered(to, s.rows(), s.columns(), s.channels, border, [&](int64_t i, int64_t c) {
    return positive((load(z + i) - load(u.mean + c)) * load(u.scale + c));
  });
}

// Sums over pixels ------------------------------------------------------------------------------

// sums[0..C) += sum of a, sums[C..2C) += sum of a b; row by row in float, then in double
void add_sums(const float* a, const float* b, int64_t pixels, int64_t C, double* sums) {
  constexpr int64_t kRun = 64;
  for (int64_t c = 0; c < C; c += 8)
    for (int64_t start = 0; start < pixels; start += kRun) {
      v8 one = splat(0.f), two = splat(0.f);
      for (int64_t i = start; i < std::min(pixels, start + kRun); ++i) {
        const v8 v = load(a + i * C + c);
        one += v;
        two += v * load(b + i * C + c);
      }
      for (int k = 0; k < 8; ++k) {
        sums[c + k] += one[k];
        sums[C + c + k] += two[k];
      }
    }
}

void set_statistics(const Unit& u, const double* sums, double n, int64_t C) {
  for (int64_t c = 0; c < C; ++c) {
    const double mean = sums[c] / n, variance = std::max(0.0, sums[C + c] / n - mean * mean);
    u.mean[c] = static_cast<float>(mean);
    u.scale[c] = static_cast<float>(1.0 / std::sqrt(variance + kEpsilon));
  }
}

// Coefficients of dz = scale g + slope z + shift, from the sums of g and g z; returns <g norm(z)>.
double gradient_line(const Unit& u, const double* sums, double n, double weight, int64_t C,
                     Floats& line) {
  double inner = 0.0;
  line.resize(3 * C);
  for (int64_t c = 0; c < C; ++c) {
    const double r = u.scale[c], m = u.mean[c], along = r * (sums[C + c] - m * sums[c]);
    inner += along;
    line[c] = static_cast<float>(weight * r);
    line[C + c] = static_cast<float>(-weight * r * r * along / n);
    line[2 * C + c] = static_cast<float>(-weight * r * (sums[c] - r * m * along) / n);
  }
  return inner;
}

void apply_line(const Floats& line, const float* g, const float* z, float* out, int64_t pixels,
                int64_t C) {
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t c = 0; c < C; c += 8) {
      const int64_t k = i * C + c;
      store(out + k, load(&line[c]) * load(g + k) + load(&line[C + c]) * load(z + k) +
                         load(&line[2 * C + c]));
    }
}

// A branch forward ------------------------------------------------------------------------------

void unit_forward(const Branch& b, const Unit& u, const float* inputs, int64_t input_size,
                  int64_t border, int64_t H, int64_t W, int64_t stride, const Shape& s,
                  const Unit* before) {
  const int64_t C = s.channels, pitch = (W + 2 * border) * C;
  const Floats depth = taps_first(u.depthwise, b.kernel * b.kernel, C, false);
  const Floats point = transposed(u.pointwise, C);
  const Window w{b.kernel, b.dilation * pitch, b.dilation * C, stride * C};
  const int64_t first = (border - b.padding()) * (pitch + C);
  Floats own(before ? bordered_size(H, W, C, border) : 0);
  std::vector<double> sums(2 * C, 0.0);
  for (int64_t i = 0; i < s.batch; ++i) {
    const float* in = before ? own.data() : inputs + i * input_size;
    if (before) bordered_norm_relu(*before, i, own.data(), border, s);
    float *mixed = u.mixed + i * s.result(), *z = u.normal + i * s.result();
    depthwise(in + first, stride * pitch, w, depth.data(), mixed, s.rows(), s.columns(), C, false);
    product(mixed, point.data(), z, s.pixels(), C);
    add_sums(z, z, s.pixels(), C, sums.data());
  }
  set_statistics(u, sums.data(), static_cast<double>(s.batch * s.pixels()), C);
}

void branch_forward(const Branch& b, const float* inputs, const Shape& s) {
  const int64_t size = bordered_size(s.height, s.width, s.channels, kBorder);
  unit_forward(b, b.unit[0], inputs, size, kBorder, s.height, s.width, s.stride, s, nullptr);
  if (b.units == 2)
    unit_forward(b, b.unit[1], nullptr, 0, b.padding(), s.rows(), s.columns(), 1, s, &b.unit[0]);
}

// A branch backward -----------------------------------------------------------------------------

// What one image of a unit gets: dz [pixels][C] in; gradients of the weights, and of the unit's
// input if `out` is given (added to it where `add`).
struct UnitBackward {
  const Branch& b;
  const Unit& u;
  const Shape& s;
  int64_t H, W, stride;
  Floats flipped, spread, by_mixed, depth_gradient;

  UnitBackward(const Branch& b, const Unit& u, const Shape& s, int64_t H, int64_t W, int64_t stride)
      : b(b), u(u), s(s), H(H), W(W), stride(stride),
        flipped(taps_first(u.depthwise, b.kernel * b.kernel, s.channels, true)),
        spread(bordered_size(H, W, s.channels, b.padding())), by_mixed(s.result()),
        depth_gradient(b.kernel * b.kernel * s.channels) {}

  void image(int64_t i, const float* dz, const float* in, int64_t border, float* out, bool add) {
    const int64_t C = s.channels, p = b.padding();
    product(dz, u.pointwise, by_mixed.data(), s.pixels(), C);
    if (u.pointwise_gradient) {
      const int64_t pitch = (W + 2 * border) * C;
      const Window w{b.kernel, b.dilation * pitch, b.dilation * C, stride * C};
      add_outer(dz, u.mixed + i * s.result(), u.pointwise_gradient, s.pixels(), C);
      depthwise_gradient(in + (border - p) * (pitch + C), stride * pitch, w, by_mixed.data(),
                         depth_gradient.data(), s.rows(), s.columns(), C);
    }
    if (!out) return;
    const int64_t pitch = (W + 2 * p) * C;
    bordered(spread.data(), H, W, C, p, [&](int64_t k, int64_t c) {
      if (stride == 1) return load(&by_mixed[k]);
      const int64_t y = k / C / W, x = k / C % W;
      if (y % stride || x % stride) return splat(0.f);
      return load(&by_mixed[(y / stride * s.columns() + x / stride) * C + c]);
    });
    const Window w{b.kernel, b.dilation * pitch, b.dilation * C, C};
    depthwise(spread.data(), pitch, w, flipped.data(), out, H, W, C, add);
  }

  void finish() {
    if (u.depthwise_gradient)
      add_taps_last(depth_gradient, u.depthwise_gradient, b.kernel * b.kernel, s.channels);
  }
};

// Returns the gradient of the branch's weight; adds that of ReLU(x) to `gx` if it is given.
double branch_backward(const Branch& b, float weight, const float* g, const float* inputs,
                       float* gx, bool weights, const Shape& s) {
  const int64_t C = s.channels, border = b.padding();
  const int64_t size = bordered_size(s.height, s.width, C, kBorder);
  const double n = static_cast<double>(s.batch * s.pixels());
  const Unit& last = b.unit[b.units - 1];
  std::vector<double> sums(2 * C, 0.0);
  for (int64_t i = 0; i < s.batch; ++i)
    add_sums(g + i * s.result(), last.normal + i * s.result(), s.pixels(), C, sums.data());
  Floats line, dz(s.result());
  const double gradient = gradient_line(last, sums.data(), n, weight, C, line);
  if (!weights && !gx) return gradient;
  Floats before;
  if (b.units == 2) {
    before.resize(s.batch * s.result());
    Floats in(bordered_size(s.rows(), s.columns(), C, border));
    UnitBackward unit(b, last, s, s.rows(), s.columns(), 1);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t i = 0; i < s.batch; ++i) {
      float* to = &before[i * s.result()];
      const float* z = b.unit[0].normal + i * s.result();
      if (weights) bordered_norm_relu(b.unit[0], i, in.data(), border, s);
      apply_line(line, g + i * s.result(), last.normal + i * s.result(), dz.data(), s.pixels(), C);
      unit.image(i, dz.data(), in.data(), border, to, false);
      for (int64_t k = 0; k < s.result(); k += 8) {
        const int64_t c = k % C;
        const v8 y = (load(z + k) - load(b.unit[0].mean + c)) * load(b.unit[0].scale + c);
        store(to + k, y > 0 ? load(to + k) : splat(0.f));
      }
      add_sums(to, z, s.pixels(), C, sums.data());
    }
    unit.finish();
    gradient_line(b.unit[0], sums.data(), n, 1.0, C, line);
    g = before.data();
  }
  UnitBackward unit(b, b.unit[0], s, s.height, s.width, s.stride);
  for (int64_t i = 0; i < s.batch; ++i) {
    apply_line(line, g + i * s.result(), b.unit[0].normal + i * s.result(), dz.data(), s.pixels(),
               C);
    unit.image(i, dz.data(), inputs + i * size, kBorder, gx ? gx + i * s.image() : nullptr, true);
  }
  unit.finish();
  return gradient;
}

// The arguments as Python lays them out: 4 numbers, then 2 x 8 addresses a branch.
std::vector<Branch> branches_from(const int64_t* table, int64_t count) {
  std::vector<Branch> found(count);
  for (Branch& b : found) {
    b = Branch{table[0], table[1], table[2], table[3], {}};
    for (int k = 0; k < 2; ++k) {
      float* p[8];
      for (int i = 0; i < 8; ++i) p[i] = reinterpret_cast<float*>(table[4 + 8 * k + i]);
      b.unit[k] = Unit{p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]};
    }
    table += 20;
  }
  return found;
}

Floats inputs_from(const float* x, const Shape& s) {
  const int64_t size = bordered_size(s.height, s.width, s.channels, kBorder);
  Floats all(s.batch * size);
  at::parallel_for(0, s.batch, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) bordered_relu(x + i * s.image(), &all[i * size], s);
  });
  return all;
}

}  // namespace

extern "C" {

// shape: batch, channels, height, width, stride. shares: [edges][terms]. outs: one map an edge.
void transnas_edges_forward(const int64_t* shape, const float* x, int64_t branches,
                            const int64_t* table, const float* weights, int64_t edges,
                            int64_t terms, const float* const* shared, const float* shares,
                            float* const* outs) {
  const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4]};
  const std::vector<Branch> all = branches_from(table, branches);
  const Floats inputs = branches ? inputs_from(x, s) : Floats();
  at::parallel_for(0, branches, 1, [&](int64_t from, int64_t to) {
    for (int64_t k = from; k < to; ++k) branch_forward(all[k], inputs.data(), s);
  });
  const int64_t C = s.channels, pixels = s.pixels();
  at::parallel_for(0, edges * s.batch, 1, [&](int64_t from, int64_t to) {
    Floats shift(C);
    for (int64_t job = from; job < to; ++job) {
      const int64_t e = job / s.batch, start = job % s.batch * s.result();
      float* out = outs[e] + start;
      std::fill(shift.begin(), shift.end(), 0.f);
      for (int64_t k = 0; k < branches; ++k) {
        const Unit& u = all[k].unit[all[k].units - 1];
        if (all[k].edge != e) continue;
        for (int64_t c = 0; c < C; ++c) shift[c] -= weights[k] * u.scale[c] * u.mean[c];
      }
      for (int64_t i = 0; i < pixels; ++i) std::memcpy(out + i * C, shift.data(), C * sizeof(float));
      for (int64_t k = 0; k < branches; ++k) {
        const Unit& u = all[k].unit[all[k].units - 1];
        if (all[k].edge != e) continue;
        for (int64_t i = 0; i < s.result(); i += C)
          for (int64_t c = 0; c < C; c += 8)
            store(out + i + c, load(out + i + c) + splat(weights[k]) * load(u.scale + c) *
                                                       load(u.normal + start + i + c));
      }
      for (int64_t t = 0; t < terms; ++t) {
        const v8 share = splat(shares[e * terms + t]);
        for (int64_t i = 0; i < s.result(); i += 8)
          store(out + i, load(out + i) + share * load(shared[t] + start + i));
      }
    }
  });
}

// Gradients are written: gx (or null), by_weight [branches], by_share [edges][terms], by_shared
// (each or null). Those of convolution weights are added to what the table points at.
void transnas_edges_backward(const int64_t* shape, const float* x, int64_t branches,
                             const int64_t* table, const float* weights, int64_t edges,
                             int64_t terms, const float* const* shared, const float* shares,
                             const float* const* gs, int64_t need_weights, float* gx,
                             float* by_weight, float* by_share, float* const* by_shared) {
  const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4]};
  const std::vector<Branch> all = branches_from(table, branches);
  const Floats inputs = need_weights && branches ? inputs_from(x, s) : Floats();
  const int64_t threads = at::get_num_threads(), total = s.batch * s.image();
  std::vector<Floats> parts(gx ? threads : 0);
  at::parallel_for(0, branches, 1, [&](int64_t from, int64_t to) {
    float* part = nullptr;
    if (gx) {
      Floats& mine = parts[at::get_thread_num()];
      mine.resize(total, 0.f);
      part = mine.data();
    }
    for (int64_t k = from; k < to; ++k)
      by_weight[k] = static_cast<float>(branch_backward(
          all[k], weights[k], gs[all[k].edge], inputs.data(), part, need_weights != 0, s));
  });
  if (gx)
    at::parallel_for(0, total / 8, 4096, [&](int64_t from, int64_t to) {
      for (int64_t i = 8 * from; i < 8 * to; i += 8) {
        v8 sum = splat(0.f);
        for (const Floats& part : parts)
          if (!part.empty()) sum += load(&part[i]);
        store(gx + i, load(x + i) > 0 ? sum : splat(0.f));
      }
    });
  const int64_t size = s.batch * s.result();
  at::parallel_for(0, terms, 1, [&](int64_t from, int64_t to) {
    for (int64_t t = from; t < to; ++t)
      for (int64_t e = 0; e < edges; ++e) {
        double inner = 0.0;
        const v8 share = splat(shares[e * terms + t]);
        for (int64_t start = 0; start < size; start += 4096) {
          v8 sum = splat(0.f);
          for (int64_t i = start; i < std::min(size, start + 4096); i += 8) {
            const v8 g = load(gs[e] + i);
            sum += g * load(shared[t] + i);
            if (!by_shared[t]) continue;
            store(by_shared[t] + i, e ? load(by_shared[t] + i) + share * g : share * g);
          }
          for (int k = 0; k < 8; ++k) inner += sum[k];
        }
        by_share[e * terms + t] = static_cast<float>(inner);
      }
  });
}

}  // extern "C"
