// A bias of each channel, as convolutions have it. Paddle's own `add` goes through general broadcasting for it, forward and
// backward, which takes longer than a small convolution.
//
// ppema_channel_add: x [N, C, ...] + bias [1, C, 1, ...], float32.
// ppema_channel_sum: of x [N, C, ...] the sums over all axes but the second, [1, C, 1, ...], float32; added up in float64, and
//   the same for every number of threads.

#include <cstdint>
#include <vector>

#include "paddle/phi/api/all.h"

namespace {

using paddle::DataType;
using paddle::Tensor;

// Below this many elements threads cost more than they save.
constexpr int64_t kWorthThreads = 1 << 15;
// Independent sums, so that a vector unit can work on all of them at once.
constexpr int64_t kLanes = 16;

struct Planes {
  int64_t samples, channels, size;

  explicit Planes(const Tensor& x)
      : samples(x.shape()[0]), channels(x.shape()[1]), size(samples * channels ? x.numel() / (samples * channels) : 0) {}
};

std::vector<Tensor> add(const Tensor& x, const Tensor& bias) {
  const Planes planes(x);
  Tensor out = paddle::empty(x.shape(), DataType::FLOAT32, x.place());
  const float *from = x.data<float>(), *biases = bias.data<float>();
  float* to = out.data<float>();
  const int64_t count = planes.samples * planes.channels;
#pragma omp parallel for schedule(static) if (x.numel() >= kWorthThreads)
  for (int64_t plane = 0; plane < count; ++plane) {
    const float b = biases[plane % planes.channels];
    const float* source = from + plane * planes.size;
    float* target = to + plane * planes.size;
    for (int64_t i = 0; i < planes.size; ++i) target[i] = source[i] + b;
  }
  return {out};
}

double sum(const float* values, int64_t size) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
  }
  double total = 0;
  for (; i < size; ++i) total += values[i];
  for (double lane : lanes) total += lane;
  return total;
}

std::vector<Tensor> sums(const Tensor& x) {
  const Planes planes(x);
  std::vector<int64_t> shape(x.shape().size(), 1);
  shape[1] = planes.channels;
  Tensor out = paddle::empty(shape, DataType::FLOAT32, x.place());
  const float* values = x.data<float>();
  float* found = out.data<float>();
#pragma omp parallel for schedule(static) if (x.numel() >= kWorthThreads)
  for (int64_t channel = 0; channel < planes.channels; ++channel) {
    double total = 0;
    for (int64_t sample = 0; sample < planes.samples; ++sample) {
      total += sum(values + (sample * planes.channels + channel) * planes.size, planes.size);
    }
    found[channel] = static_cast<float>(total);
  }
  return {out};
}

using Shape = std::vector<int64_t>;

std::vector<Shape> shape_of_add(const Shape& x, const Shape&) { return {x}; }
std::vector<DataType> type_of_add(const DataType& x, const DataType&) { return {x}; }

std::vector<Shape> shape_of_sums(const Shape& x) {
  Shape shape(x.size(), 1);
  shape[1] = x[1];
  return {shape};
}
std::vector<DataType> type_of_sums(const DataType& x) { return {x}; }

}  // namespace

PD_BUILD_OP(ppema_channel_add)
    .Inputs({"x", "bias"})
    .Outputs({"out"})
    .SetKernelFn(PD_KERNEL(add))
    .SetInferShapeFn(PD_INFER_SHAPE(shape_of_add))
    .SetInferDtypeFn(PD_INFER_DTYPE(type_of_add));

PD_BUILD_OP(ppema_channel_sum)
    .Inputs({"x"})
    .Outputs({"out"})
    .SetKernelFn(PD_KERNEL(sums))
    .SetInferShapeFn(PD_INFER_SHAPE(shape_of_sums))
    .SetInferDtypeFn(PD_INFER_DTYPE(type_of_sums));
