// ppema_finite: for each of several tensors, whether all of its numbers are finite. Each number is read once.
//
// values: [n] tensors of any shape, float32, float64, float16 or bfloat16.
// each: [n] bool, whether all numbers of the tensor are finite. every: [] bool, whether all of `each` are true.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "paddle/phi/api/all.h"
#include "require.h"

namespace {

using paddle::DataType;
using paddle::Tensor;

constexpr int64_t kBlock = 1 << 14;
// Number of elements below which threads cost more than they save.
constexpr int64_t kWorthThreads = 1 << 16;

// A number is finite unless all bits of its exponent are set. Its bits without the sign are then less than infinity's.
template <typename Bits>
bool finite(const void* data, int64_t offset, int64_t size, Bits infinity) {
  const Bits* bits = static_cast<const Bits*>(data) + offset;
  constexpr Bits magnitude = static_cast<Bits>(~Bits(0)) >> 1;
  Bits bad = 0;
  for (int64_t i = 0; i < size; ++i) bad |= static_cast<Bits>((bits[i] & magnitude) >= infinity);
  return bad == 0;
}

bool finite(const Tensor& tensor, int64_t offset, int64_t size) {
  switch (tensor.dtype()) {
    case DataType::FLOAT32: return finite<uint32_t>(tensor.data(), offset, size, 0x7f800000u);
    case DataType::FLOAT64: return finite<uint64_t>(tensor.data(), offset, size, 0x7ff0000000000000u);
    case DataType::FLOAT16: return finite<uint16_t>(tensor.data(), offset, size, 0x7c00u);
    case DataType::BFLOAT16: return finite<uint16_t>(tensor.data(), offset, size, 0x7f80u);
    default: return true;  // excluded below
  }
}

struct Block {
  size_t tensor;
  int64_t offset, size;
};

std::vector<Tensor> check(const std::vector<Tensor>& values) {
  std::vector<Block> blocks;
  int64_t total = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const DataType type = values[i].dtype();
    require(type == DataType::FLOAT32 || type == DataType::FLOAT64 || type == DataType::FLOAT16 || type == DataType::BFLOAT16,
            "a value to be checked is not of a floating-point type");
    const int64_t size = values[i].numel();
    total += size;
    for (int64_t offset = 0; offset < size; offset += kBlock) blocks.push_back({i, offset, std::min(kBlock, size - offset)});
  }
  Tensor each = paddle::full({static_cast<int64_t>(values.size())}, true, DataType::BOOL, paddle::CPUPlace());
  bool* flags = each.data<bool>();
  std::atomic<bool> all{true};
  const int64_t count = static_cast<int64_t>(blocks.size());
#pragma omp parallel for schedule(static) if (total >= kWorthThreads)
  for (int64_t i = 0; i < count; ++i) {
    const Block& block = blocks[i];
    if (!finite(values[block.tensor], block.offset, block.size)) {
      // Threads that share a tensor write the same value to the same byte.
      __atomic_store_n(flags + block.tensor, false, __ATOMIC_RELAXED);
      all.store(false, std::memory_order_relaxed);
    }
  }
  return {each, paddle::full({}, all.load(), DataType::BOOL, paddle::CPUPlace())};
}

std::vector<std::vector<int64_t>> shapes(const std::vector<std::vector<int64_t>>& values) {
  return {{static_cast<int64_t>(values.size())}, {}};
}

std::vector<DataType> types(const std::vector<DataType>&) { return {DataType::BOOL, DataType::BOOL}; }

}  // namespace

PD_BUILD_OP(ppema_finite)
    .Inputs({paddle::Vec("values")})
    .Outputs({"each", "every"})
    .SetKernelFn(PD_KERNEL(check))
    .SetInferShapeFn(PD_INFER_SHAPE(shapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(types));
