// exp(u) for u ≤ 0 in float64, in a form that compilers turn into vector instructions.

#pragma once

#include <cstdint>
#include <cstring>

namespace exponential {

// Below it, exp(u) times any float32 rounds to 0 in float32.
constexpr double kLeast = -700;

// The relative error is below 2e-9, a thirtieth of float32's. u < kLeast counts as kLeast. NaN gives NaN.
inline double of(double u) {
  u = u < kLeast ? kLeast : u;
  // u = n·ln 2 + r with |r| ≤ ½ ln 2. The sum with 1.5·2^52 has n in its lowest bits.
  constexpr double kShift = 6755399441055744.0, kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;
  const double shifted = u * kLog2E + kShift;
  const double r = u - (shifted - kShift) * kLn2;
  // The polynomial of degree 6 with the smallest relative error on that interval
  double p = 0.0013836835381469462;
  p = p * r + 0.00837482405580965;
  p = p * r + 0.04166822619587326;
  p = p * r + 0.16666420072042085;
  p = p * r + 0.49999992075059285;
  p = p * r + 1.0000000363447394;
  p = p * r + 1.0000000005546088;
  uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 1023) << 52;  // of 2^n
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

}  // namespace exponential
