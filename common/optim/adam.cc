// Adam: Kingma & Ba, ICLR 2015, algorithm 1:
//   m <- beta1 m + (1 - beta1) g,    mhat = m / (1 - beta1^t),
//   v <- beta2 v + (1 - beta2) g^2,  vhat = v / (1 - beta2^t),
//   w <- w - alpha mhat / (sqrt(vhat) + epsilon).
// State: m [n], v [n].
//
// The kernel takes the form of the end of their section 2, which saves two divisions a weight:
//   w <- w - alpha_t m / (sqrt(v) + epsilon_hat),
//   alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t).
// With epsilon_hat = epsilon sqrt(1 - beta2^t) it is algorithm 1 and torch.optim.Adam: rule "adam".
// With epsilon_hat = epsilon it is torch.optim.SparseAdam: rule "sparse_adam". On rows, both are
// lazy: those that a batch does not touch stay as they are.
#include <cmath>

#include "common/optim/rule.h"

// foreach_target.h includes this file once for each SIMD target; it must come before highway.h.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/optim/adam.cc"
#include "hwy/foreach_target.h"
#include "common/optim/element_wise-inl.h"
#include "hwy/highway.h"
// clang-format on

#ifndef PAGODA_COMMON_OPTIM_ADAM_ONCE_
#define PAGODA_COMMON_OPTIM_ADAM_ONCE_
namespace pagoda {
struct AdamScalars {
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float alpha_t, epsilon_hat;
};
}  // namespace pagoda
#endif

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

void AdamKernel(const AdamScalars& a, float* HWY_RESTRICT w, float* HWY_RESTRICT m,
                float* HWY_RESTRICT v, const float* HWY_RESTRICT g, int64_t n) {
  ForEachElement(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto gi = hn::LoadU(d, g + i);
    const auto mi = hn::Add(hn::Mul(hn::Set(d, a.beta1), hn::LoadU(d, m + i)),
                            hn::Mul(hn::Set(d, a.one_minus_beta1), gi));
    const auto vi = hn::Add(hn::Mul(hn::Set(d, a.beta2), hn::LoadU(d, v + i)),
                            hn::Mul(hn::Mul(hn::Set(d, a.one_minus_beta2), gi), gi));
    const auto denominator = hn::Add(hn::Sqrt(vi), hn::Set(d, a.epsilon_hat));
    const auto step = hn::Div(hn::Mul(hn::Set(d, a.alpha_t), mi), denominator);
    hn::StoreU(mi, d, m + i);
    hn::StoreU(vi, d, v + i);
    hn::StoreU(hn::Sub(hn::LoadU(d, w + i), step), d, w + i);
  });
}

void AdamRowsKernel(const AdamScalars& a, const RuleRows& rows, const float* HWY_RESTRICT g,
                    int64_t n) {
  for (float* w : rows.w) {
    float* state = w + rows.state_offset;
    AdamKernel(a, w, state, state + n, g, n);
    g += n;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
HWY_EXPORT(AdamKernel);
HWY_EXPORT(AdamRowsKernel);

namespace {

class Adam : public Rule {
 public:
  Adam(const std::map<std::string, double>& parameters, bool correct_epsilon)
      : beta1_(parameters.at("beta1")),
        beta2_(parameters.at("beta2")),
        epsilon_(parameters.at("epsilon")),
        correct_epsilon_(correct_epsilon) {}

  int state_per_weight() const override { return 2; }

  void Apply(const RuleStep& step, float* w, float* state, const float* g,
             int64_t n) const override {
    HWY_DYNAMIC_DISPATCH(AdamKernel)(ScalarsOf(step), w, state, state + n, g, n);
  }

  void ApplyRows(const RuleStep& step, const RuleRows& rows, const float* g,
                 int64_t n) const override {
    HWY_DYNAMIC_DISPATCH(AdamRowsKernel)(ScalarsOf(step), rows, g, n);
  }

  void Apply(const RuleStep& step, double* w, double* state, const double* g,
             int64_t n) const override {
    const double correction1 = 1.0 - std::pow(beta1_, step.step);
    const double correction2 = 1.0 - std::pow(beta2_, step.step);
    double* m = state;
    double* v = state + n;
    for (int64_t i = 0; i < n; ++i) {
      m[i] = beta1_ * m[i] + (1.0 - beta1_) * g[i];
      v[i] = beta2_ * v[i] + (1.0 - beta2_) * g[i] * g[i];
      const double mhat = m[i] / correction1;
      const double root = std::sqrt(v[i] / correction2);
      const double epsilon = correct_epsilon_ ? epsilon_ : epsilon_ / std::sqrt(correction2);
      w[i] -= step.learning_rate * mhat / (root + epsilon);
    }
  }

 private:
  AdamScalars ScalarsOf(const RuleStep& step) const {
    const double correction1 = 1.0 - std::pow(beta1_, step.step);
    const double root2 = std::sqrt(1.0 - std::pow(beta2_, step.step));
    return {.beta1 = static_cast<float>(beta1_),
            .one_minus_beta1 = static_cast<float>(1.0 - beta1_),
            .beta2 = static_cast<float>(beta2_),
            .one_minus_beta2 = static_cast<float>(1.0 - beta2_),
            .alpha_t = static_cast<float>(step.learning_rate * root2 / correction1),
            .epsilon_hat = static_cast<float>(correct_epsilon_ ? epsilon_ * root2 : epsilon_)};
  }

  const double beta1_, beta2_, epsilon_;
  const bool correct_epsilon_;
};

std::vector<ParameterSpec> AdamParameters() {
  return {{"beta1", 0.9, 0.0, 0.999999, "decay of the mean of the gradients"},
          {"beta2", 0.999, 0.0, 0.999999, "decay of the mean of their squares"},
          {"epsilon", 1e-8, 1e-30, 1.0, "added to the root of the mean of squares"}};
}

template <bool kCorrectEpsilon>
std::unique_ptr<Rule> MakeAdam(const std::map<std::string, double>& parameters) {
  return std::make_unique<Adam>(parameters, kCorrectEpsilon);
}

PAGODA_REGISTER_RULE({
    .name = "adam",
    .help = "Adam; lazy on rows: those that a batch does not touch stay as they are.",
    .source = "Kingma & Ba, ICLR 2015, algorithm 1; torch.optim.Adam",
    .parameters = AdamParameters(),
    .make = MakeAdam<true>,
});

const bool sparse_adam_registered_ [[maybe_unused]] = RegisterRule({
    .name = "sparse_adam",
    .help = "Adam with epsilon added to the root before the bias correction.",
    .source = "Kingma & Ba, ICLR 2015, end of section 2; torch.optim.SparseAdam",
    .parameters = AdamParameters(),
    .make = MakeAdam<false>,
});

}  // namespace
}  // namespace pagoda
#endif  // HWY_ONCE
