// The update rules of Paddle's optimizers for one block of elements, with the bits of Paddle's own kernels for the CPU.
//
// A rule holds the numbers of one step for one parameter. Its `update` takes n elements of the parameter p, of its gradient g
// and of the optimizer's accumulators, which do not overlap. Each operation rounds once, in the order that the formula shows.
// A decay of 0 adds nothing. Paddle adds 0 p then, which makes a gradient of -0 a 0: no other number can differ by it.

#pragma once

#include <cmath>
#include <cstdint>

#include "saxpy.h"

namespace rules {

// Where Paddle adds the L2 decay to a gradient.
enum class Decay {
  kNone,
  kInside,  // in the optimizer's kernel (Momentum)
  kBefore,  // by the operations `scale`, which adds its bias 0 and so turns -0 into 0, and `add_n`, before the optimizer
};

// The gradient that a rule uses. Paddle clips it first, then adds the L2 decay:   g' = scale g + decay p
struct Gradient {
  float scale = 1;  // of ClipGradByGlobalNorm, or one over the weights of a step of several runs. 1 changes no bits.
  float decay = 0;

  template <Decay kDecay>
  float of(float g, float p) const {
    const float clipped = scale * g;
    if constexpr (kDecay == Decay::kNone) return clipped;
    const float l2 = decay * p;
    return clipped + (kDecay == Decay::kBefore ? l2 + 0.0f : l2);
  }
};

// a + b c, rounded once with kFma, else twice
template <bool kFma>
float add(float a, float b, float c) {
  return kFma ? std::fma(b, c, a) : a + b * c;
}

// p -= rate g'   (paddle/phi/kernels/cpu/sgd_kernel.cc, paddle/phi/kernels/funcs/jit/gen/sgd.cc, more/mkl/mkl.h)
struct Sgd {
  float rate;
  Gradient gradient;
  bool fused;

  // size: that of the whole parameter. Paddle generates code for multiples of 8, which rounds twice. MKL updates all others.
  Sgd(float rate, Gradient gradient, int64_t size)
      : rate(rate), gradient(gradient), fused(size % 8 != 0 && saxpy::rounds_once()) {}

  void update(float* p, const float* g, int64_t n) const {
    if (gradient.decay == 0) {
      fused ? run<Decay::kNone, true>(p, g, n) : run<Decay::kNone, false>(p, g, n);
    } else {
      fused ? run<Decay::kBefore, true>(p, g, n) : run<Decay::kBefore, false>(p, g, n);
    }
  }

 private:
  template <Decay kDecay, bool kFma>
  void run(float* __restrict__ p, const float* __restrict__ g, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) p[i] = add<kFma>(p[i], -rate, gradient.of<kDecay>(g[i], p[i]));
  }
};

// v = mu v + g',   p -= rate v;   with Nesterov's momentum   p -= rate (g' + mu v)
// (paddle/phi/kernels/impl/momentum_kernel_impl.h)
struct Momentum {
  float rate, mu;
  bool nesterov;
  Gradient gradient;

  void update(float* p, const float* g, float* v, int64_t n) const {
    if (gradient.decay == 0) {
      nesterov ? run<Decay::kNone, true>(p, g, v, n) : run<Decay::kNone, false>(p, g, v, n);
    } else {
      nesterov ? run<Decay::kInside, true>(p, g, v, n) : run<Decay::kInside, false>(p, g, v, n);
    }
  }

 private:
  template <Decay kDecay, bool kNesterov>
  void run(float* __restrict__ p, const float* __restrict__ g, float* __restrict__ v, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      const float change = gradient.of<kDecay>(g[i], p[i]);
      const float velocity = mu * v[i] + change;
      v[i] = velocity;
      p[i] -= rate * (kNesterov ? change + mu * velocity : velocity);
    }
  }
};

// The powers of beta1 and beta2 are Paddle's accumulators beta1_pow and beta2_pow: beta1 and beta2 before the first
// step. Paddle multiplies them by beta1 and beta2 after a step.
//
// for AdamW first   p -= rate coefficient p   (pull = rate coefficient)
// m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g'^2
// p -= rate sqrt(1 - beta2_pow)/(1 - beta1_pow) m/(sqrt(v) + epsilon sqrt(1 - beta2_pow))
// (paddle/phi/kernels/cpu/adam_kernel.cc, adamw_kernel.cc, paddle/phi/kernels/funcs/jit/gen/adam.cc, adamw.cc, refer/refer.h)
struct Adam {
  float rate, epsilon, beta1, beta2, pull;
  Gradient gradient;

  Adam(float rate, float beta1, float beta2, float epsilon, float beta1_pow, float beta2_pow, float coefficient, Gradient gradient)
      : rate(rate * (std::sqrt(1 - beta2_pow) / (1 - beta1_pow))),
        epsilon(epsilon * std::sqrt(1 - beta2_pow)),
        beta1(beta1),
        beta2(beta2),
        pull(rate * coefficient),
        gradient(gradient) {}

  void update(float* p, const float* g, float* m, float* v, int64_t n) const {
    if (gradient.decay == 0) {
      pull == 0 ? choose<Decay::kNone, false>(p, g, m, v, n) : choose<Decay::kNone, true>(p, g, m, v, n);
    } else {
      pull == 0 ? choose<Decay::kBefore, false>(p, g, m, v, n) : choose<Decay::kBefore, true>(p, g, m, v, n);
    }
  }

 private:
  // On processors with AVX-512 Paddle generates code with FMA instructions. Otherwise it runs a plain loop.
  template <Decay kDecay, bool kPull>
  void choose(float* p, const float* g, float* m, float* v, int64_t n) const {
#ifdef __FMA__
    if (__builtin_cpu_supports("avx512f")) return run<kDecay, kPull, true>(p, g, m, v, n);
#endif
    run<kDecay, kPull, false>(p, g, m, v, n);
  }

  template <Decay kDecay, bool kPull, bool kFma>
  void run(float* __restrict__ p, const float* __restrict__ g, float* __restrict__ m, float* __restrict__ v, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      const float q = gradient.of<kDecay>(g[i], p[i]);
      const float square = kFma ? (1 - beta2) * (q * q) : (1 - beta2) * q * q;
      const float kept = kPull ? add<kFma>(p[i], -pull, p[i]) : p[i];
      m[i] = add<kFma>((1 - beta1) * q, beta1, m[i]);
      v[i] = add<kFma>(square, beta2, v[i]);
      p[i] = add<kFma>(kept, -rate, m[i] / (std::sqrt(v[i]) + epsilon));
    }
  }
};

}  // namespace rules
