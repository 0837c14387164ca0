// Sums of many numbers in float64.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lanes {

constexpr int64_t kLanes = 16;  // independent sums: the compiler must not change the order of a sum

// N sums of values(i), which has N numbers, for i in [0, size).
template <size_t N, typename Values>
std::array<double, N> sums(int64_t size, Values values) {
  double lanes[N][kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const std::array<double, N> each = values(i + lane);
      for (size_t n = 0; n < N; ++n) lanes[n][lane] += each[n];
    }
  }
  std::array<double, N> found = {};
  for (; i < size; ++i) {
    const std::array<double, N> each = values(i);
    for (size_t n = 0; n < N; ++n) found[n] += each[n];
  }
  for (size_t n = 0; n < N; ++n) {
    for (const double lane : lanes[n]) found[n] += lane;
  }
  return found;
}

// Σ value(i) for i in [0, size).
template <typename Value>
double sum(int64_t size, Value value) {
  return sums<1>(size, [value](int64_t i) { return std::array<double, 1>{value(i)}; })[0];
}

}  // namespace lanes
