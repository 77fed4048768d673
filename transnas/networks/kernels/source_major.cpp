// All edges that leave one node of a mixed cell, forward and backward, float32 on CPUs.
//
// A branch is an operation of one edge: ReLU, depthwise convolution, 1x1 convolution and batch
// normalisation (without scale and shift), once or twice. Several tasks with weights of their own
// may lie side by side: maps are NHWC, [n][H][W][tasks][C] with C a multiple of LANES, and what a
// branch keeps for itself is [n][H][W][C]. An edge's output is
//     out_e = sum_b weight_b norm(z_b) + sum_s share_es S_s
// over its branches and the terms S that all edges share (pools, the identity). Normalisation and
// weight are one scale and shift of z; z is kept for the backward pass, its gradient is
//     dz = scale g + slope z + shift,
// whose coefficients come from <g> and <g z>, and <g norm(z)> is the gradient of the weight.
//
// Vectors of LANES floats are the compiler's own: they become AVX-512, AVX2, SSE or NEON code.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int kLanes = LANES;  // 8, or 16 where a register has so many
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
inline vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
inline void store(float* p, vec v) { *reinterpret_cast<vec*>(p) = v; }
inline vec splat(float a) { return a - vec{}; }
inline vec positive(vec v) { return v > 0 ? v : vec{}; }

constexpr float kEpsilon = 1e-5f;
constexpr int kBorder = 4;  // of the shared input: the padding of a dilated 5x5 convolution
using Floats = std::vector<float>;

struct Shape {
  int64_t batch, channels, height, width, stride, tasks;
  int64_t rows() const { return (height + stride - 1) / stride; }
  int64_t columns() const { return (width + stride - 1) / stride; }
  int64_t pixels() const { return rows() * columns(); }
  int64_t image() const { return height * width * channels; }
  int64_t result() const { return pixels() * channels; }
  int64_t wide() const { return tasks * channels; }  // from a pixel to the next of all tasks' maps
};

// Calls `work(first row, rows)` for bands of a result of about 64 pixels: a band's maps stay in the
// nearest cache from one step to the next.
template <typename Work>
void by_band(const Shape& s, Work work) {
  const int64_t rows = std::max<int64_t>(1, 64 / s.columns());
  for (int64_t y = 0; y < s.rows(); y += rows) work(y, std::min(rows, s.rows() - y));
}

// A half of a branch: its weights as torch has them, what it keeps, its gradients (or null).
struct Unit {
  const float *depthwise, *pointwise;  // [C][k][k], [C out][C in]
  float *mixed, *normal, *mean, *scale;  // u, z: [B][H][W][C]; mean and 1 / deviation: [C]
  float *depthwise_gradient, *pointwise_gradient;
};

struct Branch {
  int64_t task, edge, kernel, dilation, units;
  Unit unit[2];
  int64_t padding() const { return dilation * (kernel - 1) / 2; }
};

// Depthwise convolution -------------------------------------------------------------------------

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

// 1x1 convolution -------------------------------------------------------------------------------

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

// Layouts ---------------------------------------------------------------------------------------

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
    return positive((load(z + pixel * s.channels + c) - load(u.mean + c)) * load(u.scale + c));
  });
}

// Sums over pixels ------------------------------------------------------------------------------

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

// `step` is the distance of g's pixels.
void apply_line(const Floats& line, const float* g, int64_t step, const float* z, float* out,
                int64_t pixels, int64_t C) {
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t c = 0; c < C; c += kLanes)
      store(out + i * C + c, load(&line[c]) * load(g + i * step + c) +
                                 load(&line[C + c]) * load(z + i * C + c) + load(&line[2 * C + c]));
}

// A branch forward ------------------------------------------------------------------------------

// The input of a branch's half, by images with a border.
struct Input {
  int64_t height, width, stride, border;
  int64_t pitch(const Shape& s) const { return (width + 2 * border) * s.channels; }
  int64_t size(const Shape& s) const { return bordered_size(height, width, s.channels, border); }
};

Input input_of(const Branch& b, int half, const Shape& s) {
  if (half == 0) return {s.height, s.width, s.stride, kBorder};
  return {s.rows(), s.columns(), 1, b.padding()};
}

Window window_of(const Branch& b, const Input& in, const Shape& s) {
  const int64_t C = s.channels, pitch = in.pitch(s);
  return {b.kernel, b.kernel, b.dilation * pitch, b.dilation * C, in.stride * C, in.stride * pitch};
}

// Of the first tap of the first output.
int64_t first_tap(const Branch& b, const Input& in, const Shape& s) {
  return (in.border - b.padding()) * (in.pitch(s) + s.channels);
}

void unit_forward(const Branch& b, int half, const float* inputs, const Shape& s) {
  const int64_t C = s.channels;
  const Unit& u = b.unit[half];
  const Input input = input_of(b, half, s);
  const Window w = window_of(b, input, s);
  const int64_t row = s.columns() * C;
  const Floats depth = transposed(u.depthwise, b.kernel * b.kernel, C);
  const Floats point = transposed(u.pointwise, C, C);
  Floats own(half ? input.size(s) : 0);
  std::vector<double> sums(2 * C, 0.0);
  for (int64_t i = 0; i < s.batch; ++i) {
    if (half) bordered_norm_relu(b.unit[0], i, own.data(), input.border, s);
    const float* in = half ? own.data() : inputs + i * input.size(s);
    by_band(s, [&](int64_t y, int64_t rows) {
      const int64_t at = i * s.result() + y * row, pixels = rows * s.columns();
      float *mixed = u.mixed + at, *z = u.normal + at;
      depthwise(in + first_tap(b, input, s) + y * w.pitch, w, depth.data(), mixed,
                {rows, s.columns(), C, row}, C, false);
      product(mixed, point.data(), z, pixels, C);
      add_sums(z, C, z, pixels, C, sums.data());
    });
  }
  set_statistics(u, sums.data(), static_cast<double>(s.batch * s.pixels()), C);
}

void branch_forward(const Branch& b, const float* inputs, const Shape& s) {
  for (int half = 0; half < b.units; ++half) unit_forward(b, half, inputs, s);
}

// A branch backward -----------------------------------------------------------------------------

// Which of k taps the inputs see whose number is `phase` modulo the stride, by the distance of
// the output that a tap leads to; the distances are first, first + step, ...
struct Taps {
  std::vector<int64_t> index;
  int64_t first = 0, step = 1;

  Taps(const Branch& b, int64_t stride, int64_t phase) {
    for (int64_t i = b.kernel - 1; i >= 0; --i) {
      const int64_t ahead = phase + b.padding() - i * b.dilation;
      if (ahead % stride) continue;
      if (index.empty()) first = ahead / stride;
      if (index.size() == 1) step = ahead / stride - first;
      index.push_back(i);
    }
  }
};

// The gradient of a depthwise convolution's input is, for each phase of rows and columns, a
// convolution of the output's gradient with some of the taps.
struct Phase {
  Window window;
  Grid grid;
  int64_t from, to;  // of the first tap, in a bordered map; of the first input
  Floats weights;
};

// What one image of a unit gets: dz by its line from g, whose pixels are `step` apart; gradients of
// the weights, and of the unit's input if `out` is given (added to it where `add`).
struct UnitBackward {
  const Branch& b;
  const Unit& u;
  const Shape& s;
  const Input input;
  const int64_t border, pitch;  // of `by_mixed`, [rows + 2 border][columns + 2 border][C]
  Floats by_mixed, depth_gradient, dz;
  std::vector<Phase> phases;

  UnitBackward(const Branch& b, int half, const Shape& s)
      : b(b), u(b.unit[half]), s(s), input(input_of(b, half, s)),
        border((b.padding() + input.stride - 1) / input.stride),
        pitch((s.columns() + 2 * border) * s.channels),
        by_mixed(bordered_size(s.rows(), s.columns(), s.channels, border), 0.f),
        depth_gradient(b.kernel * b.kernel * s.channels), dz(s.result()) {
    const Floats depth = transposed(u.depthwise, b.kernel * b.kernel, s.channels);
    for (int64_t y = 0; y < input.stride; ++y)
      for (int64_t x = 0; x < input.stride; ++x) add_phase(y, x, depth);
  }

  void add_phase(int64_t y, int64_t x, const Floats& depth) {
    const int64_t C = s.channels, stride = input.stride;
    const Taps down(b, stride, y), across(b, stride, x);
    if (down.index.empty() || across.index.empty()) return;  // a gradient of zero
    const int64_t rows = down.index.size(), columns = across.index.size();
    Phase p{{rows, columns, down.step * pitch, across.step * C, C, pitch},
            {(input.height - y + stride - 1) / stride, (input.width - x + stride - 1) / stride,
             stride * C, stride * input.width * C},
            (border + down.first) * pitch + (border + across.first) * C,
            (y * input.width + x) * C,
            {}};
    for (const int64_t i : down.index)
      for (const int64_t j : across.index) {
        const float* tap = &depth[(i * b.kernel + j) * C];
        p.weights.insert(p.weights.end(), tap, tap + C);
      }
    phases.push_back(std::move(p));
  }

  void image(int64_t i, const Floats& line, const float* g, int64_t step, const float* in,
             float* out, bool add) {
    const int64_t C = s.channels, row = s.columns() * C, from = i * s.result();
    float* inside = by_mixed.data() + border * (pitch + C);
    by_band(s, [&](int64_t y, int64_t rows) {
      const int64_t pixels = rows * s.columns(), at = from + y * row;
      apply_line(line, g + at / C * step, step, u.normal + at, dz.data(), pixels, C);
      if (u.pointwise_gradient)
        add_outer(dz.data(), u.mixed + at, u.pointwise_gradient, pixels, C);
      for (int64_t k = 0; k < rows; ++k)
        product(&dz[k * row], u.pointwise, inside + (y + k) * pitch, s.columns(), C);
    });
    if (u.depthwise_gradient)
      depthwise_gradient(in + first_tap(b, input, s), window_of(b, input, s), inside,
                         {s.rows(), s.columns(), C, pitch}, depth_gradient.data(), C);
    if (!out) return;
    for (const Phase& p : phases)
      depthwise(by_mixed.data() + p.from, p.window, p.weights.data(), out + p.to, p.grid, C, add);
  }

  void finish() {
    if (u.depthwise_gradient)
      add_transposed(depth_gradient, u.depthwise_gradient, b.kernel * b.kernel, s.channels);
  }
};

// g becomes the gradient before ReLU(norm(z)) where it was that after it.
void rectify(float* g, const float* z, const Unit& u, int64_t pixels, int64_t C) {
  for (int64_t i = 0; i < pixels * C; i += C)
    for (int64_t c = 0; c < C; c += kLanes) {
      const vec y = (load(z + i + c) - load(u.mean + c)) * load(u.scale + c);
      store(g + i + c, y > 0 ? load(g + i + c) : vec{});
    }
}

// Returns the gradient of the branch's weight; adds that of ReLU(x) to `gx` if it is given. The
// pixels of g are `step` apart.
double branch_backward(const Branch& b, float weight, const float* g, int64_t step,
                       const float* inputs, float* gx, bool weights, const Shape& s) {
  const int64_t C = s.channels, result = s.result();
  const double n = static_cast<double>(s.batch * s.pixels());
  const Unit& last = b.unit[b.units - 1];
  std::vector<double> sums(2 * C, 0.0);
  for (int64_t i = 0; i < s.batch; ++i)
    add_sums(g + i * s.pixels() * step, step, last.normal + i * result, s.pixels(), C, sums.data());
  Floats line;
  const double gradient = gradient_line(last, sums.data(), n, weight, C, line);
  if (!weights && !gx) return gradient;
  Floats before;
  if (b.units == 2) {
    before.resize(s.batch * result);
    UnitBackward unit(b, 1, s);
    Floats in(weights ? unit.input.size(s) : 0);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t i = 0; i < s.batch; ++i) {
      float* to = &before[i * result];
      const float* z = b.unit[0].normal + i * result;
      if (weights) bordered_norm_relu(b.unit[0], i, in.data(), unit.input.border, s);
      unit.image(i, line, g, step, in.data(), to, false);
      by_band(s, [&](int64_t y, int64_t rows) {
        const int64_t at = y * s.columns() * C, pixels = rows * s.columns();
        rectify(to + at, z + at, b.unit[0], pixels, C);
        add_sums(to + at, C, z + at, pixels, C, sums.data());
      });
    }
    unit.finish();
    gradient_line(b.unit[0], sums.data(), n, 1.0, C, line);
    g = before.data();
    step = C;
  }
  UnitBackward unit(b, 0, s);
  for (int64_t i = 0; i < s.batch; ++i)
    unit.image(i, line, g, step, inputs + i * unit.input.size(s), gx ? gx + i * s.image() : nullptr,
               true);
  unit.finish();
  return gradient;
}

// All branches and terms ------------------------------------------------------------------------

// The arguments as Python lays them out: 5 numbers, then 2 x 8 addresses a branch.
std::vector<Branch> branches_from(const int64_t* table, int64_t count) {
  std::vector<Branch> found(count);
  for (Branch& b : found) {
    b = Branch{table[0], table[1], table[2], table[3], table[4], {}};
    for (int k = 0; k < 2; ++k) {
      float* p[8];
      for (int i = 0; i < 8; ++i) p[i] = reinterpret_cast<float*>(table[5 + 8 * k + i]);
      b.unit[k] = Unit{p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]};
    }
    table += 21;
  }
  return found;
}

// Calls `work(branch number)` for all branches, those of one task together, after its `begin(task)`.
template <typename Begin, typename Work, typename End>
void by_task(const std::vector<Branch>& all, int64_t tasks, Begin begin, Work work, End end) {
  for (int64_t task = 0; task < tasks; ++task) {
    std::vector<int64_t> own;
    for (size_t k = 0; k < all.size(); ++k)
      if (all[k].task == task) own.push_back(k);
    begin(task);
    at::parallel_for(0, own.size(), 1, [&](int64_t from, int64_t to) {
      for (int64_t k = from; k < to; ++k) work(own[k]);
    });
    end(task);
  }
}

void set_inputs(const float* x, const Shape& s, Floats& all) {
  const int64_t size = bordered_size(s.height, s.width, s.channels, kBorder);
  all.resize(s.batch * size);
  at::parallel_for(0, s.batch, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i)
      bordered_relu(x + i * s.height * s.width * s.wide(), &all[i * size], s);
  });
}

// A summand of an edge's output: factor [C] times a map whose pixels are `step` apart.
struct Summand {
  const float* map;
  int64_t step;
  Floats factor;
};

void add_up(const std::vector<Summand>& summands, const Floats& shift, float* out, int64_t pixels,
            int64_t step, int64_t C) {
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t c = 0; c < C; c += kLanes) {
      vec sum = load(&shift[c]);
      for (const Summand& m : summands) sum += load(&m.factor[c]) * load(m.map + i * m.step + c);
      store(out + i * step + c, sum);
    }
}

// The gradients of one shared term of a task, and of its share in each edge.
void term_backward(const Shape& s, int64_t task, int64_t t, int64_t edges, int64_t terms,
                   const float* const* shared, const float* shares, const float* const* gs,
                   float* by_share, float* const* by_shared) {
  constexpr int64_t kRun = 256;
  const int64_t C = s.channels, total = s.batch * s.pixels();
  std::vector<double> inner(edges, 0.0);
  std::vector<float> own(edges);
  for (int64_t e = 0; e < edges; ++e) own[e] = shares[(task * edges + e) * terms + t];
  std::vector<vec> sums(edges);
  for (int64_t start = 0; start < total; start += kRun) {
    std::fill(sums.begin(), sums.end(), vec{});
    for (int64_t i = start; i < std::min(total, start + kRun); ++i)
      for (int64_t c = 0; c < C; c += kLanes) {
        const int64_t at = i * s.wide() + task * C + c;
        const vec value = load(shared[t] + at);
        vec by{};
        for (int64_t e = 0; e < edges; ++e) {
          const vec g = load(gs[e] + at);
          sums[e] += g * value;
          by += own[e] * g;
        }
        if (by_shared[t]) store(by_shared[t] + at, by);
      }
    for (int64_t e = 0; e < edges; ++e)
      for (int k = 0; k < kLanes; ++k) inner[e] += sums[e][k];
  }
  for (int64_t e = 0; e < edges; ++e)
    by_share[(task * edges + e) * terms + t] = static_cast<float>(inner[e]);
}

}  // namespace

extern "C" {

// shape: batch, channels, height, width, stride, tasks. shares: [tasks][edges][terms]. outs: one
// map an edge.
void transnas_edges_forward(const int64_t* shape, const float* x, int64_t branches,
                            const int64_t* table, const float* weights, int64_t edges,
                            int64_t terms, const float* const* shared, const float* shares,
                            float* const* outs) {
  const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
  const std::vector<Branch> all = branches_from(table, branches);
  const int64_t C = s.channels, map = s.pixels() * s.wide();
  Floats inputs;
  by_task(
      all, branches ? s.tasks : 0, [&](int64_t task) { set_inputs(x + task * C, s, inputs); },
      [&](int64_t k) { branch_forward(all[k], inputs.data(), s); }, [](int64_t) {});
  at::parallel_for(0, s.tasks * edges * s.batch, 1, [&](int64_t from, int64_t to) {
    for (int64_t job = from; job < to; ++job) {
      const int64_t image = job % s.batch, own = job / s.batch, task = own / edges;
      std::vector<Summand> summands;
      Floats shift(C, 0.f);
      for (int64_t k = 0; k < branches; ++k) {
        const Unit& u = all[k].unit[all[k].units - 1];
        if (all[k].task * edges + all[k].edge != own) continue;
        summands.push_back({u.normal + image * s.result(), C, Floats(C)});
        for (int64_t c = 0; c < C; ++c) {
          summands.back().factor[c] = weights[k] * u.scale[c];
          shift[c] -= weights[k] * u.scale[c] * u.mean[c];
        }
      }
      for (int64_t t = 0; t < terms; ++t)
        summands.push_back(
            {shared[t] + image * map + task * C, s.wide(), Floats(C, shares[own * terms + t])});
      add_up(summands, shift, outs[own % edges] + image * map + task * C, s.pixels(), s.wide(), C);
    }
  });
}

// Gradients are written: gx (or null), by_weight [branches], by_share [tasks][edges][terms],
// by_shared (each or null). Those of convolution weights are added to what the table points at.
void transnas_edges_backward(const int64_t* shape, const float* x, int64_t branches,
                             const int64_t* table, const float* weights, int64_t edges,
                             int64_t terms, const float* const* shared, const float* shares,
                             const float* const* gs, int64_t need_weights, float* gx,
                             float* by_weight, float* by_share, float* const* by_shared) {
  const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
  const std::vector<Branch> all = branches_from(table, branches);
  const int64_t C = s.channels, wide = s.wide();
  Floats inputs;
  std::vector<Floats> parts(gx ? at::get_num_threads() : 0);
  by_task(
      all, s.tasks,
      [&](int64_t task) {
        if (need_weights && branches) set_inputs(x + task * C, s, inputs);
        for (Floats& part : parts) std::fill(part.begin(), part.end(), 0.f);
      },
      [&](int64_t k) {
        float* part = nullptr;
        if (gx) {
          Floats& mine = parts[at::get_thread_num()];
          mine.resize(s.batch * s.image(), 0.f);
          part = mine.data();
        }
        by_weight[k] = static_cast<float>(
            branch_backward(all[k], weights[k], gs[all[k].edge] + all[k].task * C, wide,
                            inputs.data(), part, need_weights != 0, s));
      },
      [&](int64_t task) {
        if (!gx) return;
        at::parallel_for(0, s.batch * s.height * s.width, 512, [&](int64_t from, int64_t to) {
          for (int64_t i = from; i < to; ++i)
            for (int64_t c = 0; c < C; c += kLanes) {
              const int64_t at = i * wide + task * C + c;
              vec sum{};
              for (const Floats& part : parts)
                if (!part.empty()) sum += load(&part[i * C + c]);
              store(gx + at, load(x + at) > 0 ? sum : vec{});
            }
        });
      });
  at::parallel_for(0, s.tasks * terms, 1, [&](int64_t from, int64_t to) {
    for (int64_t job = from; job < to; ++job)
      term_backward(s, job / terms, job % terms, edges, terms, shared, shares, gs, by_share,
                    by_shared);
  });
}

}  // extern "C"
