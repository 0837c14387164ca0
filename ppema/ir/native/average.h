// Averages of weights: what follows a value, block by block, and the reading of an update's inputs. average.cc describes them.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "expression.h"
#include "paddle/phi/api/all.h"
#include "require.h"

namespace averages {

using paddle::DataType;
using paddle::Tensor;

// Elements per block. A block stays in the first-level cache while all averages use it, so values are read once.
constexpr int64_t kBlock = 2048;
// Number of elements below which threads cost more than they save.
constexpr int64_t kWorthThreads = 1 << 15;
// The numbers in `layout` for each average, before its indices. The last of them is the number of indices.
constexpr int kFields = 5;

struct Follower {
  void* shadow;
  void* rest;  // null without compensation
  double alpha;
};

struct Value {
  const void* data;
  DataType type;
  int64_t begin;  // index of its first element among the elements of all values
  int64_t size;
  std::vector<Follower> followers;
};

template <typename V, typename S>
void follow(const V* value, S* shadow, S alpha, int64_t size) {
  if (alpha == S(1)) {  // copied, as s + (v - s) would round
    for (int64_t i = 0; i < size; ++i) shadow[i] = static_cast<S>(value[i]);
    return;
  }
  for (int64_t i = 0; i < size; ++i) {
    const S s = shadow[i];
    shadow[i] = s + alpha * (static_cast<S>(value[i]) - s);
  }
}

// Kahan's summation, each operation rounded once: the same bits as `compensated` in averaging/precision.py.
template <typename V, typename S>
void follow_compensated(const V* value, S* shadow, S* rest, S alpha, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const S s = shadow[i];
    const S step = (static_cast<S>(value[i]) - s) * alpha + rest[i];
    const S updated = s + step;
    rest[i] = step - (updated - s);
    shadow[i] = updated;
  }
}

template <typename V, typename S>
void follow_block(const void* value, const std::vector<Follower>& followers, int64_t offset, int64_t size) {
  const V* data = static_cast<const V*>(value) + offset;
  for (const Follower& each : followers) {
    S* shadow = static_cast<S*>(each.shadow) + offset;
    const S alpha = static_cast<S>(each.alpha);
    if (each.rest == nullptr) {
      follow(data, shadow, alpha, size);
    } else {
      follow_compensated(data, shadow, static_cast<S*>(each.rest) + offset, alpha, size);
    }
  }
}

inline bool has_average(DataType type) {
  return type == DataType::FLOAT32 || type == DataType::FLOAT64 || type == DataType::FLOAT16 || type == DataType::BFLOAT16;
}

inline DataType shadow_type(DataType type) { return type == DataType::FLOAT64 ? type : DataType::FLOAT32; }

inline void follow_range(const std::vector<Value>& values, int64_t begin, int64_t end) {
  const auto starts_after = [](int64_t place, const Value& value) { return place < value.begin; };
  auto value = std::upper_bound(values.begin(), values.end(), begin, starts_after) - 1;
  while (begin < end) {
    while (begin >= value->begin + value->size) ++value;
    const int64_t offset = begin - value->begin;
    const int64_t size = std::min({kBlock, end - begin, value->size - offset});
    const void* data = value->data;
    const std::vector<Follower>& followers = value->followers;
    switch (value->type) {
      case DataType::FLOAT32: follow_block<float, float>(data, followers, offset, size); break;
      case DataType::FLOAT64: follow_block<double, double>(data, followers, offset, size); break;
      case DataType::FLOAT16: follow_block<phi::dtype::float16, float>(data, followers, offset, size); break;
      case DataType::BFLOAT16: follow_block<phi::dtype::bfloat16, float>(data, followers, offset, size); break;
      default: break;  // excluded by has_average
    }
    begin += size;
  }
}

// One update of all averages. The decays that are due are evaluated here, and the counts grow; `update` follows the values.
class Averages {
 public:
  // values: of all averages. state: of the first average on. inputs: the decays that are "input". happens: whether this run is
  // a step; otherwise nothing changes. layout, decays: as in average.cc.
  Averages(std::vector<const Tensor*> values, Tensor* state, const Tensor* inputs, bool happens, const int64_t* layout,
           const int64_t* end, const std::vector<std::string>& decays)
      : tensors_(std::move(values)), state_(state), input_(inputs), happens_(happens), parts_(layout), end_(end) {
    for (size_t i = 0; i < decays.size(); ++i) parts_ += kFields + parts_[kFields - 1];
    for (const std::string& decay : decays) layout = add(layout, decay);
  }

  // The averages that follow a value in this update.
  const std::vector<Follower>* followers(size_t value) const {
    return values_.empty() || values_[value].followers.empty() ? nullptr : &values_[value].followers;
  }

  // Update the averages of all values but the first ones, which `skipped` counts.
  void update(size_t skipped = 0) {
    int64_t total = 0;
    std::vector<Value> due;
    for (size_t i = skipped; i < values_.size(); ++i) {
      Value& value = values_[i];
      if (value.followers.empty() || value.size == 0) continue;
      value.begin = total;
      total += value.size;
      due.push_back(std::move(value));
    }
    if (total < kWorthThreads) {
      follow_range(due, 0, total);
      return;
    }
    // Threads share the elements, not the tensors: one tensor may hold most of the elements.
#pragma omp parallel
    {
      const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
      follow_range(due, total * thread / threads, total * (thread + 1) / threads);
    }
  }

 private:
  // Not before an average is due: between two updates this takes longer than all else.
  void read_values() {
    const int64_t* part = parts_;
    const bool whole = part == end_;
    values_.reserve(tensors_.size());
    for (const Tensor* tensor : tensors_) {
      require(has_average(tensor->dtype()), "a weight is of a type that has no average");
      const int64_t begin = whole ? 0 : *part++, size = whole ? tensor->numel() : *part++;
      require(begin + size <= tensor->numel(), "a weight is smaller than the part of it that is averaged");
      const char* data = static_cast<const char*>(tensor->data()) + begin * phi::SizeOf(tensor->dtype());
      values_.push_back({data, tensor->dtype(), 0, size, {}});
    }
  }

  const int64_t* add(const int64_t* field, const std::string& decay) {
    const int64_t first = *field++, every = *field++;
    const bool bias_correction = *field++, compensated = *field++;
    const int64_t covered = *field++;
    int64_t* count = state_[next_state_].data<int64_t>();
    double* weight = state_[next_state_ + 1].data<double>();
    const size_t shadows = next_state_ + 2, rests = shadows + covered;
    next_state_ = rests + (compensated ? covered : 0);
    const bool given = decay == "input";
    const double* input = given ? (input_++)->data<double>() : nullptr;

    const int64_t step = *count + (happens_ ? 1 : 0);
    *count = step;
    // With bias correction the very first step is due too, since the shadow is still empty.
    const bool due = happens_ && (step % every == 0 || (bias_correction && step == 1));
    if (due) {
      const int64_t since = step - first;
      double alpha = 1;
      if (since < 0) {
        *weight = 0;  // until the average begins, updates set the shadow to the value
      } else {
        const double d = given ? *input : evaluate(decay, static_cast<double>(since));
        *weight = bias_correction ? d * *weight + (1 - d) : 1;
        alpha = (1 - d) / *weight;
      }
      if (values_.empty()) read_values();
      for (int64_t i = 0; i < covered; ++i) {
        Value& value = values_[field[i]];
        void* rest = compensated ? follows(value, state_[rests + i]) : nullptr;
        value.followers.push_back({follows(value, state_[shadows + i]), rest, alpha});
      }
    }
    return field + covered;
  }

  // The memory of a shadow or rest. Users may set variables of the scope to other tensors than the program declares.
  static void* follows(const Value& value, Tensor& tensor) {
    require(tensor.dtype() == shadow_type(value.type) && tensor.numel() == value.size,
            "a weight and its average differ in type or size: one of them was set to another tensor");
    return tensor.data();
  }

  const std::vector<const Tensor*> tensors_;
  Tensor* const state_;
  const Tensor* input_;
  const bool happens_;
  const int64_t* parts_;
  const int64_t* const end_;
  size_t next_state_ = 0;
  std::vector<Value> values_;
};

}  // namespace averages
