// GradNorm.
//
// Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss
// Balancing in Deep Multitask Networks", ICML 2018, eq. (1)-(2) and algorithm 1:
//   G_k = |grad_W w_k L_k| = w_k |g_k|,  Gbar = mean of G_k,
//   r_k = (L_k / L_k(0)) / mean of the same,
//   L_grad = sum_k |G_k - Gbar r_k^alpha|, the targets taken as constants,
// one gradient step on the w_k, which are then scaled to sum to K. W is a named group of dense
// parameters (the paper: the last shared layer). Deviation: a plain gradient step of its own rate
// instead of the network's optimizer. L_k(0) is the loss of the first step that had task k. All of
// this is among the tasks of the step: absent ones keep their w_k.
#include <algorithm>
#include <cmath>

#include "worker/train/weighting/weighting.h"

namespace pagoda {
namespace {

constexpr double kSmallestWeight = 1e-3;  // A weight that a step would bring to 0 or below.

class GradNorm : public Weighting {
 public:
  explicit GradNorm(const WeightingArgs& args)
      : tasks_(args.tasks.size()),
        alpha_(args.parameters.at("alpha")),
        rate_(args.parameters.at("rate")) {
    for (const WeightingTask& task : args.tasks) names_.push_back("w/" + task.name);
    state_.assign(2 * tasks_, 0.0);
    std::fill_n(state_.begin(), tasks_, 1.0);
  }

  WeightingNeeds needs() const override { return WeightingNeeds::kGroupGram; }

  void Weights(const WeightingStep& step, absl::Span<double> c) override {
    for (size_t k = 0; k < tasks_; ++k) c[k] = step.present[k] ? state_[k] : 0;
  }

  void Observe(const WeightingStep& step) override {
    std::vector<size_t> here;
    double wanted = tasks_;  // Of the weights here: all K sum to K.
    for (size_t k = 0; k < tasks_; ++k) {
      if (!step.present[k] || !(step.losses[k] > 0)) {
        wanted -= state_[k];
        continue;
      }
      if (FirstLoss(k) == 0) FirstLoss(k) = step.losses[k];
      here.push_back(k);
    }
    if (here.empty()) return;
    double mean_norm = 0, mean_ratio = 0;
    for (const size_t k : here) {
      mean_norm += state_[k] * Norm(step, k) / here.size();
      mean_ratio += step.losses[k] / FirstLoss(k) / here.size();
    }
    for (const size_t k : here) {
      const double r = step.losses[k] / FirstLoss(k) / mean_ratio;
      const double off = state_[k] * Norm(step, k) - mean_norm * std::pow(r, alpha_);
      const double slope = (off > 0) - (off < 0);
      state_[k] = std::max(kSmallestWeight, state_[k] - rate_ * slope * Norm(step, k));
    }
    double sum = 0;
    for (const size_t k : here) sum += state_[k];
    for (const size_t k : here) state_[k] *= wanted / sum;
  }

  std::vector<std::string> state_names() const override { return names_; }

 private:
  double Norm(const WeightingStep& step, size_t k) const {
    return std::sqrt(step.gram[k * tasks_ + k]);
  }
  // State: w [K] | L(0) [K], 0 until it is known
  double& FirstLoss(size_t k) { return state_[tasks_ + k]; }

  const size_t tasks_;
  const double alpha_, rate_;
  std::vector<std::string> names_;
};

PAGODA_REGISTER_WEIGHTING({
    .name = "gradnorm",
    .help = "weights that even out the tasks' gradient norms on a named group",
    .source = "Chen et al., ICML 2018, eq. (1)-(2)",
    .parameters = {{"alpha", 1.5, 0, 10, "strength of the pull towards equal training rates"},
                   {"rate", 0.025, 0, 10, "of the step on the weights; 0: they stay 1"}},
    .make = [](const WeightingArgs& args) -> std::unique_ptr<Weighting> {
      return std::make_unique<GradNorm>(args);
    },
});

}  // namespace
}  // namespace pagoda
