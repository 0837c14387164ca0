// The gradient of LayerNorm (Ba et al. 2016, arXiv:1607.06450), computed in float64 row by row.
//
// With m and v, mean and variance of a row, r = 1/√(v + epsilon) and n = (x - m)·r, the norm is n·scale + bias. With
// h = gradient·scale, the gradient by x is r·(h - mean(h) - n·mean(h·n)). Those by scale and bias are the sums of gradient·n and of
// gradient over all rows.

#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "lanes.h"

namespace layer_norm {

// One row. work: of `columns` numbers. of_scale, of_bias: sums that the row adds to.
inline void row(const float* x, const float* gradient, const float* scale, int64_t columns, double epsilon, double* work, float* of_x,
         double* of_scale, double* of_bias) {
  const double mean = lanes::sum(columns, [=](int64_t i) { return static_cast<double>(x[i]); }) / columns;
  for (int64_t i = 0; i < columns; ++i) work[i] = x[i] - mean;
  const double variance = lanes::sum(columns, [=](int64_t i) { return work[i] * work[i]; }) / columns;
  const double factor = 1 / std::sqrt(variance + epsilon);
  for (int64_t i = 0; i < columns; ++i) {
    work[i] *= factor;
    of_scale[i] += gradient[i] * work[i];
    of_bias[i] += gradient[i];
  }
  const auto slopes = [=](auto slope) {
    const auto [sum, sum_along] =
        lanes::sums<2>(columns, [=](int64_t i) { return std::array<double, 2>{slope(i), slope(i) * work[i]}; });
    const double straight = sum / columns, along = sum_along / columns;
    for (int64_t i = 0; i < columns; ++i) of_x[i] = static_cast<float>(factor * (slope(i) - straight - work[i] * along));
  };
  if (scale == nullptr) {
    slopes([=](int64_t i) { return static_cast<double>(gradient[i]); });
  } else {
    slopes([=](int64_t i) { return static_cast<double>(gradient[i]) * scale[i]; });
  }
}

}  // namespace layer_norm
