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

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "average.h"
#include "lamb.h"
#include "rules.h"
#include "squares.h"

namespace {

using averages::kBlock;
using averages::kWorthThreads;
using paddle::DataType;
using paddle::Tensor;

struct Weight {
  float* data;
  const float* gradient;
  int64_t begin;  // index of its first element among the elements of all weights
  int64_t size;
  const std::vector<averages::Follower>* followers;  // null: no average of it is due
  float* sum;  // becomes zero when the gradient has been used; null: there is none
};

// Call `update(index, offset)` for each block of all weights, in parallel, and let the averages follow.
template <typename Update>
void for_blocks(const std::vector<Weight>& weights, Update update) {
  const int64_t total = weights.back().begin + weights.back().size;
  const auto range = [&](int64_t begin, int64_t end) {
    const auto starts_after = [](int64_t place, const Weight& weight) { return place < weight.begin; };
    auto weight = std::upper_bound(weights.begin(), weights.end(), begin, starts_after) - 1;
    while (begin < end) {
      while (begin >= weight->begin + weight->size) ++weight;
      const int64_t offset = begin - weight->begin;
      const int64_t size = std::min({kBlock, end - begin, weight->size - offset});
      update(weight - weights.begin(), offset, size);
      if (weight->sum != nullptr) std::fill_n(weight->sum + offset, size, 0.0f);
      if (weight->followers != nullptr) averages::follow_block<float, float>(weight->data, *weight->followers, offset, size);
      begin += size;
    }
  };
  if (total < kWorthThreads) {
    range(0, total);
    return;
  }
#pragma omp parallel
  {
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    range(total * thread / threads, total * (thread + 1) / threads);
  }
}

float* floats(Tensor& tensor, int64_t size) {
  require(tensor.dtype() == DataType::FLOAT32 && tensor.numel() == size,
          "a weight and its accumulator differ in type or size: one of them was set to another tensor");
  return tensor.data<float>();
}

void copy(const Tensor& from, Tensor& to) {
  require(from.dtype() == to.dtype() && from.numel() == to.numel(),
          "a variable that the forward pass writes was set to a tensor of another type or size");
  std::memcpy(to.data(), from.data(), from.numel() * phi::SizeOf(from.dtype()));
}

class Step {
 public:
  // Raises an exception, before anything changes, if variables do not fit. state: of the accumulators.
  Step(std::vector<Tensor>& params, const std::vector<Tensor>& gradients, Tensor* state, const std::string& rule)
      : rule_(rule) {
    require(params.size() == gradients.size(), "the numbers of weights and of gradients differ");
    int64_t begin = 0;
    for (size_t i = 0; i < params.size(); ++i) {
      const int64_t size = params[i].numel();
      require(gradients[i].dtype() == DataType::FLOAT32 && gradients[i].numel() == size,
              "a weight and its gradient differ in type or size");
      weights_.push_back({floats(params[i], size), gradients[i].data<float>(), begin, size, nullptr, nullptr});
      begin += size;
    }
    const bool adam = rule == "adam" || rule == "lamb", momentum = rule == "momentum";
    require(adam || momentum || rule == "sgd", "unknown rule ", rule);
    after_accumulators_ = state;
    if (momentum || adam) first_ = accumulators();
    if (adam) {
      second_ = accumulators();
      first_power_ = accumulators(1);
      second_power_ = accumulators(1);
    }
  }

  // What follows the accumulators in `state`.
  Tensor* after_accumulators() const { return after_accumulators_; }

  // Let the sums become zero; `mean` is the factor that makes the mean of each sum.
  void clear(Tensor* sums, float mean) {
    mean_ = mean;
    for (Weight& weight : weights_) weight.sum = floats(*sums++, weight.size);
  }

  // given: learning rates and factors. numbers: as in the operation. indices: those of `layout`, two for each weight.
  void run(const Tensor* rates, const Tensor* factors, const float* numbers, const int64_t* indices,
           const averages::Averages& averages) {
    std::vector<float> rate;
    std::vector<rules::Gradient<float>> gradient;
    const int fields = rule_ == "lamb" ? 6 : rule_ == "adam" ? 5 : rule_ == "momentum" ? 3 : 1;
    for (size_t i = 0; i < weights_.size(); ++i) {
      weights_[i].followers = averages.followers(i);
      const int64_t factor = indices[2 * i + 1];
      rate.push_back(*rates[indices[2 * i]].data<float>());
      gradient.push_back({factor < 0 ? mean_ : *factors[factor].data<float>(), numbers[fields * i]});
    }
    if (rule_ == "adam") {
      adam(rate, gradient, numbers);
    } else if (rule_ == "lamb") {
      lamb(rate, gradient, numbers);
    } else if (rule_ == "momentum") {
      std::vector<rules::Momentum<float>> each;
      for (size_t i = 0; i < weights_.size(); ++i) {
        each.push_back({rate[i], numbers[3 * i + 1], numbers[3 * i + 2] != 0, gradient[i]});
      }
      for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
        each[i].update(weights_[i].data + offset, weights_[i].gradient + offset, first_[i] + offset, size);
      });
    } else {
      std::vector<rules::Sgd<float>> each;
      for (size_t i = 0; i < weights_.size(); ++i) each.push_back({rate[i], gradient[i]});
      for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
        each[i].update(weights_[i].data + offset, weights_[i].gradient + offset, size);
      });
    }
  }

 private:
  void adam(const std::vector<float>& rate, const std::vector<rules::Gradient<float>>& gradient, const float* numbers) {
    std::vector<rules::Adam<float>> each;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const float* number = numbers + 5 * i;
      const float beta1 = number[1], beta2 = number[2];
      each.push_back({rate[i], beta1, beta2, number[3], *first_power_[i], *second_power_[i], number[4], gradient[i]});
      *first_power_[i] *= beta1;
      *second_power_[i] *= beta2;
    }
    for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
      each[i].update(weights_[i].data + offset, weights_[i].gradient + offset, first_[i] + offset, second_[i] + offset, size);
    });
  }

  void lamb(const std::vector<float>& rate, const std::vector<rules::Gradient<float>>& gradient, const float* numbers) {
    using Rule = rules::Lamb<float>;
    struct Leaf {
      size_t weight;
      int64_t offset, size;
      Rule::Squares squares;
    };
    std::vector<Rule> each;
    std::vector<Leaf> leaves;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const float* number = numbers + 6 * i;
      const float beta1 = number[1], beta2 = number[2], power1 = *first_power_[i], power2 = *second_power_[i];
      each.push_back({rate[i], beta1, beta2, number[3], power1, power2, number[4], number[5] != 0, gradient[i]});
      *first_power_[i] *= beta1;
      *second_power_[i] *= beta2;
      squares::for_leaves<float>(0, weights_[i].size, [&](int64_t offset, int64_t size) {
        leaves.push_back({i, offset, size, {}});
      });
    }
    // The norms of a whole weight are needed before its first element changes.
    const int64_t count = static_cast<int64_t>(leaves.size());
    const bool parallel = weights_.back().begin + weights_.back().size >= kWorthThreads;
#pragma omp parallel for schedule(static) if (parallel)
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
      const float of_p = squares::total<float>(0, weights_[i].size, [&] { return (leaf++)->squares.p; });
      const float of_d = squares::total<float>(0, weights_[i].size, [&] { return (other++)->squares.d; });
      adapted.push_back(each[i].adapted({of_p, of_d}));
    }
    for_blocks(weights_, [&](size_t i, int64_t offset, int64_t size) {
      each[i].update(weights_[i].data + offset, first_[i] + offset, second_[i] + offset, adapted[i], size);
    });
  }

  // The next accumulators in `state`, one for each weight. size: 0: that of the weight.
  std::vector<float*> accumulators(int64_t size = 0) {
    std::vector<float*> found;
    for (const Weight& weight : weights_) found.push_back(floats(*after_accumulators_++, size == 0 ? weight.size : size));
    return found;
  }

  const std::string& rule_;
  std::vector<Weight> weights_;
  std::vector<float*> first_, second_, first_power_, second_power_;
  Tensor* after_accumulators_;
  float mean_ = 1;
};

std::vector<Tensor> make_step(std::vector<Tensor>& params, const std::vector<Tensor>& gradients, std::vector<Tensor>& state,
                              const std::vector<Tensor>& given, const std::string& rule, const std::vector<float>& numbers,
                              const std::vector<int64_t>& layout, const std::vector<std::string>& decays) {
  const bool gated = layout[0], several = layout[1];
  const int64_t rates = layout[2], factors = layout[3], moved = layout[4], others = layout[5];
  const int64_t* indices = layout.data() + 6;
  const size_t weights = params.size();
  Step step(params, gradients, state.data(), rule);
  Tensor* own = step.after_accumulators();
  const Tensor* next = given.data() + rates + factors;
  if (gated) {
    const bool finite = *next++->data<bool>();
    const Tensor &flags = *next++, *copies = next;
    Tensor &kept = *own++, *written = own;
    next += moved;
    own += moved;
    Tensor* before = own;
    const bool begins = several && *next->data<bool>();
    if (!finite) {
      copy(flags, kept);
      for (int64_t i = 0; i < moved; ++i) copy(several && !begins ? before[i] : copies[i], written[i]);
    } else if (begins) {
      for (int64_t i = 0; i < moved; ++i) copy(copies[i], before[i]);
    }
    if (several) {
      const bool ends = *next[1].data<bool>();
      const float divisor = *next[2].data<float>();
      Tensor &total = own[moved], *sums = own + moved + 1;
      next += 3;
      own = sums + weights;
      if (finite && !ends) return {};
      std::fill_n(floats(total, 1), 1, 0.0f);
      if (!finite) {
        for (size_t i = 0; i < weights; ++i) std::fill_n(floats(sums[i], params[i].numel()), params[i].numel(), 0.0f);
      } else {
        step.clear(sums, 1 / (divisor > 0 ? divisor : 1));
      }
    }
    if (!finite) return {};
  }
  std::vector<const Tensor*> values;
  for (const Tensor& param : params) values.push_back(&param);
  for (int64_t i = 0; i < others; ++i) values.push_back(next++);
  averages::Averages all(values, own, next, true, indices + 2 * weights, layout.data() + layout.size(), decays);
  step.run(given.data(), given.data() + rates, numbers.data(), indices, all);
  all.update(weights);
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
