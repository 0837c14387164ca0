// Reads what an operation is given, one thing after another.

#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "require.h"

// T: Tensor, const Tensor or const int64_t.
template <typename T>
class Reader {
 public:
  using Vector = std::conditional_t<std::is_const_v<T>, const std::vector<std::remove_const_t<T>>, std::vector<T>>;

  // all: it must live as long as the reader.
  explicit Reader(Vector& all) : next_(all.data()), end_(all.data() + all.size()) {}

  // The next `count` of them.
  T* take(int64_t count = 1) {
    require(count >= 0 && count <= end_ - next_, kMisfit);
    T* const first = next_;
    next_ += count;
    return first;
  }

  bool at_end() const { return next_ == end_; }

  // Raises an exception if something is left.
  void check_end() const { require(at_end(), kMisfit); }

 private:
  static constexpr const char* kMisfit = "the inputs and the attributes do not fit: another version of ppema made this program";

  T* next_;
  T* const end_;
};
