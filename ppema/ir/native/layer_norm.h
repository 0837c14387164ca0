// The gradient of LayerNorm (Ba et al. 2016, arXiv:1607.06450), computed in float64 row by row.
//
// With m and v, mean and variance of a row, r = 1/√(v + epsilon) and n = (x - m)·r, the norm is n·scale + bias. With
// h = gradient·scale, the gradient by x is r·(h - mean(h) - n·mean(h·n)). Those by scale and bias are the sums of gradient·n and of
// gradient over all rows.

#pragma once

#include <cmath>
#include <cstdint>

namespace layer_norm {

constexpr int64_t kLanes = 16;  // independent sums: the compiler must not change the order of a sum

// The means of two values (first, second) of each of `size` places.
template <typename Values>
std::pair<double, double> means(int64_t size, Values values) {
  double first[kLanes] = {}, second[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto [one, two] = values(i + lane);
      first[lane] += one;
      second[lane] += two;
    }
  }
  double sum = 0, other = 0;
  for (; i < size; ++i) {
    const auto [one, two] = values(i);
    sum += one;
    other += two;
  }
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    sum += first[lane];
    other += second[lane];
  }
  return {sum / size, other / size};
}

struct Pair {
  double first, second;
};

// One row. work: of `columns` numbers. of_scale, of_bias: sums that the row adds to.
void row(const float* x, const float* gradient, const float* scale, int64_t columns, double epsilon, double* work, float* of_x,
         double* of_scale, double* of_bias) {
  const double mean = means(columns, [=](int64_t i) { return Pair{x[i], 0}; }).first;
  for (int64_t i = 0; i < columns; ++i) work[i] = x[i] - mean;
  const double variance = means(columns, [=](int64_t i) { return Pair{work[i] * work[i], 0}; }).first;
  const double factor = 1 / std::sqrt(variance + epsilon);
  for (int64_t i = 0; i < columns; ++i) {
    work[i] *= factor;
    of_scale[i] += gradient[i] * work[i];
    of_bias[i] += gradient[i];
  }
  const auto slopes = [=](auto slope) {
    const auto [straight, along] = means(columns, [=](int64_t i) { return Pair{slope(i), slope(i) * work[i]}; });
    for (int64_t i = 0; i < columns; ++i) of_x[i] = static_cast<float>(factor * (slope(i) - straight - work[i] * along));
  };
  if (scale == nullptr) {
    slopes([=](int64_t i) { return static_cast<double>(gradient[i]); });
  } else {
    slopes([=](int64_t i) { return static_cast<double>(gradient[i]) * scale[i]; });
  }
}

}  // namespace layer_norm
