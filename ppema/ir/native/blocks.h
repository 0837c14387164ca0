// Work on all elements of many tensors, block by block, shared by threads.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace blocks {

// Elements per block. A block stays in the first-level cache while all that follows it is updated, so it is read once.
constexpr int64_t kSize = 2048;
// Number of elements below which threads cost more than they save.
constexpr int64_t kWorthThreads = 1 << 15;

// The number of elements of all `parts`, which are as for `for_each`.
template <typename Part>
int64_t count(const std::vector<Part>& parts) {
  return parts.empty() ? 0 : parts.back().begin + parts.back().size;
}

// Call `work(part, offset, size)` for each block of all `parts`, in parallel. A part has `begin`, the index of its first element
// among those of all parts, and `size`. Threads share the elements, not the parts: one part may hold most of the elements.
template <typename Part, typename Work>
void for_each(const std::vector<Part>& parts, Work work) {
  const int64_t total = count(parts);
  if (total == 0) return;
  const auto range = [&](int64_t begin, int64_t end) {
    const auto starts_after = [](int64_t place, const Part& part) { return place < part.begin; };
    auto part = std::upper_bound(parts.begin(), parts.end(), begin, starts_after) - 1;
    while (begin < end) {
      while (begin >= part->begin + part->size) ++part;
      const int64_t offset = begin - part->begin;
      const int64_t size = std::min({kSize, end - begin, part->size - offset});
      work(*part, offset, size);
      begin += size;
    }
  };
  if (total < kWorthThreads) {
    range(0, total);
    return;
  }
#pragma omp parallel
  {
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    range(total * thread / threads, total * (thread + 1) / threads);
  }
}

}  // namespace blocks
