// Uncertainty weighting (UWL).
//
// Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
// and Semantics", CVPR 2018, with s = log sigma^2 as its section 3.2 advises:
//   L = sum over regression tasks e^-s_k L_k + sum over classification tasks 2 e^-s_k L_k
//       + sum s_k,
// twice the paper's eq. (7) and (10), with L_k the mean squared error without its 1/2, or the cross
// entropy. The s_k start at 0 and move with the rule and rate of the dense parameters, each by its
// own step count, without decay or clipping. With the network at rest s_k goes to log L_k
// (regression) and log 2 L_k (classification).
#include <cmath>

#include "worker/train/weighting/weighting.h"

namespace pagoda {
namespace {

class UncertaintyWeighting : public Weighting {
 public:
  explicit UncertaintyWeighting(const WeightingArgs& args)
      : tasks_(args.tasks),
        is_frozen_(args.parameters.at("frozen") != 0),
        rate_(args.parameters.at("rate")),
        rule_(args.rule),
        states_(rule_ == nullptr ? 0 : rule_->dense_state_arrays()) {
    state_.assign(tasks_.size() * (2 + states_), 0.0);
    for (size_t k = 0; rule_ != nullptr && k < tasks_.size(); ++k)
      rule_->InitState(RuleState(k), 1);
  }

  void Weights(const WeightingStep& step, absl::Span<double> c) override {
    for (size_t k = 0; k < c.size(); ++k) c[k] = step.present[k] ? WeightOf(k) : 0;
  }

  void Observe(const WeightingStep& step) override {
    if (is_frozen_) return;
    for (size_t k = 0; k < tasks_.size(); ++k) {
      if (!step.present[k]) continue;
      double& s = state_[k];
      const double gradient = 1 - WeightOf(k) * step.losses[k];
      double& taken = state_[tasks_.size() + k];
      taken += 1;
      const double rate = rate_ > 0 ? rate_ : step.learning_rate;
      rule_->Apply({.step = static_cast<int64_t>(taken), .learning_rate = rate}, &s, RuleState(k),
                   &gradient, 1);
    }
  }

  std::vector<std::string> state_names() const override {
    std::vector<std::string> names;
    for (const WeightingTask& task : tasks_) names.push_back("s/" + task.name);
    return names;
  }

 private:
  double WeightOf(size_t k) const {
    return (tasks_[k].is_regression ? 1 : 2) * std::exp(-state_[k]);
  }
  // State: s [K] | steps taken [K] | the rule's [K, states]
  double* RuleState(size_t k) { return state_.data() + 2 * tasks_.size() + k * states_; }

  const std::vector<WeightingTask> tasks_;
  const bool is_frozen_;
  const double rate_;
  const std::shared_ptr<const Rule> rule_;
  const int states_;
};

PAGODA_REGISTER_WEIGHTING({
    .name = "uwl",
    .help = "uncertainty weighting: a learned log variance s a task",
    .source = "Kendall, Gal, Cipolla, CVPR 2018, eq. (7), (10)",
    .parameters = {{"frozen", 0, 0, 1,
                    "1: s stays 0, weights 1 (regression) and 2 (classification)",
                    ParameterKind::kFlag},
                   {"rate", 0, 0, 10, "learning rate of s; 0: that of the dense parameters"}},
    .make = [](const WeightingArgs& args) -> std::unique_ptr<Weighting> {
      return std::make_unique<UncertaintyWeighting>(args);
    },
    .learns_by_rule = true,
});

}  // namespace
}  // namespace pagoda
