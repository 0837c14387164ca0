// The slope of the activation GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415), which is x·Φ(x) with the standard normal
// distribution Φ. Each number is computed in float64. One that is not finite gives one that is not.

#pragma once

#include <cmath>
#include <cstdint>

#include "exponential.h"

namespace gelu {

// Both take Φ(x) for x < 0 without a difference, which would lose its digits, and 1 - Φ(-x) for others.

// Φ(-a) = exp(-a²/2)·P(a)/Q(a) for a ≥ 0, to 3e-10 of its value.
struct Exact {
  static double slope(double x) {
    double a = std::fabs(x);
    constexpr double kFar = 27;  // Φ(-27) times any float32 rounds to 0 in float32
    const double near = a < kFar ? 1 : 0;
    a = a > kFar ? kFar : a;
    const double bell = exponential::of(-0.5 * a * a) * near;
    double p = 0.001050192084537886;
    p = p * a + 0.013145460020394715;
    p = p * a + 0.07785172839214705;
    p = p * a + 0.26578801056681367;
    p = p * a + 0.5243284142324319;
    p = p * a + 0.4999999998676571;
    double q = 0.0026324418119587794;
    q = q * a + 0.03295072280924505;
    q = q * a + 0.1977800904546521;
    q = q * a + 0.6991314307425931;
    q = q * a + 1.5049032069847126;
    q = q * a + 1.8465413655799991;
    q = q * a + 1;
    const double tail = bell * (p / q);
    const double other = 1 - tail;  // computed for every x: a branch would rule out vector instructions
    constexpr double kDensity = 0.3989422804014327;  // 1/√(2π)
    return (x < 0 ? tail : other) + x * (bell * kDensity);
  }
};

// (1 + tanh z)/2 = 1/(1 + exp(-2z)) in place of Φ(x), for z = √(2/π)·(x + 0.044715·x³).
struct Approximate {
  static double slope(double x) {
    constexpr double kFactor = 2 * 0.7978845608028654, kCubic = 0.044715;
    const double e = exponential::of(-std::fabs(kFactor * (x + kCubic * x * x * x)));
    const double tail = e / (1 + e);
    const double other = 1 - tail, by_x = kFactor * (1 + 3 * kCubic * x * x);
    return (x < 0 ? tail : other) + x * (by_x * (tail * other));
  }
};

// gradient·slope(x)
template <typename Kind>
void backward(const float* x, const float* gradient, float* of_x, int64_t size) {
  for (int64_t i = 0; i < size; ++i) of_x[i] = static_cast<float>(gradient[i] * Kind::slope(x[i]));
}

}  // namespace gelu
