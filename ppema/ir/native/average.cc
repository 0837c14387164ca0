// ppema_average: one update of several averages of weights, in one pass over memory.
//
// Formulas, for each average that is due, with its decay d_t (sources: passes/ema.py, averaging/decay.py):
//   W_t = d_t W_{t-1} + (1 - d_t),   alpha = (1 - d_t)/W_t,   s += alpha (v - s)   for each value v that it covers.
//
// values: [n] tensors of any shape, float32, float64, float16 or bfloat16. They are not written.
// state: for each average its count (int64 []), its weight (float64 []), one shadow per covered value (of the value's shape;
//   float64 for float64, else float32) and, if it is compensated, one rest per shadow. Written in place.
// scalars: with `conditional` the condition (bool, 1 element), then for each decay "input" its value (float64, 1 element). Any
//   further tensors are not read: they only make the operation wait.
// layout: for each average `first`, `update_every`, bias correction (1 or 0), compensation (1 or 0), the number of covered
//   values, and their indices. If only parts of values are averaged, then for each value the first element and the number of
//   elements; its shadows have that number.
// decays: for each average its decay as an expression in n, the number of steps since it began (expression.h), or "input".

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "expression.h"
#include "paddle/phi/api/all.h"
#include "require.h"

namespace {

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
void follow_block(const Value& value, int64_t offset, int64_t size) {
  const V* data = static_cast<const V*>(value.data) + offset;
  for (const Follower& each : value.followers) {
    S* shadow = static_cast<S*>(each.shadow) + offset;
    const S alpha = static_cast<S>(each.alpha);
    if (each.rest == nullptr) {
      follow(data, shadow, alpha, size);
    } else {
      follow_compensated(data, shadow, static_cast<S*>(each.rest) + offset, alpha, size);
    }
  }
}

bool has_average(DataType type) {
  return type == DataType::FLOAT32 || type == DataType::FLOAT64 || type == DataType::FLOAT16 || type == DataType::BFLOAT16;
}

DataType shadow_type(DataType type) { return type == DataType::FLOAT64 ? type : DataType::FLOAT32; }

void follow_range(const std::vector<Value>& values, int64_t begin, int64_t end) {
  const auto starts_after = [](int64_t place, const Value& value) { return place < value.begin; };
  auto value = std::upper_bound(values.begin(), values.end(), begin, starts_after) - 1;
  while (begin < end) {
    while (begin >= value->begin + value->size) ++value;
    const int64_t offset = begin - value->begin;
    const int64_t size = std::min({kBlock, end - begin, value->size - offset});
    switch (value->type) {
      case DataType::FLOAT32: follow_block<float, float>(*value, offset, size); break;
      case DataType::FLOAT64: follow_block<double, double>(*value, offset, size); break;
      case DataType::FLOAT16: follow_block<phi::dtype::float16, float>(*value, offset, size); break;
      case DataType::BFLOAT16: follow_block<phi::dtype::bfloat16, float>(*value, offset, size); break;
      default: break;  // excluded by has_average
    }
    begin += size;
  }
}

class Averages {
 public:
  Averages(const std::vector<Tensor>& values, std::vector<Tensor>& state, const std::vector<Tensor>& scalars,
           bool conditional, const std::vector<int64_t>& layout, const std::vector<std::string>& decays)
      : state_(state), scalars_(scalars), happens_(!conditional || *scalars[0].data<bool>()), next_scalar_(conditional) {
    auto part = layout.begin();
    for (size_t i = 0; i < decays.size(); ++i) part += kFields + part[kFields - 1];
    const bool whole = part == layout.end();
    for (const Tensor& tensor : values) {
      require(has_average(tensor.dtype()), "a weight is of a type that has no average");
      const int64_t begin = whole ? 0 : *part++, size = whole ? tensor.numel() : *part++;
      require(begin + size <= tensor.numel(), "a weight is smaller than the part of it that is averaged");
      const char* data = static_cast<const char*>(tensor.data()) + begin * phi::SizeOf(tensor.dtype());
      values_.push_back({data, tensor.dtype(), 0, size, {}});
    }
    auto field = layout.begin();
    for (const std::string& decay : decays) field = add(field, decay);
  }

  void update() {
    int64_t total = 0;
    std::vector<Value> due;
    for (Value& value : values_) {
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
  std::vector<int64_t>::const_iterator add(std::vector<int64_t>::const_iterator field, const std::string& decay) {
    const int64_t first = *field++, every = *field++;
    const bool bias_correction = *field++, compensated = *field++;
    const int64_t covered = *field++;
    int64_t* count = state_[next_state_].data<int64_t>();
    double* weight = state_[next_state_ + 1].data<double>();
    const size_t shadows = next_state_ + 2, rests = shadows + covered;
    next_state_ = rests + (compensated ? covered : 0);
    const bool given = decay == "input";
    const double* input = given ? scalars_[next_scalar_++].data<double>() : nullptr;

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

  std::vector<Tensor>& state_;
  const std::vector<Tensor>& scalars_;
  const bool happens_;
  size_t next_scalar_;
  size_t next_state_ = 0;
  std::vector<Value> values_;
};

std::vector<Tensor> update_averages(const std::vector<Tensor>& values, std::vector<Tensor>& state,
                                    const std::vector<Tensor>& scalars, bool conditional, const std::vector<int64_t>& layout,
                                    const std::vector<std::string>& decays) {
  Averages(values, state, scalars, conditional, layout, decays).update();
  return {};
}

}  // namespace

PD_BUILD_OP(ppema_average)
    .Inputs({paddle::Vec("values"), paddle::Vec("state"), paddle::Vec("scalars")})
    .Outputs({paddle::Vec("state_out")})
    .Attrs({"conditional: bool", "layout: std::vector<int64_t>", "decays: std::vector<std::string>"})
    .SetInplaceMap({{paddle::Vec("state"), paddle::Vec("state_out")}})
    .SetKernelFn(PD_KERNEL(update_averages));
