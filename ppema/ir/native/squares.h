// Sums of squares with the bits of Paddle's on a CPU, which may be computed in parallel.
//
// Paddle's are Eigen's `x.square().sum()` (paddle/phi/kernels/funcs/squared_l2_norm.h; Eigen's InnerMostDimReducer): a range is
// halved until it is a leaf, of at most 1,024 packets of 32 bytes. A leaf is summed in two packets, which are then folded in
// halves. All of it is float32.

#pragma once

#include <cstdint>

namespace squares {

constexpr int64_t kPacket = 32 / sizeof(float);
constexpr int64_t kLeaf = 1024 * kPacket;  // at most so many elements

// The size of the left half of [begin, begin + size), or `size` if that is a leaf.
inline int64_t left(int64_t begin, int64_t size) {
  if (size <= kLeaf) return size;
  const int64_t middle = begin + (size + 1) / 2, packets = (middle + kPacket - 1) / kPacket;
  return packets * kPacket - begin;
}

// Call visit(begin, size) for the leaves of [begin, begin + size), in their order.
template <typename Visit>
void for_leaves(int64_t begin, int64_t size, Visit visit) {
  const int64_t first = left(begin, size);
  if (first == size) return visit(begin, size);
  for_leaves(begin, first, visit);
  for_leaves(begin + first, size - first, visit);
}

// Σ x². leaf(): the sums of the leaves, in their order
template <typename Leaf>
float total(int64_t begin, int64_t size, Leaf leaf) {
  const int64_t first = left(begin, size);
  if (first == size) return leaf();
  const float sum = total(begin, first, leaf);
  return sum + total(begin + first, size - first, leaf);
}

// Σ value(i)² for i in [0, size), the elements of a leaf.
template <typename Value>
float of_leaf(int64_t size, Value value) {
  constexpr int64_t kLanes = 2 * kPacket;
  float lanes[kLanes] = {}, rest = 0;
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float each = value(i + lane);
      lanes[lane] += each * each;
    }
  }
  for (; i + kPacket <= size; i += kPacket) {
    for (int64_t lane = 0; lane < kPacket; ++lane) lanes[lane] += value(i + lane) * value(i + lane);
  }
  for (; i < size; ++i) rest += value(i) * value(i);
  for (int64_t half = kPacket; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return rest + lanes[0];
}

}  // namespace squares
