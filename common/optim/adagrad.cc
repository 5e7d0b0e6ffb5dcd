// Adagrad: Duchi, Hazan, Singer, JMLR 12, 2011, in torch.optim.Adagrad's form:
//   s <- s + g^2,  w <- w - alpha g / (sqrt(s) + epsilon).
// State: s [1, n], starts at `initial_accumulator`.
#include <algorithm>
#include <cmath>

#include "common/optim/rule.h"

// foreach_target.h includes this file once for each SIMD target; it must come before highway.h.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/optim/adagrad.cc"
#include "hwy/foreach_target.h"
#include "common/optim/element_wise-inl.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

void AdagradKernel(float alpha, float epsilon, float* HWY_RESTRICT w, float* HWY_RESTRICT s,
                   const float* HWY_RESTRICT g, int64_t n) {
  ForEachElement(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto gi = hn::LoadU(d, g + i);
    const auto si = hn::Add(hn::LoadU(d, s + i), hn::Mul(gi, gi));
    const auto denominator = hn::Add(hn::Sqrt(si), hn::Set(d, epsilon));
    const auto step = hn::Div(hn::Mul(hn::Set(d, alpha), gi), denominator);
    hn::StoreU(si, d, s + i);
    hn::StoreU(hn::Sub(hn::LoadU(d, w + i), step), d, w + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
HWY_EXPORT(AdagradKernel);

namespace {

class Adagrad : public Rule {
 public:
  Adagrad(double initial_accumulator, double epsilon)
      : initial_accumulator_(initial_accumulator), epsilon_(epsilon) {}

  int state_per_weight() const override { return 1; }
  void InitState(float* state, int64_t n) const override {
    std::fill_n(state, n, static_cast<float>(initial_accumulator_));
  }
  void InitState(double* state, int64_t n) const override {
    std::fill_n(state, n, initial_accumulator_);
  }

  void Apply(const RuleStep& step, float* w, float* state, const float* g,
             int64_t n) const override {
    HWY_DYNAMIC_DISPATCH(AdagradKernel)
    (static_cast<float>(step.learning_rate), static_cast<float>(epsilon_), w, state, g, n);
  }
  void Apply(const RuleStep& step, double* w, double* state, const double* g,
             int64_t n) const override {
    for (int64_t i = 0; i < n; ++i) {
      state[i] += g[i] * g[i];
      w[i] -= step.learning_rate * g[i] / (std::sqrt(state[i]) + epsilon_);
    }
  }

 private:
  const double initial_accumulator_;
  const double epsilon_;
};

PAGODA_REGISTER_RULE({
    .name = "adagrad",
    .help = "A rate per weight that falls with the sum of its squared gradients.",
    .source = "Duchi, Hazan, Singer, JMLR 2011; torch.optim.Adagrad",
    .parameters = {{"initial_accumulator", 0.0, 0.0, 1e6, "start of the sum of squared gradients"},
                   {"epsilon", 1e-10, 1e-30, 1.0, "added to the root of the sum"}},
    .make = [](const std::map<std::string, double>& p) -> std::unique_ptr<Rule> {
      return std::make_unique<Adagrad>(p.at("initial_accumulator"), p.at("epsilon"));
    },
});

}  // namespace
}  // namespace pagoda
#endif  // HWY_ONCE
