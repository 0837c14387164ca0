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

#include <cstdint>
#include <string>
#include <vector>

#include "average.h"

namespace {

using paddle::Tensor;

std::vector<Tensor> update_averages(const std::vector<Tensor>& values, std::vector<Tensor>& state,
                                    const std::vector<Tensor>& scalars, bool conditional, const std::vector<int64_t>& layout,
                                    const std::vector<std::string>& decays) {
  std::vector<const Tensor*> all;
  for (const Tensor& value : values) all.push_back(&value);
  Reader<Tensor> own(state);
  Reader<const Tensor> given(scalars);
  const bool happens = !conditional || *given.take()->data<bool>();
  averages::Averages averages(all, own, given, happens, Reader<const int64_t>(layout), decays);
  own.check_end();
  averages.count();
  averages.update();
  return {};
}

}  // namespace

PD_BUILD_OP(ppema_average)
    .Inputs({paddle::Vec("values"), paddle::Vec("state"), paddle::Vec("scalars")})
    .Outputs({paddle::Vec("state_out")})
    .Attrs({"conditional: bool", "layout: std::vector<int64_t>", "decays: std::vector<std::string>"})
    .SetInplaceMap({{paddle::Vec("state"), paddle::Vec("state_out")}})
    .SetKernelFn(PD_KERNEL(update_averages));
