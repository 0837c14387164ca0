// Euclidean norms of tensors that are float32, float64, float16 or bfloat16, of any shape. Sums are float64, and do not depend on
// the number of threads.
//
// ppema_norm: of all numbers of several tensors, such as a step's gradients.
//   values: [n] tensors. norm: [1] float64, √Σ v².
// ppema_norms: of a step's weights, and of their change.
//   weights, before: [n] tensors each, the weights after and before the step, pairwise of one type and size.
//   gradient: [1] tensor, a norm that ppema_norm returned.
//   norms: [3] float64, that norm, √Σ w² and √Σ (w - before)². One result saves the operations that would join three.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.h"
#include "paddle/phi/api/all.h"
#include "require.h"

namespace {

using paddle::DataType;
using paddle::Tensor;

constexpr int64_t kBlock = 1 << 14;
// Number of elements below which threads cost more than they save.
constexpr int64_t kWorthThreads = 1 << 16;

// Σ value(i)² for i in [0, size).
template <typename Value>
double sum_of_squares(int64_t size, Value value) {
  return lanes::sum(size, [value](int64_t i) {
    const double each = value(i);
    return each * each;
  });
}

struct Block {
  const void* data;
  const void* before;  // null where only the values are summed
  DataType type;
  int64_t offset, size;
  double of_values = 0, of_changes = 0;
};

template <typename T>
void sum(Block& block) {
  const T* data = static_cast<const T*>(block.data) + block.offset;
  block.of_values = sum_of_squares(block.size, [data](int64_t i) { return static_cast<double>(data[i]); });
  if (block.before == nullptr) return;
  const T* before = static_cast<const T*>(block.before) + block.offset;
  block.of_changes = sum_of_squares(
      block.size, [data, before](int64_t i) { return static_cast<double>(data[i]) - static_cast<double>(before[i]); });
}

void sum_block(Block& block) {
  switch (block.type) {
    case DataType::FLOAT32: sum<float>(block); break;
    case DataType::FLOAT64: sum<double>(block); break;
    case DataType::FLOAT16: sum<phi::dtype::float16>(block); break;
    case DataType::BFLOAT16: sum<phi::dtype::bfloat16>(block); break;
    default: break;  // excluded by add
  }
}

void add(std::vector<Block>& blocks, const Tensor& tensor, const void* before) {
  const DataType type = tensor.dtype();
  require(type == DataType::FLOAT32 || type == DataType::FLOAT64 || type == DataType::FLOAT16 || type == DataType::BFLOAT16,
          "a value to be measured is not of a floating-point type");
  for (int64_t offset = 0; offset < tensor.numel(); offset += kBlock) {
    blocks.push_back({tensor.data(), before, type, offset, std::min(kBlock, tensor.numel() - offset)});
  }
}

struct Sums {
  double of_values = 0, of_changes = 0;
};

Sums sum_all(std::vector<Block>& blocks) {
  const int64_t count = static_cast<int64_t>(blocks.size());
  int64_t total = 0;
  for (const Block& block : blocks) total += block.size;
#pragma omp parallel for schedule(static) if (total >= kWorthThreads)
  for (int64_t i = 0; i < count; ++i) sum_block(blocks[i]);
  Sums sums;
  for (const Block& block : blocks) {
    sums.of_values += block.of_values;
    sums.of_changes += block.of_changes;
  }
  return sums;
}

std::vector<Tensor> norm(const std::vector<Tensor>& values) {
  std::vector<Block> blocks;
  for (const Tensor& value : values) add(blocks, value, nullptr);
  return {paddle::full({1}, std::sqrt(sum_all(blocks).of_values), DataType::FLOAT64, paddle::CPUPlace())};
}

std::vector<Tensor> norms(const std::vector<Tensor>& weights, const std::vector<Tensor>& before,
                          const std::vector<Tensor>& gradient) {
  require(gradient.size() == 1 && gradient[0].dtype() == DataType::FLOAT64, "the norm of the gradient is not one number");
  require(weights.size() == before.size(), "the numbers of weights and of their copies differ");
  std::vector<Block> blocks;
  for (size_t i = 0; i < weights.size(); ++i) {
    require(weights[i].dtype() == before[i].dtype() && weights[i].numel() == before[i].numel(),
            "a weight and its copy differ in type or size");
    add(blocks, weights[i], before[i].data());
  }
  const Sums sums = sum_all(blocks);
  Tensor result = paddle::full({3}, *gradient[0].data<double>(), DataType::FLOAT64, paddle::CPUPlace());
  result.data<double>()[1] = std::sqrt(sums.of_values);
  result.data<double>()[2] = std::sqrt(sums.of_changes);
  return {result};
}

using Shapes = std::vector<std::vector<int64_t>>;
using Types = std::vector<DataType>;

Shapes shape_of_norm(const Shapes&) { return {{1}}; }
Types type_of_norm(const Types&) { return {DataType::FLOAT64}; }
Shapes shape_of_norms(const Shapes&, const Shapes&, const Shapes&) { return {{3}}; }
Types type_of_norms(const Types&, const Types&, const Types&) { return {DataType::FLOAT64}; }

}  // namespace

PD_BUILD_OP(ppema_norm)
    .Inputs({paddle::Vec("values")})
    .Outputs({"norm"})
    .SetKernelFn(PD_KERNEL(norm))
    .SetInferShapeFn(PD_INFER_SHAPE(shape_of_norm))
    .SetInferDtypeFn(PD_INFER_DTYPE(type_of_norm));

PD_BUILD_OP(ppema_norms)
    .Inputs({paddle::Vec("weights"), paddle::Vec("before"), paddle::Vec("gradient")})
    .Outputs({"norms"})
    .SetKernelFn(PD_KERNEL(norms))
    .SetInferShapeFn(PD_INFER_SHAPE(shape_of_norms))
    .SetInferDtypeFn(PD_INFER_DTYPE(type_of_norms));
