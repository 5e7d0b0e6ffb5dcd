#include "worker/graph/gates.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/worker/graph/sample.h"

namespace pagoda {
namespace {

Graph TwoGates(bool with_elements) {
  Graph g(4);
  const ExpertGroup own = g.Experts("a/experts", g.Input(), 2, {6, 3}, RELU);
  const ExpertGroup shared = g.Experts("shared", g.Input(), 3, {5, 3}, RELU);
  for (const std::string k : {"a", "b"}) {
    const Value gate = g.Softmax(g.Dense(k + "/gate", g.Input(), 5));
    g.Head(k, HeadKind::kNumber, g.Dense(k + "/out", g.Mixture(gate, {own, shared}), 1));
  }
  if (with_elements) AddGateElements(&g);
  return g;
}

TEST(Gates, ElementsAreNamedAfterGateAndExpert) {
  const Graph graph = TwoGates(true);
  std::vector<std::string> gates, experts;
  for (const Graph::HeadSpec& head : graph.heads()) {
    if (!IsGateElement(head)) continue;
    EXPECT_FALSE(head.reported || head.has_loss);
    gates.push_back(SplitGateElementName(head.name).gate);
    experts.push_back(SplitGateElementName(head.name).expert);
  }
  ASSERT_EQ(gates.size(), 10u);
  EXPECT_EQ(gates[0], "a/gate");
  EXPECT_EQ(gates[9], "b/gate");
  EXPECT_EQ(experts[0], "a/experts/0");
  EXPECT_EQ(experts[4], "shared/2");
}

// DSelect-k's gate is a mixture of selectors, or one alone; the experts' shares are its outcome.
class SelectorGates : public testing::TestWithParam<int> {};

TEST_P(SelectorGates, ShowExpertsNotSelectors) {
  const int selectors = GetParam();
  Graph g(4);
  const ExpertGroup experts = g.Experts("experts", g.Input(), 4, {5, 3}, RELU);
  const Value z = g.Dense("a/gate/selectors", g.Input(), selectors * 2);
  const Value alpha = g.Softmax(g.Dense("a/gate/weights", g.Input(), selectors));
  const Value gate = g.Mixture(alpha, {ExpertGroup{g.Selector(z, selectors, 1.0), selectors}});
  g.Head("a", HeadKind::kNumber, g.Dense("a/out", g.Mixture(gate, {experts}), 1));
  AddGateElements(&g);
  std::vector<std::string> names;
  for (const Graph::HeadSpec& head : g.heads()) {
    if (!IsGateElement(head)) continue;
    names.push_back(head.name);
    EXPECT_EQ(head.x.node, gate.node);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"a/gate <- experts/0", "a/gate <- experts/1",
                                             "a/gate <- experts/2", "a/gate <- experts/3"}));
  const auto program = MustCompile(g);
  const Sample sample = MakeSample(g, 70);
  const Outcome outcome = RunFast(*program, sample, StartingPoint(*program));
  ASSERT_EQ(outcome.predictions.size(), 5u * 70);
  for (int r = 0; r < 70; ++r) {
    double sum = 0;
    for (int e = 0; e < 4; ++e) {
      const float share = outcome.predictions[(1 + e) * 70 + r];
      EXPECT_TRUE(share >= 0 && share <= 1) << share;
      sum += share;
    }
    EXPECT_NEAR(sum, 1, 1e-6) << r;
  }
}

INSTANTIATE_TEST_SUITE_P(Gates, SelectorGates, testing::Values(1, 2));

TEST(Gates, ElementsOfARowAddUpToOneAndChangeNoBit) {
  const auto plain = MustCompile(TwoGates(false)), watched = MustCompile(TwoGates(true));
  const Sample sample = MakeSample(TwoGates(false), 300);
  const std::vector<float> start = StartingPoint(*plain);
  const Outcome a = RunFast(*plain, sample, start), b = RunFast(*watched, sample, start);
  EXPECT_EQ(a.gradients, b.gradients);
  EXPECT_EQ(a.dx, b.dx);
  EXPECT_EQ(a.losses, b.losses);
  ASSERT_EQ(b.predictions.size(), 12u * 300);
  for (int r = 0; r < 300; ++r) {
    double sum = 0;
    for (int e = 0; e < 5; ++e) sum += b.predictions[(2 + e) * 300 + r];
    EXPECT_NEAR(sum, 1, 1e-6) << r;
  }
}

}  // namespace
}  // namespace pagoda
