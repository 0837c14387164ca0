// The update rules of Paddle's optimizers for one block of elements, with the bits of Paddle's own kernels for the CPU.
//
// A rule holds the numbers of one step for one parameter, already rounded to T, the parameter's type (float or double). Its
// `update` takes n elements of the parameter p, of its gradient g and of the optimizer's accumulators, which do not overlap.
// Each operation rounds once, in the order that the formula shows.

#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

namespace rules {

// Where Paddle adds the L2 decay to a gradient.
enum class Decay {
  kNone,
  kInside,  // in the optimizer's kernel (Momentum)
  kBefore,  // by the operations `scale`, which adds its bias 0 and so turns -0 into 0, and `add_n`, before the optimizer
};

// The gradient that a rule uses. Paddle clips it first, then adds the L2 decay:   g' = scale g + decay p
template <typename T>
struct Gradient {
  T scale = 1;  // from ClipGradByGlobalNorm or ClipGradByNorm. 1 changes no bits.
  T decay = 0;

  template <Decay kDecay>
  T of(T g, T p) const {
    const T clipped = scale * g;
    if constexpr (kDecay == Decay::kNone) return clipped;
    const T l2 = decay * p;
    return clipped + (kDecay == Decay::kBefore ? l2 + T(0) : l2);
  }
};

// p -= rate g'   (paddle/phi/kernels/cpu/sgd_kernel.cc, paddle/phi/kernels/funcs/jit/gen/sgd.cc)
template <typename T>
struct Sgd {
  T rate;
  Gradient<T> gradient;

  void update(T* p, const T* g, int64_t n) const {
    gradient.decay == 0 ? run<Decay::kNone>(p, g, n) : run<Decay::kBefore>(p, g, n);
  }

 private:
  template <Decay kDecay>
  void run(T* __restrict__ p, const T* __restrict__ g, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) p[i] -= rate * gradient.template of<kDecay>(g[i], p[i]);
  }
};

// v = mu v + g',   p -= rate v;   with Nesterov's momentum   p -= rate (g' + mu v)
// (paddle/phi/kernels/impl/momentum_kernel_impl.h)
template <typename T>
struct Momentum {
  T rate, mu;
  bool nesterov;
  Gradient<T> gradient;

  void update(T* p, const T* g, T* v, int64_t n) const {
    if (gradient.decay == 0) {
      nesterov ? run<Decay::kNone, true>(p, g, v, n) : run<Decay::kNone, false>(p, g, v, n);
    } else {
      nesterov ? run<Decay::kInside, true>(p, g, v, n) : run<Decay::kInside, false>(p, g, v, n);
    }
  }

 private:
  template <Decay kDecay, bool kNesterov>
  void run(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ v, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      const T change = gradient.template of<kDecay>(g[i], p[i]);
      const T velocity = mu * v[i] + change;
      v[i] = velocity;
      p[i] -= rate * (kNesterov ? change + mu * velocity : velocity);
    }
  }
};

// The powers of beta1 and beta2 are Paddle's accumulators beta1_pow and beta2_pow, of type T: beta1 and beta2 before the first
// step. Paddle multiplies them by beta1 and beta2 after a step, in T.
//
// for AdamW first   p -= rate coefficient p   (pull = rate coefficient)
// m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g'^2
// p -= rate sqrt(1 - beta2_pow)/(1 - beta1_pow) m/(sqrt(v) + epsilon sqrt(1 - beta2_pow))
// (paddle/phi/kernels/cpu/adam_kernel.cc, adamw_kernel.cc, paddle/phi/kernels/funcs/jit/gen/adam.cc, adamw.cc, refer/refer.h)
template <typename T>
struct Adam {
  T rate, epsilon, beta1, beta2, pull;
  Gradient<T> gradient;

  Adam(T rate, T beta1, T beta2, T epsilon, T beta1_pow, T beta2_pow, T coefficient, Gradient<T> gradient)
      : rate(rate * (std::sqrt(1 - beta2_pow) / (1 - beta1_pow))),
        epsilon(epsilon * std::sqrt(1 - beta2_pow)),
        beta1(beta1),
        beta2(beta2),
        pull(rate * coefficient),
        gradient(gradient) {}

  void update(T* p, const T* g, T* m, T* v, int64_t n) const {
    if (gradient.decay == 0) {
      pull == 0 ? choose<Decay::kNone, false>(p, g, m, v, n) : choose<Decay::kNone, true>(p, g, m, v, n);
    } else {
      pull == 0 ? choose<Decay::kBefore, false>(p, g, m, v, n) : choose<Decay::kBefore, true>(p, g, m, v, n);
    }
  }

 private:
  // On processors with AVX-512 Paddle generates code with FMA instructions for float. Otherwise it runs a plain loop.
  template <Decay kDecay, bool kPull>
  void choose(T* p, const T* g, T* m, T* v, int64_t n) const {
#ifdef __FMA__
    if (std::is_same_v<T, float> && __builtin_cpu_supports("avx512f")) return run<kDecay, kPull, true>(p, g, m, v, n);
#endif
    run<kDecay, kPull, false>(p, g, m, v, n);
  }

  template <Decay kDecay, bool kPull, bool kFma>
  void run(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m, T* __restrict__ v, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      const T q = gradient.template of<kDecay>(g[i], p[i]);
      const T square = kFma ? (1 - beta2) * (q * q) : (1 - beta2) * q * q;
      const T kept = kPull ? add<kFma>(p[i], -pull, p[i]) : p[i];
      m[i] = add<kFma>((1 - beta1) * q, beta1, m[i]);
      v[i] = add<kFma>(square, beta2, v[i]);
      p[i] = add<kFma>(kept, -rate, m[i] / (std::sqrt(v[i]) + epsilon));
    }
  }

  // a + b c, rounded once with kFma, else twice
  template <bool kFma>
  static T add(T a, T b, T c) {
    return kFma ? std::fma(b, c, a) : a + b * c;
  }
};

}  // namespace rules
