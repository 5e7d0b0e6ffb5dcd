// Stochastic gradient descent (Robbins & Monro 1951): w <- w - alpha g. No state.
#include "common/optim/rule.h"

// foreach_target.h includes this file once for each SIMD target; it must come before highway.h.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/optim/sgd.cc"
#include "hwy/foreach_target.h"
#include "common/optim/element_wise-inl.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

void SgdKernel(float alpha, float* HWY_RESTRICT w, const float* HWY_RESTRICT g, int64_t n) {
  ForEachElement(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto step = hn::Mul(hn::Set(d, alpha), hn::LoadU(d, g + i));
    hn::StoreU(hn::Sub(hn::LoadU(d, w + i), step), d, w + i);
  });
}

void SgdRowsKernel(float alpha, const RuleRows& rows, const float* HWY_RESTRICT g, int64_t n) {
  for (float* w : rows.w) {
    SgdKernel(alpha, w, g, n);
    g += n;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
HWY_EXPORT(SgdKernel);
HWY_EXPORT(SgdRowsKernel);

namespace {

class Sgd : public Rule {
 public:
  int state_per_weight() const override { return 0; }

  void Apply(const RuleStep& step, float* w, float*, const float* g, int64_t n) const override {
    HWY_DYNAMIC_DISPATCH(SgdKernel)(static_cast<float>(step.learning_rate), w, g, n);
  }
  void ApplyRows(const RuleStep& step, const RuleRows& rows, const float* g,
                 int64_t n) const override {
    HWY_DYNAMIC_DISPATCH(SgdRowsKernel)(static_cast<float>(step.learning_rate), rows, g, n);
  }
  void Apply(const RuleStep& step, double* w, double*, const double* g, int64_t n) const override {
    for (int64_t i = 0; i < n; ++i) w[i] -= step.learning_rate * g[i];
  }
};

PAGODA_REGISTER_RULE({
    .name = "sgd",
    .help = "Stochastic gradient descent.",
    .source = "Robbins & Monro, Ann. Math. Statist. 1951",
    .parameters = {},
    .make = [](const std::map<std::string, double>&) -> std::unique_ptr<Rule> {
      return std::make_unique<Sgd>();
    },
});

}  // namespace
}  // namespace pagoda
#endif  // HWY_ONCE
