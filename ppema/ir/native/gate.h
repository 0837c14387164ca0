// What decides about a run of `ppema_step`, which step.cc describes.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "paddle/phi/api/all.h"
#include "reader.h"
#include "require.h"

namespace step {

using paddle::DataType;
using paddle::Tensor;

// The float32 numbers of a tensor. Raises an exception if there are not `size` of them.
inline float* floats(Tensor& tensor, int64_t size) {
  require(tensor.dtype() == DataType::FLOAT32 && tensor.numel() == size,
          "a weight and its accumulator differ in type or size: one of them was set to another tensor");
  return tensor.data<float>();
}

// Decides about a run: whether it is a step, or changes nothing, or counts among the runs of a step.
class Gate {
 public:
  // Raises an exception, before anything changes, if variables do not fit. moved: the number of variables that the forward pass
  // has written.
  Gate(Reader<const Tensor>& given, Reader<Tensor>& state, int64_t moved, bool several, std::vector<Tensor>& params)
      : moved_(moved) {
    finite_ = *given.take()->data<bool>();
    flags_ = given.take();
    copies_ = given.take(moved);
    kept_ = state.take();
    written_ = state.take(moved);
    check_same(*flags_, *kept_);
    for (int64_t i = 0; i < moved; ++i) check_same(copies_[i], written_[i]);
    if (!several) return;
    begins_ = *given.take()->data<bool>();
    ends_ = *given.take()->data<bool>();
    const float divisor = *given.take()->data<float>();
    mean_ = 1 / (divisor > 0 ? divisor : 1);
    before_ = state.take(moved);
    for (int64_t i = 0; i < moved; ++i) check_same(copies_[i], before_[i]);
    total_ = floats(*state.take(), 1);
    Tensor* sums = state.take(params.size());
    for (size_t i = 0; i < params.size(); ++i) sums_.push_back({floats(sums[i], params[i].numel()), params[i].numel()});
  }

  bool finite() const { return finite_; }
  bool is_step() const { return finite_ && ends_; }
  // The factor that makes the mean of a sum of gradients.
  float mean() const { return mean_; }
  // The sum of gradients of a weight. Null: a step is one run.
  float* sum(size_t weight) const { return sums_.empty() ? nullptr : sums_[weight].data; }

  // Restore what the forward pass has written, in this run or in all runs of the step, and forget the sums.
  void skip() {
    copy(*flags_, *kept_);
    const Tensor* before = total_ == nullptr || begins_ ? copies_ : before_;
    for (int64_t i = 0; i < moved_; ++i) copy(before[i], written_[i]);
    if (total_ != nullptr) *total_ = 0;
    for (const Sum& sum : sums_) std::fill_n(sum.data, sum.size, 0.0f);
  }

  // Count a finite run among those of its step.
  void pass() {
    if (total_ == nullptr) return;
    if (begins_) {
      for (int64_t i = 0; i < moved_; ++i) copy(copies_[i], before_[i]);
    }
    if (ends_) *total_ = 0;
  }

 private:
  struct Sum {
    float* data;
    int64_t size;
  };

  static void check_same(const Tensor& from, const Tensor& to) {
    require(from.dtype() == to.dtype() && from.numel() == to.numel(),
            "a variable that the forward pass writes was set to a tensor of another type or size");
  }

  static void copy(const Tensor& from, Tensor& to) {
    std::memcpy(to.data(), from.data(), from.numel() * phi::SizeOf(from.dtype()));
  }

  const int64_t moved_;
  bool finite_, begins_ = true, ends_ = true;
  const Tensor *flags_, *copies_;
  Tensor *kept_, *written_, *before_ = nullptr;
  float* total_ = nullptr;
  std::vector<Sum> sums_;
  float mean_ = 1;
};

}  // namespace step
