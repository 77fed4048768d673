// A branch backward.

#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "branch_forward.h"

namespace {

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
        depth_gradient(b.kernel * b.kernel * s.channels),
        dz(band_rows(s) * s.columns() * s.channels) {
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

}  // namespace
