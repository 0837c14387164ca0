// exp(x)/Σ exp(x) over a row. Sums are float64.

#pragma once

#include <cstdint>

#include "exponential.h"

namespace softmax {

constexpr int64_t kLanes = 16;  // independent sums: the compiler must not change the order of a sum

// The largest of `size` ≥ 1 numbers; NaN counts as smallest, unless it is the first of a lane.
float largest(const float* x, int64_t size) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = x[0];
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = lanes[lane] < x[i + lane] ? x[i + lane] : lanes[lane];
  }
  float found = x[0];
  for (; i < size; ++i) found = found < x[i] ? x[i] : found;
  for (const float lane : lanes) found = found < lane ? lane : found;
  return found;
}

double sum(const double* x, int64_t size) {
  double lanes[kLanes] = {}, found = 0;
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane];
  }
  for (; i < size; ++i) found += x[i];
  for (const double lane : lanes) found += lane;
  return found;
}

// In place. size ≥ 1. powers: `size` numbers that are overwritten. A row with NaN or plus infinity, or of minus infinities alone,
// becomes NaN.
inline void row(float* x, int64_t size, double* powers) {
  const double most = largest(x, size);
  for (int64_t i = 0; i < size; ++i) powers[i] = exponential::of(x[i] - most);
  const double total = sum(powers, size);
  for (int64_t i = 0; i < size; ++i) x[i] = static_cast<float>(powers[i] / total);
}

}  // namespace softmax
