// exp(x)/Σ exp(x) over a row. Sums are float64.

#pragma once

#include <cstdint>

#include "exponential.h"
#include "lanes.h"

namespace softmax {

// The largest of `size` ≥ 1 numbers; NaN counts as smallest, unless it is the first number.
inline float largest(const float* x, int64_t size) {
  constexpr int64_t kLanes = lanes::kLanes;
  float most[kLanes];
  for (float& lane : most) lane = x[0];
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) most[lane] = most[lane] < x[i + lane] ? x[i + lane] : most[lane];
  }
  float found = x[0];
  for (; i < size; ++i) found = found < x[i] ? x[i] : found;
  for (const float lane : most) found = found < lane ? lane : found;
  return found;
}

// In place. size ≥ 1. powers: `size` numbers that are overwritten. A row with NaN or plus infinity, or of minus infinities alone,
// becomes NaN.
inline void row(float* x, int64_t size, double* powers) {
  const double most = largest(x, size);
  for (int64_t i = 0; i < size; ++i) powers[i] = exponential::of(x[i] - most);
  const double total = lanes::sum(size, [=](int64_t i) { return powers[i]; });
  for (int64_t i = 0; i < size; ++i) x[i] = static_cast<float>(powers[i] / total);
}

}  // namespace softmax
