// Losses by their formulas, against central differences and at extreme logits.
#include "worker/graph/heads.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "worker/graph/losses.h"

namespace pagoda {
namespace {

Graph::HeadSpec Spec(TaskConfig::Loss loss, int classes = 3) {
  TaskConfig task;
  task.set_loss(loss);
  if (loss == TaskConfig::SOFTMAX) task.set_classes(classes);
  task.set_huber_delta(1.5);
  task.set_focal_gamma(2.5);
  task.set_focal_alpha(0.3);
  Graph::HeadSpec head;
  SetLoss(task, &head);
  return head;
}

struct Result {
  double loss;
  std::vector<double> dx;
};

Result Evaluate(const Graph::HeadSpec& head, int width, const std::vector<double>& x,
                const std::vector<double>& labels, std::vector<double> weights = {}) {
  weights.resize(labels.size(), 1.0);
  Result result{0, std::vector<double>(x.size(), 77.0)};
  result.loss = LossOfRows<double>(head, {.rows = static_cast<int>(labels.size()),
                                          .width = width,
                                          .x = x.data(),
                                          .labels = labels.data(),
                                          .weights = weights.data(),
                                          .dx = result.dx.data()});
  return result;
}

double One(TaskConfig::Loss loss, double x, double label) {
  return Evaluate(Spec(loss), 1, {x}, {label}).loss;
}

TEST(Losses, EveryOneHasALine) {
  for (int i = TaskConfig::Loss_MIN; i <= TaskConfig::Loss_MAX; ++i) {
    const LossInfo& info = LossOf(static_cast<TaskConfig::Loss>(i));
    EXPECT_EQ(info.loss, i);
    EXPECT_STRNE(info.help, "");
    EXPECT_STRNE(info.source, "");
  }
}

TEST(Losses, AreTheirFormulas) {
  for (const double x : {-2.0, -0.25, 0.5, 3.0}) {
    const double p = 1 / (1 + std::exp(-x));
    EXPECT_NEAR(One(TaskConfig::HUBER, x, 0),
                std::abs(x) <= 1.5 ? x * x / 2 : 1.5 * std::abs(x) - 1.125, 1e-14);
    EXPECT_NEAR(One(TaskConfig::POISSON, x, 4), std::exp(x) - 4 * x - 4 + 4 * std::log(4), 1e-13);
    EXPECT_NEAR(One(TaskConfig::POISSON, x, 0), std::exp(x), 1e-13);
    EXPECT_NEAR(One(TaskConfig::LOG_NORMAL, x, 4), std::pow(x - std::log(4), 2), 1e-14);
    EXPECT_NEAR(One(TaskConfig::FOCAL, x, 1), -0.3 * std::pow(1 - p, 2.5) * std::log(p), 1e-14);
    EXPECT_NEAR(One(TaskConfig::FOCAL, x, 0), -0.7 * std::pow(p, 2.5) * std::log(1 - p), 1e-14);
    const double sum = std::exp(x) + std::exp(1.0) + std::exp(-1.0);
    EXPECT_NEAR(Evaluate(Spec(TaskConfig::SOFTMAX), 3, {x, 1, -1}, {0}).loss, std::log(sum) - x,
                1e-14);
  }
}

// Weightings take its logarithm.
TEST(Losses, PoissonIsNeverNegativeAndZeroAtTheLabel) {
  for (const double label : {0.0, 0.5, 1.0, 3.0, 1e6}) {
    for (double x = -30; x <= 30; x += 0.37) {
      EXPECT_GE(One(TaskConfig::POISSON, x, label), 0) << x << " " << label;
    }
    if (label == 0) continue;
    EXPECT_NEAR(One(TaskConfig::POISSON, std::log(label), label), 0, 1e-9);
    for (const float off : {0.0f, 1e-4f, -1e-4f, 1e-7f, 0.1f}) {
      const float x = std::log(static_cast<float>(label)) + off;
      EXPECT_GE(LossOfHead(HeadKind::kPoisson, x, 0.0f, static_cast<float>(label)).loss, 0) << off;
    }
  }
}

TEST(Losses, FocalWithoutFocusIsHalfOfCrossEntropy) {
  TaskConfig task;
  task.set_loss(TaskConfig::FOCAL);
  task.set_focal_gamma(0);
  task.set_focal_alpha(0.5);
  Graph::HeadSpec head;
  SetLoss(task, &head);
  for (const double label : {0.0, 1.0}) {
    const Result focal = Evaluate(head, 1, {0.7}, {label});
    const Result bce = Evaluate(Spec(TaskConfig::BCE), 1, {0.7}, {label});
    EXPECT_DOUBLE_EQ(focal.loss, bce.loss / 2);
    EXPECT_DOUBLE_EQ(focal.dx[0], bce.dx[0] / 2);
  }
}

TEST(Losses, PairsOfAWindowByHand) {
  // Row 3 has no weight: it is nobody's partner. Rows 0 and 2 each have one partner, row 1 two.
  const std::vector<double> x = {0.5, -0.25, 1.5, 9}, labels = {0, 1, 0, 1};
  const Result r = Evaluate(Spec(TaskConfig::PAIRWISE), 1, x, labels, {1, 2, 1, 0});
  const auto softplus = [](double z) { return std::log1p(std::exp(z)); };
  const double a = softplus(0.75), b = softplus(1.75);
  EXPECT_NEAR(r.loss, a + b + 2 * (a + b) / 2, 1e-14);
  EXPECT_EQ(r.dx[3], 0);
  EXPECT_NEAR(r.dx[0] + r.dx[1] + r.dx[2], 0, 1e-15);  // Only differences count.
  // Nobody to compare with: no loss.
  EXPECT_EQ(Evaluate(Spec(TaskConfig::PAIRWISE), 1, {1, 2}, {1, 1}).loss, 0);
  EXPECT_EQ(Evaluate(Spec(TaskConfig::PAIRWISE), 1, {1}, {1}).loss, 0);
  EXPECT_EQ(Evaluate(Spec(TaskConfig::PAIRWISE), 1, {}, {}).loss, 0);
}

// (L(x + h) - L(x - h)) / 2h with h = 1e-6 max(1, |x|): errors h^2 L''' / 6 and eps L / h, both
// below 1e-8 of the loss's size.
void CheckGradient(TaskConfig::Loss loss, const std::vector<double>& x, int width,
                   const std::vector<double>& labels) {
  const Graph::HeadSpec head = Spec(loss);
  std::vector<double> weights(labels.size(), 1.0);
  weights[0] = 0.5;
  const Result at = Evaluate(head, width, x, labels, weights);
  for (size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-6 * std::max(1.0, std::abs(x[i]));
    std::vector<double> above = x, below = x;
    above[i] += h;
    below[i] -= h;
    const double numeric = (Evaluate(head, width, above, labels, weights).loss -
                            Evaluate(head, width, below, labels, weights).loss) /
                           (2 * h);
    EXPECT_NEAR(at.dx[i], numeric, 1e-7 * (1 + std::abs(at.loss)))
        << TaskConfig::Loss_Name(loss) << " " << i;
  }
}

TEST(Losses, GradientsMatchDifferencesFarFromZeroToo) {
  for (const LossInfo& info : Losses()) {
    const bool classes = info.loss == TaskConfig::SOFTMAX;
    for (const double scale : {0.5, 3.0, 30.0, 200.0}) {
      if (info.loss == TaskConfig::POISSON && scale > 30) continue;  // e^200 has no digits left.
      const std::vector<double> x = {-1.1 * scale, 0.9 * scale,  0.2 * scale,
                                     0.7 * scale,  -0.3 * scale, 0.1 * scale};
      CheckGradient(
          info.loss, x, classes ? 3 : 1,
          classes ? std::vector<double>{0, 2} : std::vector<double>{1, 0.5, 1, 1, 0.25, 1});
    }
  }
}

TEST(Losses, AreFiniteAtEveryFloat) {
  for (const LossInfo& info : Losses()) {
    if (info.loss == TaskConfig::POISSON) continue;  // e^x is not.
    const int width = info.loss == TaskConfig::SOFTMAX ? 3 : 1;
    for (const double a : {-3e38, -1e4, -100.0, 0.0, 100.0, 1e4, 3e38}) {
      for (const double label : {0.0, 1.0}) {
        if (info.loss == TaskConfig::LOG_NORMAL && label == 0) continue;
        const Result r = width == 3
                             ? Evaluate(Spec(info.loss), 3, {a, 1, -a}, {label})
                             : Evaluate(Spec(info.loss), 1, {a, 0.5 * a}, {label, 1 - 0.5 * label});
        EXPECT_TRUE(std::isfinite(r.loss)) << TaskConfig::Loss_Name(info.loss) << " " << a;
        EXPECT_GE(r.loss, 0);
        for (const double d : r.dx) EXPECT_TRUE(std::isfinite(d)) << a;
      }
    }
  }
}

TEST(Losses, PredictionsAreInTheirUnits) {
  const auto predict = [](TaskConfig::Loss loss, double x) {
    return PredictionOfRow<double>(Spec(loss), &x, 1, 0);
  };
  EXPECT_DOUBLE_EQ(predict(TaskConfig::POISSON, 2), std::exp(2));
  EXPECT_DOUBLE_EQ(predict(TaskConfig::LOG_NORMAL, 2), std::exp(2));
  EXPECT_DOUBLE_EQ(predict(TaskConfig::FOCAL, 0), 0.5);
  EXPECT_DOUBLE_EQ(predict(TaskConfig::HUBER, -3), -3);
  EXPECT_DOUBLE_EQ(predict(TaskConfig::PAIRWISE, -3), -3);
  const std::vector<double> x = {1000, 1002, 1001};
  EXPECT_EQ(PredictionOfRow<double>(Spec(TaskConfig::SOFTMAX), x.data(), 3, 0), 1);
  Graph::HeadSpec of_class{
      .name = "", .kind = HeadKind::kClass, .x = {}, .y = {}, .has_loss = false};
  double sum = 0;
  for (int c = 0; c < 3; ++c) {
    of_class.parameter = c;
    sum += PredictionOfRow<double>(of_class, x.data(), 3, 0);
  }
  EXPECT_NEAR(sum, 1, 1e-15);
  EXPECT_NEAR(PredictionOfRow<double>(of_class, x.data(), 3, 0),
              std::exp(1) / (std::exp(0) + std::exp(2) + std::exp(1)), 1e-15);
}

TEST(DoublyRobust, TheImputationLearnsFromAGivenPrediction) {
  const double floor = 0.05, h = 1e-6;
  for (const double label : {0.0, 1.0}) {
    for (const double imputed : {-0.5, 0.2, 3.0}) {
      const double x[] = {0.7, -1.2, imputed};
      const HeadLoss<double> robust = DoublyRobustLoss(x, label, floor);
      EXPECT_EQ(robust.dx, InversePropensityLoss(x, label, floor).dx);
      const double above[] = {x[0], x[1], imputed + h}, below[] = {x[0], x[1], imputed - h};
      const double slope = (DoublyRobustLoss(above, label, floor).loss -
                            DoublyRobustLoss(below, label, floor).loss) /
                           (2 * h);
      EXPECT_NEAR(robust.dy, slope, 1e-6);
    }
  }
}

}  // namespace
}  // namespace pagoda
