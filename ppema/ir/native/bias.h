// A bias that each row of a matrix gets, with the bits of Paddle's `add` and `add_grad`.

#pragma once

#include <algorithm>
#include <cstdint>

namespace bias {

// x + bias for one row, in place.
inline void add(float* x, const float* bias, int64_t columns) {
  for (int64_t i = 0; i < columns; ++i) x[i] += bias[i];
}

constexpr int64_t kMost = 512;

// The sums of at most kMost columns over all rows, in the order of the rows. stride: columns of a whole row.
inline void sum(const float* x, int64_t rows, int64_t stride, int64_t columns, float* sums) {
  float own[kMost] = {};
  for (int64_t row = 0; row < rows; ++row) {
    const float* place = x + row * stride;
    for (int64_t i = 0; i < columns; ++i) own[i] += place[i];
  }
  std::copy(own, own + columns, sums);
}

}  // namespace bias
