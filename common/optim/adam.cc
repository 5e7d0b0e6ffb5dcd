// Adam: Kingma & Ba, ICLR 2015, algorithm 1:
//   m <- beta1 m + (1 - beta1) g,    mhat = m / (1 - beta1^t),
//   v <- beta2 v + (1 - beta2) g^2,  vhat = v / (1 - beta2^t),
//   w <- w - alpha mhat / (sqrt(vhat) + epsilon).
// State: m [n], v [n]; with `per_row_count`, t [1]. As in torch, g <- g + l2 w before that.
//
// The kernel takes the form of the end of their section 2, which saves two divisions a weight:
//   w <- w - alpha_t m / (sqrt(v) + epsilon_hat),
//   alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t).
// With epsilon_hat = epsilon sqrt(1 - beta2^t) it is algorithm 1 and torch.optim.Adam: rule "adam".
// With epsilon_hat = epsilon it is torch.optim.SparseAdam: rule "sparse_adam". On rows, both are
// lazy: those that a batch does not touch stay as they are.
//
// t is the optimizer's step count. A row that is first touched late starts from m = v = 0 and finds
// its corrections gone: its first steps are up to (1 - beta1) / sqrt(1 - beta2) (3.2) times alpha.
// With `per_row_count` each row has its own t, which also needs no order among workers (async).
#include "common/optim/adam.h"

#include <cmath>

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
  float l2, kept;  // kept = 1 - alpha weight_decay
};
}  // namespace pagoda
#endif

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

void AdamKernel(const AdamScalars& a, const RuleRows& rows, const float* g, int64_t n) {
  UpdateRows<2>(rows, g, n, [=](auto d, auto w, auto gi, auto& m, auto& v) HWY_ATTR {
    gi = AddL2(d, a.l2, w, gi);
    m = hn::Add(hn::Mul(hn::Set(d, a.beta1), m), hn::Mul(hn::Set(d, a.one_minus_beta1), gi));
    v = hn::Add(hn::Mul(hn::Set(d, a.beta2), v),
                hn::Mul(hn::Mul(hn::Set(d, a.one_minus_beta2), gi), gi));
    const auto denominator = hn::Add(hn::Sqrt(v), hn::Set(d, a.epsilon_hat));
    const auto step = hn::Div(hn::Mul(hn::Set(d, a.alpha_t), m), denominator);
    return hn::Sub(hn::Mul(hn::Set(d, a.kept), w), step);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
HWY_EXPORT(AdamKernel);

namespace {

class Adam : public KernelRule {
 public:
  explicit Adam(const AdamOptions& options) : o_(options) {}

  int state_per_weight() const override { return 2; }
  int state_per_row() const override { return o_.per_row_count ? 1 : 0; }

  void ApplyRows(const RuleStep& step, const RuleRows& rows, const float* g,
                 int64_t n) const override {
    if (!o_.per_row_count) {
      HWY_DYNAMIC_DISPATCH(AdamKernel)(ScalarsOf(step.learning_rate, step.step), rows, g, n);
      return;
    }
    for (float* w : rows.w) {
      const RuleRows row = {.w = {&w, 1}, .state = rows.StateOf(w)};
      // A float stops counting at 2^24; the corrections are 1 long before.
      const float t = row.state[2 * n] += 1;
      HWY_DYNAMIC_DISPATCH(AdamKernel)(ScalarsOf(step.learning_rate, t), row, g, n);
      g += n;
    }
  }

  void Apply(const RuleStep& step, double* w, double* state, const double* g,
             int64_t n) const override {
    double* m = state;
    double* v = state + n;
    const double t = o_.per_row_count ? state[2 * n] += 1 : static_cast<double>(step.step);
    const double correction1 = 1.0 - std::pow(o_.beta1, t);
    const double correction2 = 1.0 - std::pow(o_.beta2, t);
    const double epsilon = o_.correct_epsilon ? o_.epsilon : o_.epsilon / std::sqrt(correction2);
    for (int64_t i = 0; i < n; ++i) {
      const double gi = g[i] + o_.l2 * w[i];
      m[i] = o_.beta1 * m[i] + (1.0 - o_.beta1) * gi;
      v[i] = o_.beta2 * v[i] + (1.0 - o_.beta2) * gi * gi;
      const double mhat = m[i] / correction1, vhat = v[i] / correction2;
      w[i] -= step.learning_rate * o_.weight_decay * w[i];
      w[i] -= step.learning_rate * mhat / (std::sqrt(vhat) + epsilon);
    }
  }

 private:
  AdamScalars ScalarsOf(double alpha, double t) const {
    const double correction1 = 1.0 - std::pow(o_.beta1, t);
    const double root2 = std::sqrt(1.0 - std::pow(o_.beta2, t));
    return {.beta1 = static_cast<float>(o_.beta1),
            .one_minus_beta1 = static_cast<float>(1.0 - o_.beta1),
            .beta2 = static_cast<float>(o_.beta2),
            .one_minus_beta2 = static_cast<float>(1.0 - o_.beta2),
            .alpha_t = static_cast<float>(alpha * root2 / correction1),
            .epsilon_hat = static_cast<float>(o_.correct_epsilon ? o_.epsilon * root2 : o_.epsilon),
            .l2 = static_cast<float>(o_.l2),
            .kept = static_cast<float>(1.0 - alpha * o_.weight_decay)};
  }

  const AdamOptions o_;
};

std::vector<ParameterSpec> WithL2(std::vector<ParameterSpec> parameters) {
  parameters.push_back(L2Parameter());
  return parameters;
}

}  // namespace

std::vector<ParameterSpec> AdamParameters() {
  return {{"beta1", 0.9, 0.0, 0.999999, "decay of the mean of the gradients"},
          {"beta2", 0.999, 0.0, 0.999999, "decay of the mean of their squares"},
          {"epsilon", 1e-8, 1e-30, 1.0, "added to the root of the mean of squares"},
          {.name = "per_row_count",
           .default_value = 0,
           .minimum = 0,
           .maximum = 1,
           .help = "1: bias correction by each row's (dense tensor's) own number of updates",
           .kind = ParameterKind::kFlag}};
}

AdamOptions AdamOptionsOf(const std::map<std::string, double>& parameters) {
  return {.beta1 = parameters.at("beta1"),
          .beta2 = parameters.at("beta2"),
          .epsilon = parameters.at("epsilon"),
          .per_row_count = parameters.at("per_row_count") != 0};
}

std::unique_ptr<Rule> MakeAdam(const AdamOptions& options) {
  return std::make_unique<Adam>(options);
}

PAGODA_REGISTER_RULE({
    .name = "adam",
    .help = "Adam; lazy on rows: those that a batch does not touch stay as they are.",
    .source = "Kingma & Ba, ICLR 2015, algorithm 1; torch.optim.Adam",
    .parameters = WithL2(AdamParameters()),
    .make = [](const std::map<std::string, double>& p) -> std::unique_ptr<Rule> {
      AdamOptions options = AdamOptionsOf(p);
      options.l2 = p.at("l2");
      return MakeAdam(options);
    },
});

const bool sparse_adam_registered_ [[maybe_unused]] = RegisterRule({
    .name = "sparse_adam",
    .help = "Adam with epsilon added to the root before the bias correction.",
    .source = "Kingma & Ba, ICLR 2015, end of section 2; torch.optim.SparseAdam",
    .parameters = AdamParameters(),
    .make = [](const std::map<std::string, double>& p) -> std::unique_ptr<Rule> {
      AdamOptions options = AdamOptionsOf(p);
      options.correct_epsilon = false;
      return MakeAdam(options);
    },
});

}  // namespace pagoda
#endif  // HWY_ONCE
