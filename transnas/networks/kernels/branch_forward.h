// A branch forward.

#pragma once

#include <cstdint>
#include <vector>

#include "branch.h"
#include "depthwise.h"
#include "normalisation.h"
#include "pointwise.h"

namespace {

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

}  // namespace
