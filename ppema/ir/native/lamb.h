// The update rule of Paddle's Lamb, with the bits of Paddle's own kernel for the CPU.

#pragma once

#include <cmath>
#include <cstdint>

#include "rules.h"
#include "squares.h"

namespace rules {

// m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g'^2
// d = m/(1 - beta1_pow) / (sqrt(v/(1 - beta2_pow)) + epsilon) + decay p,   p -= rate |p|/|d| d
// (paddle/phi/kernels/impl/lamb_kernel_impl.h, paddle/phi/kernels/funcs/lamb_functors.h)
//
// The norms |p| and |d| are those of the whole parameter, so there are two passes: `move` over the leaves of its sum of squares
// (squares.h), then `update` over blocks of any size, which computes d again, as that is cheaper than to write and read it. The
// factor |p|/|d| is 1 if a norm is 0, and if the rule does not adapt.
struct Lamb {
  float rate, beta1, beta2, epsilon, beta1_pow, beta2_pow, decay;
  bool adapts;  // as in Paddle: decay > 0 or always_adapt
  Gradient gradient;

  struct Squares {
    float p = 0, d = 0;
  };

  Squares move(const float* p, const float* g, float* m, float* v, int64_t n) const {
    gradient.decay == 0 ? run<Decay::kNone>(p, g, m, v, n) : run<Decay::kBefore>(p, g, m, v, n);
    if (!adapts) return {};
    return {squares::of_leaf(n, [=](int64_t i) { return p[i]; }),
            squares::of_leaf(n, [=](int64_t i) { return direction(p[i], m[i], v[i]); })};
  }

  // The rate of a parameter's second pass, from its sums of squares.
  float adapted(Squares sums) const {
    const float of_p = std::sqrt(sums.p), of_d = std::sqrt(sums.d);
    return of_p > 0 && of_d > 0 ? rate * (of_p / of_d) : rate;
  }

  void update(float* __restrict__ p, const float* __restrict__ m, const float* __restrict__ v, float adapted, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) p[i] -= adapted * direction(p[i], m[i], v[i]);
  }

 private:
  template <Decay kDecay>
  void run(const float* __restrict__ p, const float* __restrict__ g, float* __restrict__ m, float* __restrict__ v, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      const float q = gradient.of<kDecay>(g[i], p[i]);
      m[i] = beta1 * m[i] + (1 - beta1) * q;
      v[i] = beta2 * v[i] + (1 - beta2) * q * q;
    }
  }

  float direction(float p, float m, float v) const { return m / (1 - beta1_pow) / (std::sqrt(v / (1 - beta2_pow)) + epsilon) + decay * p; }
};

}  // namespace rules
