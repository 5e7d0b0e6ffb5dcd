// Dynamic weight average (DWA).
//
// Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, eq. (7):
//   lambda_k(t) = K exp(w_k(t-1) / T) / sum_i exp(w_i(t-1) / T),  w_k(t-1) = L_k(t-1) / L_k(t-2),
// L_k(t) being the mean loss of window t (the paper's epoch). lambda_k = 1 in the first two
// windows. A task whose loss was 0 or that had no example in one of the two windows counts with
// w_k = 1.
#include <cmath>

#include "worker/train/weighting/weighting.h"

namespace pagoda {
namespace {

class DynamicWeightAverage : public Weighting {
 public:
  explicit DynamicWeightAverage(const WeightingArgs& args)
      : tasks_(args.tasks.size()),
        temperature_(args.parameters.at("temperature")),
        window_(args.parameters.at("window_steps") > 0
                    ? static_cast<int64_t>(args.parameters.at("window_steps"))
                    : args.steps_per_epoch) {
    state_.assign(2 + 4 * tasks_, 0.0);
  }

  void Weights(const WeightingStep& step, absl::Span<double> c) override {
    double sum = 0;
    for (size_t k = 0; k < tasks_; ++k) {
      c[k] = std::exp(Ratio(k) / temperature_);
      sum += c[k];
    }
    for (size_t k = 0; k < tasks_; ++k) {
      c[k] = !step.present[k] ? 0 : windows_done() < 2 ? 1 : tasks_ * c[k] / sum;
    }
  }

  void Observe(const WeightingStep& step) override {
    for (size_t k = 0; k < tasks_; ++k) {
      if (!step.present[k]) continue;
      Sum(k) += step.losses[k];
      Count(k) += 1;
    }
    if (++state_[0] < window_) return;
    state_[0] = 0;
    ++state_[1];
    for (size_t k = 0; k < tasks_; ++k) {
      Before(k) = Last(k);
      Last(k) = Count(k) > 0 ? Sum(k) / Count(k) : 0;
      Sum(k) = Count(k) = 0;
    }
  }

 private:
  double Ratio(size_t k) { return Before(k) > 0 && Last(k) > 0 ? Last(k) / Before(k) : 1; }
  // State: steps of this window | windows done | sums [K] | counts [K] | L(t-1) [K] | L(t-2) [K]
  double windows_done() const { return state_[1]; }
  double& Sum(size_t k) { return state_[2 + k]; }
  double& Count(size_t k) { return state_[2 + tasks_ + k]; }
  double& Last(size_t k) { return state_[2 + 2 * tasks_ + k]; }
  double& Before(size_t k) { return state_[2 + 3 * tasks_ + k]; }

  const size_t tasks_;
  const double temperature_;
  const int64_t window_;
};

PAGODA_REGISTER_WEIGHTING({
    .name = "dwa",
    .help = "dynamic weight average: more for tasks whose losses fall slowly",
    .source = "Liu, Johns, Davison, CVPR 2019, eq. (7)",
    .parameters = {{"temperature", 2, 1e-3, 1e12, "T: higher is more even"},
                   {"window_steps", 0, 0, 1e12, "steps of a window; 0: an epoch",
                    ParameterKind::kWhole}},
    .make = [](const WeightingArgs& args) -> std::unique_ptr<Weighting> {
      return std::make_unique<DynamicWeightAverage>(args);
    },
});

}  // namespace
}  // namespace pagoda
