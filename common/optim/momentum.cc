// Momentum: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; with
// `nesterov`, Nesterov's as in Sutskever et al., ICML 2013. In torch.optim.SGD's form with
// dampening 0, where the rate multiplies the whole step, not the gradient that enters b:
//   g <- g + l2 w,  b <- mu b + g,  w <- w - alpha b   (nesterov: w <- w - alpha (g + mu b)).
// State: b [1, n]. On rows it is lazy: a row that no batch touches does not coast on.
#include "common/optim/rule.h"

// foreach_target.h includes this file once for each SIMD target; it must come before highway.h.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/optim/momentum.cc"
#include "hwy/foreach_target.h"
#include "common/optim/element_wise-inl.h"
#include "hwy/highway.h"
// clang-format on

#ifndef PAGODA_COMMON_OPTIM_MOMENTUM_ONCE_
#define PAGODA_COMMON_OPTIM_MOMENTUM_ONCE_
namespace pagoda {
struct MomentumScalars {
  float alpha, mu, l2;
  bool nesterov;
};
}  // namespace pagoda
#endif

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

void MomentumKernel(const MomentumScalars& a, const RuleRows& rows, const float* g, int64_t n) {
  UpdateRows<1>(rows, g, n, [=](auto d, auto w, auto gi, auto& b) HWY_ATTR {
    const auto mu = hn::Set(d, a.mu);
    gi = AddL2(d, a.l2, w, gi);
    b = hn::Add(hn::Mul(mu, b), gi);
    const auto direction = a.nesterov ? hn::Add(gi, hn::Mul(mu, b)) : b;
    return hn::Sub(w, hn::Mul(hn::Set(d, a.alpha), direction));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
HWY_EXPORT(MomentumKernel);

namespace {

class Momentum : public KernelRule {
 public:
  explicit Momentum(const std::map<std::string, double>& parameters)
      : mu_(parameters.at("momentum")),
        nesterov_(parameters.at("nesterov") != 0),
        l2_(parameters.at("l2")) {}

  int state_per_weight() const override { return 1; }

  void ApplyRows(const RuleStep& step, const RuleRows& rows, const float* g,
                 int64_t n) const override {
    const MomentumScalars scalars = {.alpha = static_cast<float>(step.learning_rate),
                                     .mu = static_cast<float>(mu_),
                                     .l2 = static_cast<float>(l2_),
                                     .nesterov = nesterov_};
    HWY_DYNAMIC_DISPATCH(MomentumKernel)(scalars, rows, g, n);
  }
  void Apply(const RuleStep& step, double* w, double* b, const double* g,
             int64_t n) const override {
    for (int64_t i = 0; i < n; ++i) {
      const double gi = g[i] + l2_ * w[i];
      b[i] = mu_ * b[i] + gi;
      w[i] -= step.learning_rate * (nesterov_ ? gi + mu_ * b[i] : b[i]);
    }
  }

 private:
  const double mu_;
  const bool nesterov_;
  const double l2_;
};

PAGODA_REGISTER_RULE({
    .name = "momentum",
    .help = "Gradient descent along a decaying sum of the gradients.",
    .source = "Polyak 1964; Sutskever et al., ICML 2013; torch.optim.SGD(momentum)",
    .parameters = {{"momentum", 0.9, 0.0, 0.999999, "mu: decay of the sum of the gradients"},
                   {.name = "nesterov",
                    .default_value = 0,
                    .minimum = 0,
                    .maximum = 1,
                    .help = "1: look ahead (Nesterov)",
                    .kind = ParameterKind::kFlag},
                   L2Parameter()},
    .make = [](const std::map<std::string, double>& p) -> std::unique_ptr<Rule> {
      return std::make_unique<Momentum>(p);
    },
});

}  // namespace
}  // namespace pagoda
#endif  // HWY_ONCE
