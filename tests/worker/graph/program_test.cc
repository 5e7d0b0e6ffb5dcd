#include "worker/graph/program.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/worker/graph/cases.h"
#include "tests/worker/graph/sample.h"

namespace pagoda {
namespace {

std::unique_ptr<Program> MustCompile(Graph graph, Program::Options options = {}) {
  auto program = Program::Compile(std::move(graph), options);
  EXPECT_TRUE(program.ok()) << program.status();
  return *std::move(program);
}

// Products of k terms round to sqrt(k) eps in the norm; six layers of up to 264 columns, and sums
// over up to 600 rows, stay below 1e-5 = 84 eps.
constexpr double kTolerance = 1e-5;

class EveryGraph : public testing::TestWithParam<int> {
 protected:
  const GraphCase& graph_case() const { return GraphCases()[GetParam()]; }
};

TEST_P(EveryGraph, FastMatchesReference) {
  for (int width : {1, 7, 264}) {
    const Graph graph = graph_case().build(width);
    const auto program = MustCompile(graph);
    const ReferenceNetwork<double> reference(graph);
    const std::vector<float> parameters = StartingPoint(*program);
    for (int rows : {1, 63, 255, 256, 257, 600}) {
      SCOPED_TRACE(testing::Message() << "width " << width << " rows " << rows);
      const Sample sample = MakeSample(graph, rows);
      ExpectNear(RunFast(*program, sample, parameters), RunReference(reference, sample, parameters),
                 reference.parameters(), kTolerance);
    }
  }
}

TEST_P(EveryGraph, FusedMatchesUnfused) {
  const Graph graph = graph_case().build(31);
  const auto fused = MustCompile(graph);
  const auto unfused = MustCompile(graph, {.fuse_siblings = false});
  const ReferenceNetwork<float> names(graph);
  const std::vector<float> parameters = StartingPoint(*fused);
  const Sample sample = MakeSample(graph, 100);
  ExpectNear(RunFast(*fused, sample, parameters), RunFast(*unfused, sample, parameters),
             names.parameters(), kTolerance);
}

TEST_P(EveryGraph, PredictionDependsOnItsRowAlone) {
  const Graph graph = graph_case().build(264);
  const auto program = MustCompile(graph);
  const std::vector<float> parameters = StartingPoint(*program);
  const Sample all = MakeSample(graph, 521);
  const Outcome together = RunFast(*program, all, parameters);
  for (int first : {0, 1, 200, 255, 256, 400, 520}) {
    for (int rows : {1, 2, 64, 121}) {
      if (first + rows > all.rows) continue;
      Sample some = MakeSample(graph, rows);
      some.x.assign(all.x.begin() + first * 264, all.x.begin() + (first + rows) * 264);
      const Outcome alone = RunFast(*program, some, parameters);
      for (size_t head = 0; head < graph.heads().size(); ++head) {
        for (int r = 0; r < rows; ++r) {
          ASSERT_EQ(alone.predictions[head * rows + r],
                    together.predictions[head * all.rows + first + r])
              << "row " << first + r << " of " << rows << " from " << first;
        }
      }
    }
  }
}

TEST_P(EveryGraph, GapsHaveNoGradient) {
  const Graph graph = graph_case().build(7);
  const auto program = MustCompile(graph);
  const Sample sample = MakeSample(graph, 5);
  const std::vector<float> flat = Spread(*program, StartingPoint(*program));
  std::vector<float> gradients(flat.size(), 77.0f);
  RunArgs args = ArgsOf(sample, flat.data());
  args.gradients = gradients.data();
  program->NewRunner()->Run(args);
  for (const ParameterView& view : program->parameters()) {
    for (int r = 0; r < view.rows; ++r) {
      std::fill_n(gradients.begin() + view.offset + r * view.stride, view.columns, 0.0f);
    }
  }
  EXPECT_EQ(gradients, std::vector<float>(flat.size(), 0.0f));
}

TEST_P(EveryGraph, NoRowsGiveZeros) {
  const Graph graph = graph_case().build(7);
  const auto program = MustCompile(graph);
  const Outcome outcome = RunFast(*program, MakeSample(graph, 0), StartingPoint(*program));
  EXPECT_EQ(outcome.losses, std::vector<double>(outcome.losses.size(), 0.0));
  EXPECT_EQ(outcome.gradients, std::vector<double>(outcome.gradients.size(), 0.0));
}

INSTANTIATE_TEST_SUITE_P(Graphs, EveryGraph, testing::Range(0, int(GraphCases().size())),
                         [](const auto& info) { return GraphCases()[info.param].name; });

}  // namespace
}  // namespace pagoda
