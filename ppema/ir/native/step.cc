// ppema_step: one step of an optimizer and one update of all averages, in one pass over memory.
//
// Each block of a weight is updated by the optimizer's rule (rules.h), and followed by its averages while it is in the cache.
// Then the averages of all other values are updated, as in average.cc. With a gate, a run that is not finite does neither: it
// restores what the forward pass has written, and keeps the flags of the check. A step of several runs has a gate: its last run
// acts, by the means of their gradients, and clears the sums; its first run keeps what the forward pass writes from before.
//
// param: [n] weights, float32. Written in place.
// grad: [n] their gradients, float32.
// state: for each of the rule's accumulators n tensors, in the order of Paddle's arguments: "momentum" has the velocity,
//   "adam" and "lamb" two moments, of the weight's size, and two powers, of 1 element. Then with a gate the kept flags and
//   the variables that the forward pass has written; for a step of several runs also these variables from before the step,
//   the sum of weights (float32, 1 element) and the sums of gradients; then the state of the averages, as in average.cc.
//   Written in place.
// given: the learning rates and the factors of gradients (float32, 1 element each); with a gate whether the run is finite
//   (bool), the flags of its check, and for each variable that the forward pass has written a copy from before; for a step of
//   several runs whether the run is its first and its last (bool), and the divisor of `grad` (float32, 1 element); then the
//   values that have averages and are not among `param`; then the scalars of the averages, as in average.cc without a
//   condition.
// rule: "sgd", "momentum", "adam", which is also AdamW, or "lamb", which passes twice over the weights.
// numbers: for each weight the coefficient of its L2 decay. For "momentum" also the momentum, and whether it is Nesterov's (1
//   or 0); for "adam" and "lamb" also beta1, beta2, epsilon, and the coefficient of the decay of AdamW or Lamb; for "lamb"
//   also whether the norms adapt the rate (1 or 0).
// layout: whether there is a gate (1 or 0), and whether a step has several runs, the number of learning rates, of factors, of
//   variables that the forward pass has written, and of values besides `param`; for each weight the index of its learning
//   rate, and that of its factor (-1: none); then the layout of average.cc, where the values are `param` and then those
//   besides.
// decays: as in average.cc.

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "average.h"
#include "blocks.h"
#include "gate.h"
#include "lamb.h"
#include "reader.h"
#include "rules.h"
#include "squares.h"

namespace {

using paddle::DataType;
using paddle::Tensor;
using step::floats;
using step::Gate;

struct Weight {
  float* data;
  const float* gradient;
  int64_t begin;  // index of its first element among the elements of all weights
  int64_t size;
  const std::vector<averages::Follower>* followers;  // null: no average of it is due
  float* sum;  // becomes zero when the gradient has been used; null: there is none
};

// Call `update(index, offset, size)` for each block of all weights, in parallel, and let the averages follow.
template <typename Update>
void for_blocks(const std::vector<Weight>& weights, Update update) {
  blocks::for_each(weights, [&](const Weight& weight, int64_t offset, int64_t size) {
    update(&weight - weights.data(), offset, size);
    if (weight.sum != nullptr) std::fill_n(weight.sum + offset, size, 0.0f);
    if (weight.followers != nullptr) averages::follow_block<float, float>(weight.data, *weight.followers, offset, size);
  });
}

// The rules, and how many of `numbers` each weight has.
enum class Rule { kSgd, kMomentum, kAdam, kLamb };
constexpr struct {
  const char* name;
  Rule rule;
  size_t numbers;
} kRules[] = {{"sgd", Rule::kSgd, 1}, {"momentum", Rule::kMomentum, 3}, {"adam", Rule::kAdam, 5}, {"lamb", Rule::kLamb, 6}};

// The update of all weights by the optimizer's rule.
class Step {
 public:
  // Raises an exception, before anything changes, if variables do not fit. state: from the accumulators on.
  Step(std::vector<Tensor>& params, const std::vector<Tensor>& gradients, Reader<Tensor>& state, const std::string& rule,
       const std::vector<float>& numbers)
      : numbers_(numbers.data()) {
    require(params.size() == gradients.size(), "the numbers of weights and of gradients differ");
    int64_t begin = 0;
    for (size_t i = 0; i < params.size(); ++i) {
      const int64_t size = params[i].numel();
      require(gradients[i].dtype() == DataType::FLOAT32 && gradients[i].numel() == size,
              "a weight and its gradient differ in type or size");
      weights_.push_back({floats(params[i], size), gradients[i].data<float>(), begin, size, nullptr, nullptr});
      begin += size;
    }
    const auto* found = std::find_if(std::begin(kRules), std::end(kRules), [&](const auto& each) { return rule == each.name; });
    require(found != std::end(kRules), "unknown rule ", rule);
    rule_ = found->rule;
    fields_ = found->numbers;
    require(numbers.size() == fields_ * params.size(), "the numbers of the weights are not those of the rule ", rule);
    if (rule_ != Rule::kSgd) first_ = accumulators(state);
    if (rule_ == Rule::kAdam || rule_ == Rule::kLamb) {
      second_ = accumulators(state);
      first_power_ = accumulators(state, 1);
      second_power_ = accumulators(state, 1);
    }
  }

  // Raises an exception, before anything changes, if variables do not fit. rates, factors: how many there are in `given`.
  // indices: for each weight that of its rate, and that of its factor or -1.
  void read_scalars(Reader<const Tensor>& given, int64_t rates, int64_t factors, Reader<const int64_t>& indices) {
    const Tensor *rate = given.take(rates), *factor = given.take(factors);
    for (size_t i = 0; i < weights_.size(); ++i) {
      const int64_t of_rate = *indices.take(), of_factor = *indices.take();
      require(of_rate >= 0 && of_rate < rates && of_factor < factors, "a weight has a learning rate or a factor that is not given");
      rates_.push_back(*rate[of_rate].data<float>());
      gradients_.push_back({of_factor < 0 ? 1 : *factor[of_factor].data<float>(), number(i)[0]});
    }
  }

  // Update the weights, and the averages that follow them.
  void run(const averages::Averages& averages, const Gate* gate) {
    for (size_t i = 0; i < weights_.size(); ++i) {
      weights_[i].followers = averages.followers(i);
      if (gate == nullptr || gate->sum(i) == nullptr) continue;
      weights_[i].sum = gate->sum(i);
      gradients_[i].scale = gate->mean();
    }
    switch (rule_) {
      case Rule::kSgd: sgd(); break;
      case Rule::kMomentum: momentum(); break;
      case Rule::kAdam: adam(); break;
      case Rule::kLamb: lamb(); break;
    }
  }

 private:
  const float* number(size_t weight) const { return numbers_ + fields_ * weight; }

  void sgd() {
    std::vector<rules::Sgd> each;
    for (size_t i = 0; i < weights_.size(); ++i) each.emplace_back(rates_[i], gradients_[i], weights_[i].size);
    for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
      each[i].update(weights_[i].data + offset, weights_[i].gradient + offset, size);
    });
  }

  void momentum() {
    std::vector<rules::Momentum> each;
    for (size_t i = 0; i < weights_.size(); ++i) {
      each.push_back({rates_[i], number(i)[1], number(i)[2] != 0, gradients_[i]});
    }
    for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
      each[i].update(weights_[i].data + offset, weights_[i].gradient + offset, first_[i] + offset, size);
    });
  }

  void adam() {
    std::vector<rules::Adam> each;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const float beta1 = number(i)[1], beta2 = number(i)[2], epsilon = number(i)[3], coefficient = number(i)[4];
      each.push_back({rates_[i], beta1, beta2, epsilon, *first_power_[i], *second_power_[i], coefficient, gradients_[i]});
      *first_power_[i] *= beta1;
      *second_power_[i] *= beta2;
    }
    for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
      each[i].update(weights_[i].data + offset, weights_[i].gradient + offset, first_[i] + offset, second_[i] + offset, size);
    });
  }

  void lamb() {
    struct Leaf {
      size_t weight;
      int64_t offset, size;
      rules::Lamb::Squares squares;
    };
    std::vector<rules::Lamb> each;
    std::vector<Leaf> leaves;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const float beta1 = number(i)[1], beta2 = number(i)[2], power1 = *first_power_[i], power2 = *second_power_[i];
      each.push_back({rates_[i], beta1, beta2, number(i)[3], power1, power2, number(i)[4], number(i)[5] != 0, gradients_[i]});
      *first_power_[i] *= beta1;
      *second_power_[i] *= beta2;
      squares::for_leaves(0, weights_[i].size, [&](int64_t offset, int64_t size) { leaves.push_back({i, offset, size, {}}); });
    }
    // The norms of a whole weight are needed before its first element changes.
    const int64_t count = static_cast<int64_t>(leaves.size());
#pragma omp parallel for schedule(static) if (blocks::count(weights_) >= blocks::kWorthThreads)
    for (int64_t k = 0; k < count; ++k) {
      Leaf& leaf = leaves[k];
      const size_t i = leaf.weight;
      leaf.squares = each[i].move(weights_[i].data + leaf.offset, weights_[i].gradient + leaf.offset,
                                  first_[i] + leaf.offset, second_[i] + leaf.offset, leaf.size);
    }
    std::vector<float> adapted;
    auto leaf = leaves.begin();
    for (size_t i = 0; i < weights_.size(); ++i) {
      auto other = leaf;
      const float of_p = squares::total(0, weights_[i].size, [&] { return (leaf++)->squares.p; });
      const float of_d = squares::total(0, weights_[i].size, [&] { return (other++)->squares.d; });
      adapted.push_back(each[i].adapted({of_p, of_d}));
    }
    for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
      each[i].update(weights_[i].data + offset, first_[i] + offset, second_[i] + offset, adapted[i], size);
    });
  }

  // The next accumulators in `state`, one for each weight. size: 0: that of the weight.
  std::vector<float*> accumulators(Reader<Tensor>& state, int64_t size = 0) {
    std::vector<float*> found;
    for (const Weight& weight : weights_) found.push_back(floats(*state.take(), size == 0 ? weight.size : size));
    return found;
  }

  Rule rule_;
  const float* numbers_;
  size_t fields_;
  std::vector<Weight> weights_;
  std::vector<float> rates_;
  std::vector<rules::Gradient> gradients_;
  std::vector<float*> first_, second_, first_power_, second_power_;
};

std::vector<Tensor> make_step(std::vector<Tensor>& params, const std::vector<Tensor>& gradients, std::vector<Tensor>& state,
                              const std::vector<Tensor>& given, const std::string& rule, const std::vector<float>& numbers,
                              const std::vector<int64_t>& layout, const std::vector<std::string>& decays) {
  Reader<Tensor> own(state);
  Reader<const Tensor> inputs(given);
  Reader<const int64_t> fields(layout);
  const bool gated = *fields.take(), several = *fields.take();
  const int64_t rates = *fields.take(), factors = *fields.take(), moved = *fields.take(), others = *fields.take();
  Step update(params, gradients, own, rule, numbers);
  update.read_scalars(inputs, rates, factors, fields);
  std::optional<Gate> gate;
  if (gated) gate.emplace(inputs, own, moved, several, params);
  if (gate && !gate->finite()) {
    gate->skip();
    return {};
  }
  if (gate && !gate->is_step()) {
    gate->pass();
    return {};
  }
  std::vector<const Tensor*> values;
  for (const Tensor& param : params) values.push_back(&param);
  const Tensor* besides = inputs.take(others);
  for (int64_t i = 0; i < others; ++i) values.push_back(besides + i);
  averages::Averages averages(values, own, inputs, true, fields, decays);
  own.check_end();
  if (gate) gate->pass();
  averages.count();
  update.run(averages, gate ? &*gate : nullptr);
  averages.update(params.size());
  return {};
}

}  // namespace

PD_BUILD_OP(ppema_step)
    .Inputs({paddle::Vec("param"), paddle::Vec("grad"), paddle::Vec("state"), paddle::Vec("given")})
    .Outputs({paddle::Vec("param_out"), paddle::Vec("state_out")})
    .Attrs({"rule: std::string", "numbers: std::vector<float>", "layout: std::vector<int64_t>",
            "decays: std::vector<std::string>"})
    .SetInplaceMap({{paddle::Vec("param"), paddle::Vec("param_out")}, {paddle::Vec("state"), paddle::Vec("state_out")}})
    .SetKernelFn(PD_KERNEL(make_step));
