// Averages of weights: what follows a value, block by block, and the reading of an update's inputs. average.cc describes them.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "blocks.h"
#include "expression.h"
#include "paddle/phi/api/all.h"
#include "reader.h"
#include "require.h"

namespace averages {

using paddle::DataType;
using paddle::Tensor;

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

inline void follow_block(const Value& value, int64_t offset, int64_t size) {
  const void* data = value.data;
  const std::vector<Follower>& followers = value.followers;
  switch (value.type) {
    case DataType::FLOAT32: follow_block<float, float>(data, followers, offset, size); break;
    case DataType::FLOAT64: follow_block<double, double>(data, followers, offset, size); break;
    case DataType::FLOAT16: follow_block<phi::dtype::float16, float>(data, followers, offset, size); break;
    case DataType::BFLOAT16: follow_block<phi::dtype::bfloat16, float>(data, followers, offset, size); break;
    default: break;  // excluded by has_average
  }
}

// One update of all averages: `count` it, then `update` the averages, or let them follow their values block by block.
class Averages {
 public:
  // Evaluates the decays that are due. Raises an exception, before anything changes, if variables do not fit.
  //
  // values: of all averages. state: of the first average on. inputs: the decays that are "input". happens: whether this run is
  // a step; otherwise nothing changes. layout, decays: as in average.cc.
  Averages(std::vector<const Tensor*> values, Reader<Tensor>& state, Reader<const Tensor>& inputs, bool happens,
           Reader<const int64_t> layout, const std::vector<std::string>& decays)
      : tensors_(std::move(values)), parts_(layout) {
    for (size_t i = 0; i < decays.size(); ++i) parts_.take(parts_.take(kFields)[kFields - 1]);
    for (const std::string& decay : decays) add(layout, decay, state, inputs, happens);
  }

  // The averages that follow a value in this update.
  const std::vector<Follower>* followers(size_t value) const {
    return values_.empty() || values_[value].followers.empty() ? nullptr : &values_[value].followers;
  }

  // Set the counts and the weights.
  void count() {
    for (const Counted& each : counted_) {
      *each.count = each.steps;
      *each.weight = each.new_weight;
    }
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
    blocks::for_each(due, [](const Value& value, int64_t offset, int64_t size) { follow_block(value, offset, size); });
  }

 private:
  struct Counted {
    int64_t* count;
    double* weight;
    int64_t steps;
    double new_weight;
  };

  // Not before an average is due: between two updates this takes longer than all else.
  void read_values() {
    Reader<const int64_t> parts = parts_;
    const bool whole = parts.at_end();
    values_.reserve(tensors_.size());
    for (const Tensor* tensor : tensors_) {
      require(has_average(tensor->dtype()), "a weight is of a type that has no average");
      const int64_t begin = whole ? 0 : *parts.take(), size = whole ? tensor->numel() : *parts.take();
      require(begin + size <= tensor->numel(), "a weight is smaller than the part of it that is averaged");
      const char* data = static_cast<const char*>(tensor->data()) + begin * phi::SizeOf(tensor->dtype());
      values_.push_back({data, tensor->dtype(), 0, size, {}});
    }
    parts.check_end();
  }

  void add(Reader<const int64_t>& layout, const std::string& decay, Reader<Tensor>& state, Reader<const Tensor>& inputs,
           bool happens) {
    const int64_t* fields = layout.take(kFields);
    const int64_t first = fields[0], every = fields[1], covered = fields[4];
    const bool bias_correction = fields[2], compensated = fields[3];
    const int64_t* indices = layout.take(covered);
    int64_t* count = state.take()->data<int64_t>();
    double* weight = state.take()->data<double>();
    Tensor *shadows = state.take(covered), *rests = state.take(compensated ? covered : 0);
    const double* input = decay == "input" ? inputs.take()->data<double>() : nullptr;
    if (!happens) return;

    const int64_t steps = *count + 1;
    counted_.push_back({count, weight, steps, *weight});
    // With bias correction the very first step is due too, since the shadow is still empty.
    if (steps % every != 0 && !(bias_correction && steps == 1)) return;
    double& new_weight = counted_.back().new_weight;
    double alpha = 1;
    const int64_t since = steps - first;
    if (since < 0) {
      new_weight = 0;  // until the average begins, updates set the shadow to the value
    } else {
      const double d = input != nullptr ? *input : evaluate(decay, static_cast<double>(since));
      new_weight = bias_correction ? d * *weight + (1 - d) : 1;
      alpha = (1 - d) / new_weight;
    }
    if (values_.empty()) read_values();
    for (int64_t i = 0; i < covered; ++i) {
      require(indices[i] >= 0 && indices[i] < static_cast<int64_t>(values_.size()), "an average has a value that is not given");
      Value& value = values_[indices[i]];
      void* rest = compensated ? follows(value, rests[i]) : nullptr;
      value.followers.push_back({follows(value, shadows[i]), rest, alpha});
    }
  }

  // The memory of a shadow or rest. Users may set variables of the scope to other tensors than the program declares.
  static void* follows(const Value& value, Tensor& tensor) {
    require(tensor.dtype() == shadow_type(value.type) && tensor.numel() == value.size,
            "a weight and its average differ in type or size: one of them was set to another tensor");
    return tensor.data();
  }

  const std::vector<const Tensor*> tensors_;
  Reader<const int64_t> parts_;  // of values, if only parts of them are averaged
  std::vector<Value> values_;
  std::vector<Counted> counted_;
};

}  // namespace averages
