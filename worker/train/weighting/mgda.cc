// Multiple-gradient descent (MGDA): the shortest vector in the convex hull of the tasks' gradients.
//
// Desideri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", 2012;
// Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, eq. (3) and
// algorithm 2: min |sum_k alpha_k g_k|^2 over alpha_k >= 0, sum alpha_k = 1, by Frank-Wolfe with
// exact line search; of two tasks, that is exact after one search (algorithm 1). Only inner
// products of the gradients are needed.
//
// Deviation: a search moves weight from the worst corner that has some to the best one (pairwise
// steps: Lacoste-Julien, Jaggi, NeurIPS 2015, algorithm 2), not from all corners alike. The error
// then falls as a power of the searches; the paper's steps leave up to 0.3 % of the greatest
// |g_k|^2 after the 250 searches of its code, of 3 random gradients of 8 numbers.
#include <algorithm>
#include <cmath>

#include "worker/train/weighting/weighting.h"

namespace pagoda {
namespace {

// 7 random gradients of 8 numbers take up to 452, 3 take up to 54; each is K^2 products.
constexpr int kMaxSearches = 1000;
constexpr double kSmallMove = 1e-12;  // Of alpha: below what a float gradient shows.

class Mgda : public Weighting {
 public:
  explicit Mgda(const WeightingArgs& args) : tasks_(args.tasks.size()) {}

  WeightingNeeds needs() const override { return WeightingNeeds::kSharedGram; }
  bool weighs_losses() const override { return false; }

  void Weights(const WeightingStep& step, absl::Span<double> alpha) override {
    double present = 0;
    for (size_t k = 0; k < tasks_; ++k) present += step.present[k];
    for (size_t k = 0; k < tasks_; ++k) alpha[k] = step.present[k] ? 1 / present : 0;
    for (int i = 0; i < kMaxSearches && Search(step, alpha) > kSmallMove; ++i) {
    }
  }

 private:
  // One line search from v = sum alpha_k g_k along g_t - g_s: t has least <g_t, v>, s most of those
  // with alpha_s > 0. Returns how far alpha was to move: s has no more than alpha_s to give.
  double Search(const WeightingStep& step, absl::Span<double> alpha) const {
    std::vector<double> along(tasks_, 0.0);  // <g_k, v>
    for (size_t k = 0; k < tasks_; ++k) {
      for (size_t m = 0; m < tasks_; ++m) along[k] += alpha[m] * step.gram[m * tasks_ + k];
    }
    size_t t = tasks_, s = tasks_;
    for (size_t k = 0; k < tasks_; ++k) {
      if (!step.present[k]) continue;
      if (t == tasks_ || along[k] < along[t]) t = k;
      if (alpha[k] > 0 && (s == tasks_ || along[k] > along[s])) s = k;
    }
    if (t == tasks_ || s == tasks_) return 0;
    // |v + gamma (g_t - g_s)|^2 is least at gamma = <g_s - g_t, v> / |g_s - g_t|^2.
    const auto g = [&](size_t i, size_t j) { return step.gram[i * tasks_ + j]; };
    const double apart2 = g(s, s) - 2 * g(s, t) + g(t, t);
    if (!(apart2 > 0)) return 0;
    const double gamma = (along[s] - along[t]) / apart2;
    const double move = std::clamp(gamma, 0.0, alpha[s]);
    alpha[s] -= move;
    alpha[t] += move;
    return gamma;
  }

  const size_t tasks_;
};

PAGODA_REGISTER_WEIGHTING({
    .name = "mgda",
    .help = "the shortest combination of the tasks' gradients: descends for all of them",
    .source = "Sener and Koltun, NeurIPS 2018, algorithm 2",
    .parameters = {},
    .make = [](const WeightingArgs& args) -> std::unique_ptr<Weighting> {
      return std::make_unique<Mgda>(args);
    },
});

}  // namespace
}  // namespace pagoda
