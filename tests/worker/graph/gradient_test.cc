// The oracle itself, in double, against central differences of its own loss.
#include <gtest/gtest.h>

#include <set>

#include "tests/worker/graph/cases.h"
#include "tests/worker/graph/sample.h"
#include "worker/graph/heads.h"

namespace pagoda {
namespace {

struct Inputs {
  std::vector<double> x, parameters;
  std::vector<std::vector<double>> labels, weights;
};

// [parameter_count]: those called stopped/..., and statistics.
std::vector<bool> StoppedParameters(const ReferenceNetwork<double>& network) {
  std::vector<bool> stopped(network.parameter_count(), false);
  for (const ParameterView& view : network.parameters()) {
    if (view.name.rfind("stopped/", 0) != 0 && !view.is_statistic) continue;
    std::fill_n(stopped.begin() + view.offset, int64_t{view.rows} * view.columns, true);
  }
  return stopped;
}

class NumericGradient : public testing::TestWithParam<int> {};

// (L(v + h) - L(v - h)) / 2h is off by h^2 L''' / 6 and by eps L / h: at h = 1e-6 about 1e-12 and
// 1e-10. ReLU's kink is met with probability h per unit; the sample has none.
TEST_P(NumericGradient, MatchesDerivedOne) {
  constexpr double kStep = 1e-6, kTolerance = 1e-7;
  constexpr int kRows = 6, kWidth = 4;
  const Graph graph = GraphCases()[GetParam()].build(kWidth);
  const ReferenceNetwork<double> network(graph);
  Inputs in{.x = Uniform("x", kRows * kWidth),
            .parameters = Uniform("p", network.parameter_count()),
            .labels = {},
            .weights = {}};
  for (const ParameterView& view : network.parameters()) {
    if (!view.is_statistic) continue;  // A variance is not below 0.
    for (int c = 0; c < view.columns; ++c) in.parameters[view.offset + c] += 1.5;
  }
  for (const Graph::HeadSpec& head : graph.heads()) {
    if (!head.has_loss) continue;
    in.labels.push_back(Uniform(head.name + "/label", kRows));
    in.weights.push_back(Uniform(head.name + "/weight", kRows));
    for (double& label : in.labels.back()) label = 0.5 * (label + 1);  // Soft ones, too.
    in.weights.back()[2] = 0;
  }
  const auto run = [&] { return network.Run(kRows, in.x, in.parameters, in.labels, in.weights); };
  const auto loss = [&] {
    double sum = 0;
    for (double l : run().losses) sum += l;
    return sum;
  };
  const auto derived = run();
  const std::vector<bool> is_stopped = StoppedParameters(network);
  const auto check = [&](std::vector<double>& of, const std::vector<double>& gradient) {
    ASSERT_EQ(of.size(), gradient.size());
    for (size_t i = 0; i < of.size(); ++i) {
      if (&of == &in.parameters && is_stopped[i]) {
        EXPECT_EQ(gradient[i], 0);
        continue;
      }
      const double at = of[i];
      of[i] = at + kStep;
      const double above = loss();
      of[i] = at - kStep;
      const double below = loss();
      of[i] = at;
      EXPECT_NEAR(gradient[i], (above - below) / (2 * kStep), kTolerance) << i;
    }
  };
  check(in.parameters, derived.passes[0].gradients);
  if (!GraphCases()[GetParam()].stops) check(in.x, derived.passes[0].dx);
}

INSTANTIATE_TEST_SUITE_P(Graphs, NumericGradient, testing::Range(0, int(GraphCases().size())),
                         [](const auto& info) { return GraphCases()[info.param].name; });

// A node kind, activation or head kind without a case would go untested.
TEST(GraphCases, HoldEveryKind) {
  std::set<NodeKind> nodes;
  std::set<HeadKind> heads;
  std::set<Activation> activations;
  for (const GraphCase& c : GraphCases()) {
    const Graph graph = c.build(3);
    for (const Graph::Node& node : graph.nodes()) {
      nodes.insert(node.kind);
      activations.insert(node.activation);
    }
    for (const Graph::HeadSpec& head : graph.heads()) {
      heads.insert(head.kind);
    }
  }
  EXPECT_EQ(nodes.size(), size_t{kNodeKinds});
  EXPECT_EQ(heads.size(), size_t{kHeadKinds});
  EXPECT_EQ(activations.size(), size_t{Activation_ARRAYSIZE});
}

TEST(Heads, AgreeWithTheirDefinitionsAtModerateLogits) {
  for (double x : {-3.0, -0.5, 0.0, 2.0}) {
    for (double y : {-2.0, 0.25, 3.0}) {
      for (double label : {0.0, 0.3, 1.0}) {
        const double p = 1 / (1 + std::exp(-x)), q = p / (1 + std::exp(-y));
        const auto bce = [&](double p) {
          return -label * std::log(p) - (1 - label) * std::log(1 - p);
        };
        EXPECT_NEAR(HeadPrediction<double>(HeadKind::kProbability, x, y), p, 1e-15);
        EXPECT_NEAR(HeadPrediction<double>(HeadKind::kProduct, x, y), q, 1e-15);
        EXPECT_NEAR(LossOfHead<double>(HeadKind::kProbability, x, y, label).loss, bce(p), 1e-13);
        EXPECT_NEAR(LossOfHead<double>(HeadKind::kProduct, x, y, label).loss, bce(q), 1e-13);
        EXPECT_NEAR(LossOfHead<double>(HeadKind::kNumber, x, y, label).loss,
                    (x - label) * (x - label), 1e-13);
      }
    }
  }
}

TEST(Heads, AreFiniteAtExtremeLogits) {
  for (HeadKind kind : {HeadKind::kProbability, HeadKind::kProduct}) {
    for (float x : {-3e38f, -1e4f, -100.0f, 0.0f, 100.0f, 1e4f, 3e38f}) {
      for (float y : {-1e4f, -100.0f, 0.0f, 100.0f, 1e4f}) {
        for (float label : {0.0f, 1.0f}) {
          const auto l = LossOfHead<double>(kind, x, y, label);
          EXPECT_TRUE(std::isfinite(l.loss) && std::isfinite(l.dx) && std::isfinite(l.dy))
              << x << " " << y << " " << label;
          EXPECT_GE(l.loss, 0);
          EXPECT_LE(std::abs(l.dx), 1 + 1e-6);
          EXPECT_LE(std::abs(l.dy), 1 + 1e-6);
          const double p = HeadPrediction<double>(kind, x, y);
          EXPECT_TRUE(p >= 0 && p <= 1) << p;
        }
      }
    }
  }
}

// log(1 - p) by 1 - p itself would be -inf here.
TEST(Heads, ProductKeepsItsTailWhereBothAreSure) {
  const double x = 60, y = 61;
  const auto l = LossOfHead<double>(HeadKind::kProduct, x, y, 0.0);
  EXPECT_NEAR(l.loss, -std::log(std::exp(-x) + std::exp(-y)), 1e-9);
  EXPECT_NEAR(l.dx, std::exp(-x) / (std::exp(-x) + std::exp(-y)), 1e-9);
}

}  // namespace
}  // namespace pagoda
