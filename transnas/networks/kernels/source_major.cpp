// All edges that leave one node of a mixed cell, forward and backward, float32 on CPUs.
//
// A branch is an operation of one edge: ReLU, depthwise convolution, 1x1 convolution and batch
// normalisation (with or without gain and bias), once or twice. Several tasks with weights of
// their own may lie side by side: maps are NHWC, [n][H][W][tasks][C] with C a multiple of LANES,
// and what a branch keeps for itself is [n][H][W][C]. An edge's output is
//     out_e = sum_b weight_b norm(z_b) + sum_s share_es S_s
// over its branches and the terms S that all edges share (pools, the identity). Normalisation and
// weight are one scale and shift of z; z is kept for the backward pass, its gradient is
//     dz = scale g + slope z + shift,
// whose coefficients come from <g> and <g z>, as do the gradients of gain and bias; <g norm(z)> is
// that of the weight.
//
// Vectors of LANES floats are the compiler's own: they become AVX-512, AVX2, SSE or NEON code.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "branch_backward.h"

namespace {

// The arguments as Python lays them out: 5 numbers, then 2 x 14 addresses a branch.
std::vector<Branch> branches_from(const int64_t* table, int64_t count) {
  std::vector<Branch> found(count);
  for (Branch& b : found) {
    b = Branch{table[0], table[1], table[2], table[3], table[4], {}};
    for (int k = 0; k < 2; ++k) {
      float* p[kAddresses];
      std::memcpy(p, table + 5 + kAddresses * k, sizeof(p));
      b.unit[k] = Unit{p[0], p[1], p[2], p[3], p[4],  p[5],  p[6],
                       p[7], p[8], p[9], p[10], p[11], p[12], p[13]};
    }
    table += 5 + 2 * kAddresses;
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
          summands.back().factor[c] = weights[k] * u.factor[c];
          shift[c] += weights[k] * u.offset[c];
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
