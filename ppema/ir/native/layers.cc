// Operations of layers, of float32, in place of Paddle's with slow kernels on a CPU. Results do not depend on the number of threads.
//
// ppema_bias: x + bias, in place of x.
//   x: [rows..., columns...]. bias: [columns...].
// ppema_bias_backward: the gradient by the bias, the sum over the rows.
//   gradient: [rows..., columns...]. bias: [columns...]; only its shape matters. of_bias: of that shape.
// ppema_gelu_backward: the gradient of GELU (gelu.h).
//   x: any shape. gradient: by the GELU, of that shape. approximate: by tanh. of_x: of the shape of x.
// ppema_relu_backward: the gradient of ReLU by its operand, in place of that by its result.
//   gradient: by y. y: the result, of the shape of the gradient.
// ppema_softmax: exp(x)/Σ exp(x) over the last dimension, in place of x (softmax.h).
// ppema_layer_norm_backward: the gradients of LayerNorm (layer_norm.h).
//   given: x [rows..., columns...]; the gradient by the norm, of that shape; the scale [columns], if there is one.
//   axis: of the first of the columns. epsilon: of the norm. of_x: of the shape of x. of_scale, of_bias: [columns].
//
// A name that contains "_grad" is one of Paddle's for the gradient of another custom operator.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bias.h"
#include "gelu.h"
#include "layer_norm.h"
#include "paddle/phi/api/all.h"
#include "require.h"
#include "softmax.h"

namespace {

using paddle::DataType;
using paddle::Tensor;
using Shape = std::vector<int64_t>;

// Number of elements below which threads cost more than they save.
constexpr int64_t kWorthThreads = 1 << 15;
// Elements of the work that a thread takes at once.
constexpr int64_t kPart = 1 << 13;

// Call work(begin, end) for the parts of [0, total), of `size` each, in parallel. elements: of all parts.
template <typename Work>
void share(int64_t total, int64_t size, int64_t elements, Work work) {
  const int64_t parts = (total + size - 1) / size;
#pragma omp parallel for schedule(static) if (elements >= kWorthThreads)
  for (int64_t part = 0; part < parts; ++part) work(part * size, std::min(total, (part + 1) * size));
}

// The number of rows that a thread takes at once.
int64_t rows_at_once(int64_t columns) { return std::max<int64_t>(1, kPart / std::max<int64_t>(1, columns)); }

void require_floats(const Tensor& tensor) { require(tensor.dtype() == DataType::FLOAT32, "an operand is not float32"); }

Tensor floats(const Shape& shape) { return paddle::empty(shape, DataType::FLOAT32, paddle::CPUPlace()); }

int64_t product(const Shape& shape, int64_t begin, int64_t end) {
  int64_t size = 1;
  for (int64_t i = begin; i < end; ++i) size *= shape[i];
  return size;
}

int64_t rows_of(const Tensor& all, const Tensor& bias) {
  require_floats(all);
  require_floats(bias);
  const int64_t columns = bias.numel();
  require(columns == 0 ? all.numel() == 0 : all.numel() % columns == 0, "a bias does not fit a row");
  return columns == 0 ? 0 : all.numel() / columns;
}

std::vector<Tensor> add_bias(Tensor& x, const Tensor& bias) {
  const int64_t rows = rows_of(x, bias), columns = bias.numel();
  float* to = x.data<float>();
  const float* more = bias.data<float>();
  share(rows, rows_at_once(columns), x.numel(), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) bias::add(to + row * columns, more, columns);
  });
  return {};
}

std::vector<Tensor> bias_backward(const Tensor& gradient, const Tensor& bias) {
  const int64_t rows = rows_of(gradient, bias), columns = bias.numel();
  Tensor of_bias = floats(bias.shape());
  const float* from = gradient.data<float>();
  float* to = of_bias.data<float>();
  // Threads share columns, whose sums keep their order. Two threads do not write to one cache line.
  constexpr int64_t kLine = 64 / sizeof(float);
  const int64_t each = (columns + omp_get_max_threads() - 1) / omp_get_max_threads();
  const int64_t size = std::clamp((each + kLine - 1) / kLine * kLine, kLine, bias::kMost);
  share(columns, size, gradient.numel(), [=](int64_t begin, int64_t end) {
    bias::sum(from + begin, rows, columns, end - begin, to + begin);
  });
  return {of_bias};
}

std::vector<Tensor> gelu_backward(const Tensor& x, const Tensor& gradient, bool approximate) {
  require_floats(x);
  require_floats(gradient);
  require(x.numel() == gradient.numel(), "the operand of a GELU and its gradient differ in size");
  Tensor of_x = floats(x.shape());
  const float *from = x.data<float>(), *by_y = gradient.data<float>();
  float* to = of_x.data<float>();
  share(x.numel(), kPart, x.numel(), [=](int64_t begin, int64_t end) {
    const auto backward = approximate ? gelu::backward<gelu::Approximate> : gelu::backward<gelu::Exact>;
    backward(from + begin, by_y + begin, to + begin, end - begin);
  });
  return {of_x};
}

std::vector<Tensor> relu_backward(Tensor& gradient, const Tensor& y) {
  require_floats(gradient);
  require_floats(y);
  require(gradient.numel() == y.numel(), "the result of a ReLU and its gradient differ in size");
  const float* from = y.data<float>();
  float* to = gradient.data<float>();
  share(y.numel(), kPart, y.numel(), [=](int64_t begin, int64_t end) {
    // A product, as in Paddle: a gradient that is not finite stays so where y is 0.
    for (int64_t i = begin; i < end; ++i) to[i] *= from[i] > 0 ? 1.0f : 0.0f;
  });
  return {};
}

std::vector<Tensor> softmax_forward(Tensor& x) {
  require_floats(x);
  const Shape shape = x.shape();
  require(!shape.empty(), "softmax has no last dimension");
  if (x.numel() == 0) return {};
  const int64_t columns = shape.back();
  float* all = x.data<float>();
  share(x.numel() / columns, rows_at_once(columns), x.numel(), [=](int64_t begin, int64_t end) {
    std::vector<double> powers(columns);
    for (int64_t row = begin; row < end; ++row) softmax::row(all + row * columns, columns, powers.data());
  });
  return {};
}

std::vector<Tensor> layer_norm_backward(const std::vector<Tensor>& given, int64_t axis, float epsilon) {
  require(given.size() == 2 || given.size() == 3, "the gradient of a LayerNorm has another number of operands");
  for (const Tensor& each : given) require_floats(each);
  const Tensor &x = given[0], &gradient = given[1];
  const Shape shape = x.shape();
  const int64_t dimensions = static_cast<int64_t>(shape.size());
  require(0 < axis && axis < dimensions && shape == gradient.shape(), "a LayerNorm and its gradient differ in shape");
  const int64_t rows = product(shape, 0, axis), columns = product(shape, axis, dimensions);
  const Tensor* scale = given.size() == 3 ? &given[2] : nullptr;
  require(scale == nullptr || scale->numel() == columns, "the scale of a LayerNorm does not fit a row");
  const float* factors = scale == nullptr ? nullptr : scale->data<float>();
  Tensor of_x = floats(shape), of_scale = floats({columns}), of_bias = floats({columns});
  const float *from = x.data<float>(), *by_norm = gradient.data<float>();
  float* to = of_x.data<float>();
  // The rows are summed in parts, and those in order. Their number does not depend on that of the threads. All sums of parts
  // take at most 16 MiB, or those of one part.
  const int64_t most = std::clamp<int64_t>((1 << 20) / std::max<int64_t>(1, columns), 1, 64);
  const int64_t size = std::max<int64_t>(1, (rows + most - 1) / most), parts = std::max<int64_t>(1, (rows + size - 1) / size);
  std::vector<double> sums(2 * parts * columns);
  double* all = sums.data();
  share(rows, size, x.numel(), [=](int64_t begin, int64_t end) {
    std::vector<double> work(columns);
    double* own = all + 2 * (begin / size) * columns;
    for (int64_t place = begin * columns; place < end * columns; place += columns) {
      layer_norm::row(from + place, by_norm + place, factors, columns, epsilon, work.data(), to + place, own, own + columns);
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t i = 0; i < 2 * columns; ++i) all[i] += all[2 * part * columns + i];
  }
  std::copy(all, all + columns, of_scale.data<float>());
  std::copy(all + columns, all + 2 * columns, of_bias.data<float>());
  return {of_x, of_scale, of_bias};
}

std::vector<Shape> first_of_two(const Shape& x, const Shape&) { return {x}; }
std::vector<Shape> second_of_two(const Shape&, const Shape& bias) { return {bias}; }
std::vector<DataType> type_of_two(const DataType& x, const DataType&) { return {x}; }

std::vector<Shape> shapes(const std::vector<Shape>& given, int64_t axis, float) {
  const int64_t columns = product(given[0], axis, static_cast<int64_t>(given[0].size()));
  return {given[0], {columns}, {columns}};
}

std::vector<DataType> types(const std::vector<DataType>& given) { return {given[0], given[0], given[0]}; }

}  // namespace

PD_BUILD_OP(ppema_bias)
    .Inputs({"x", "bias"})
    .Outputs({"y"})
    .SetInplaceMap({{"x", "y"}})
    .SetKernelFn(PD_KERNEL(add_bias));

PD_BUILD_OP(ppema_bias_backward)
    .Inputs({"gradient", "bias"})
    .Outputs({"of_bias"})
    .SetKernelFn(PD_KERNEL(bias_backward))
    .SetInferShapeFn(PD_INFER_SHAPE(second_of_two))
    .SetInferDtypeFn(PD_INFER_DTYPE(type_of_two));

PD_BUILD_OP(ppema_gelu_backward)
    .Inputs({"x", "gradient"})
    .Outputs({"of_x"})
    .Attrs({"approximate: bool"})
    .SetKernelFn(PD_KERNEL(gelu_backward))
    .SetInferShapeFn(PD_INFER_SHAPE(first_of_two))
    .SetInferDtypeFn(PD_INFER_DTYPE(type_of_two));

PD_BUILD_OP(ppema_relu_backward)
    .Inputs({"gradient", "y"})
    .Outputs({"of_x"})
    .SetInplaceMap({{"gradient", "of_x"}})
    .SetKernelFn(PD_KERNEL(relu_backward));

PD_BUILD_OP(ppema_softmax)
    .Inputs({"x"})
    .Outputs({"y"})
    .SetInplaceMap({{"x", "y"}})
    .SetKernelFn(PD_KERNEL(softmax_forward));

PD_BUILD_OP(ppema_layer_norm_backward)
    .Inputs({paddle::Vec("given")})
    .Outputs({"of_x", "of_scale", "of_bias"})
    .Attrs({"axis: int64_t", "epsilon: float"})
    .SetKernelFn(PD_KERNEL(layer_norm_backward))
    .SetInferShapeFn(PD_INFER_SHAPE(shapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(types));
