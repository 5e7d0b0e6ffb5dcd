#include "worker/graph/batch_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tests/worker/graph/sample.h"
#include "worker/graph/program.h"

namespace pagoda {
namespace {

constexpr int kWidth = 9;

// Two layers deep, experts of two blocks, and a task with one layer more than the other: BatchNorms
// of five depths, forward and backward. `others` adds a task.
Graph BatchNormGraph(bool others = true) {
  Graph g(kWidth);
  LayerStyle style(TANH);
  style.normalization = ModelConfig::BATCH;
  style.batch_norm.set_epsilon(1e-3);
  style.batch_norm.set_momentum(0.25);
  const Value x = g.Mlp("bottom", g.Input(), {7, 6}, style);
  const ExpertGroup e = g.Experts("e", x, 2, {5}, style);
  g.Head("a", HeadKind::kProbability, g.Dense("a/out", g.Mlp("a", e.value, {4}, style), 1));
  if (!others) return g;
  const Value deep = g.Mlp("b", e.value, {6, 3}, style);
  g.Head("b", HeadKind::kNumber, g.Dense("b/out", g.Concat({deep, g.Input()}), 1));
  return g;
}

constexpr StepContext kTraining = {.training = true};

struct Given {
  std::vector<std::vector<float>> predictions;  // [head][R]
  std::vector<std::vector<float>> gradients;    // [pass][P]
  std::vector<std::vector<float>> dx;           // [pass]
  std::vector<double> losses, statistics;
};

// A lane, cut at rows `cuts`, in stages that all its slices end before one begins the next.
Given RunLane(const Program& program, const Sample& sample, const std::vector<float>& flat,
              std::vector<int> cuts) {
  const int slices = static_cast<int>(cuts.size()) + 1;
  cuts.insert(cuts.begin(), 0);
  cuts.push_back(sample.rows);
  const int heads = static_cast<int>(program.heads().size()), passes = program.pass_count();
  Given given{.predictions = std::vector(heads, std::vector<float>(sample.rows)),
              .gradients = std::vector(passes, std::vector<float>(flat.size())),
              .dx = std::vector(passes, std::vector<float>(sample.x.size(), 77.0f)),
              .losses = std::vector<double>(heads),
              .statistics = std::vector<double>(StatisticsSize(program.batch_norms()))};
  std::vector<std::unique_ptr<Runner>> runners;
  std::vector<RunArgs> args;
  std::vector<std::vector<double>> losses(slices, std::vector<double>(heads));
  std::vector<std::vector<std::vector<float>>> gradients(
      slices, std::vector(passes, std::vector<float>(flat.size(), 77.0f)));
  for (int s = 0; s < slices; ++s) {
    runners.push_back(program.NewRunner());
    RunArgs& one = args.emplace_back(ArgsOf(sample, flat.data()));
    one.rows = cuts[s + 1] - cuts[s];
    one.x += cuts[s] * kWidth;
    for (auto* pointers : {&one.labels, &one.loss_weights}) {
      for (const float*& pointer : *pointers) pointer += cuts[s];
    }
    one.context = kTraining;
    one.losses = losses[s].data();
    for (auto& of_head : given.predictions) one.predictions.push_back(of_head.data() + cuts[s]);
    for (int p = 0; p < passes; ++p) {
      one.passes.push_back(
          {.gradients = gradients[s][p].data(), .dx = given.dx[p].data() + cuts[s] * kWidth});
    }
  }
  std::vector<double> lane;
  for (size_t stage = 0; stage < program.stages().size(); ++stage) {
    const int sums = program.stages()[stage].sums;
    std::vector<double> next(sums), own(sums);
    for (int s = 0; s < slices; ++s) {
      runners[s]->RunStage(static_cast<int>(stage), args[s], lane.data(), own.data());
      for (int i = 0; i < sums; ++i) next[i] += own[i];
    }
    lane = next;
    if (program.stages()[stage].pass < 0 && sums > 0) {
      AddStatistics(program.batch_norms(), static_cast<int>(stage), lane.data(),
                    given.statistics.data());
    }
  }
  for (int s = 0; s < slices; ++s) {
    for (int h = 0; h < heads; ++h) given.losses[h] += losses[s][h];
    for (int p = 0; p < passes; ++p) {
      for (size_t i = 0; i < flat.size(); ++i) given.gradients[p][i] += gradients[s][p][i];
    }
  }
  return given;
}

std::vector<double> ToDouble(const std::vector<float>& v) { return {v.begin(), v.end()}; }

ReferenceNetwork<double>::Result RunOracle(const Graph& graph, const Sample& sample,
                                           const std::vector<float>& packed) {
  std::vector<std::vector<double>> labels, weights;
  for (const auto& v : sample.labels) labels.push_back(ToDouble(v));
  for (const auto& v : sample.weights) weights.push_back(ToDouble(v));
  const ReferenceNetwork<double> network(graph);
  return network.Run(sample.rows, ToDouble(sample.x), ToDouble(packed), labels, weights, kTraining);
}

void ExpectClose(const std::vector<double>& a, const std::vector<double>& b, double tolerance,
                 const std::string& what) {
  EXPECT_LE(Distance(a, b), tolerance * Norm(b)) << what;
}

// One slice or several, of one tile, of several, of a padded one: all are the oracle's lane.
TEST(BatchNorm, StagesMatchReference) {
  const Graph graph = BatchNormGraph();
  const auto program = MustCompile(graph);
  const std::vector<float> packed = StartingPoint(*program), flat = Spread(*program, packed);
  const ReferenceNetwork<double> network(graph);
  const std::vector<std::pair<int, std::vector<int>>> lanes = {
      {2, {}}, {3, {1}}, {65, {}}, {300, {1, 290}}, {700, {300}}, {256, {0, 128, 256}}};
  for (const auto& [rows, cuts] : lanes) {
    SCOPED_TRACE(rows);
    const Sample sample = MakeSample(graph, rows);
    const Given given = RunLane(*program, sample, flat, cuts);
    const auto expected = RunOracle(graph, sample, packed);
    // Of two rows, xhat is +-1 whatever x is: what is left of dx are differences of like numbers.
    const double tolerance = rows == 2 ? 1e-3 : 2e-5;
    std::vector<double> predictions;
    for (const auto& of_head : given.predictions) {
      predictions.insert(predictions.end(), of_head.begin(), of_head.end());
    }
    ExpectClose(predictions, expected.predictions, tolerance, "predictions");
    ExpectClose(given.losses, expected.losses, tolerance, "losses");
    ExpectClose(ToDouble(given.dx[0]), expected.passes[0].dx, tolerance, "dx");
    ExpectClose(Pack(*program, given.gradients[0]), expected.passes[0].gradients, tolerance,
                "gradients");

    std::vector<float> moved = flat;
    MoveStatistics(
        program->batch_norms(), given.statistics.data(), [](const std::string&) { return true; },
        moved.data());
    const std::vector<double> after = Pack(*program, moved);
    for (const ParameterView& view : network.parameters()) {
      for (int i = view.offset; i < view.offset + int64_t{view.rows} * view.columns; ++i) {
        const double from = packed[i], to = expected.statistics[i];
        const double wanted = view.is_statistic ? from + 0.25 * (to - from) : from;
        EXPECT_NEAR(after[i], wanted, 1e-5 * (1 + std::abs(wanted))) << view.name;
        EXPECT_TRUE(!view.is_statistic || expected.passes[0].gradients[i] == 0) << view.name;
      }
    }
  }
}

// Run takes its slice for the lane, and gives the bits of one slice in stages.
TEST(BatchNorm, RunIsALaneOfOneSlice) {
  const Graph graph = BatchNormGraph();
  const auto program = MustCompile(graph);
  const std::vector<float> flat = Spread(*program, StartingPoint(*program));
  const auto runner = program->NewRunner();
  for (int rows : {300, 70, 700}) {
    const Sample sample = MakeSample(graph, rows);
    std::vector<float> gradients(flat.size(), 77.0f), dx(sample.x.size(), 77.0f);
    std::vector<double> losses(2);
    RunArgs args = ArgsOf(sample, flat.data());
    args.context = kTraining;
    args.losses = losses.data();
    args.passes = {{.gradients = gradients.data(), .dx = dx.data()}};
    runner->Run(args);
    const Given given = RunLane(*program, sample, flat, {});
    EXPECT_EQ(losses, given.losses);
    EXPECT_EQ(gradients, given.gradients[0]);
    EXPECT_EQ(dx, given.dx[0]);
  }
}

// The oracle in training, against central differences; as gradient_test.cc.
TEST(BatchNorm, DerivedGradientMatchesDifferences) {
  const Graph graph = BatchNormGraph();
  const ReferenceNetwork<double> network(graph);
  constexpr int kRows = 5;
  constexpr double kStep = 1e-6;
  std::vector<double> x = Uniform("x", kRows * kWidth), p = Uniform("p", network.parameter_count());
  const std::vector<std::vector<double>> labels = {{0, 1, 1, 0, 1}, {1, -1, 0.5, 2, 0}};
  const std::vector<std::vector<double>> weights = {{1, 2, 0, 1, 0.5}, {0.5, 1, 1, 0, 1}};
  const auto run = [&] { return network.Run(kRows, x, p, labels, weights, kTraining); };
  const auto loss = [&] {
    const auto result = run();
    return result.losses[0] + result.losses[1];
  };
  const auto derived = run().passes[0];
  const auto check = [&](std::vector<double>* of, const std::vector<double>& gradient) {
    for (size_t i = 0; i < of->size(); ++i) {
      const double at = (*of)[i];
      (*of)[i] = at + kStep;
      const double above = loss();
      (*of)[i] = at - kStep;
      const double below = loss();
      (*of)[i] = at;
      EXPECT_NEAR((above - below) / (2 * kStep), gradient[i], 1e-7) << i;
    }
  };
  check(&x, derived.dx);
  check(&p, derived.gradients);  // Running statistics too: nothing depends on them.
}

// The variance of one row is 0: y is b, and nothing flows back through x.
TEST(BatchNorm, OneRowIsItsOwnMean) {
  Graph g(kWidth);
  g.Head("a", HeadKind::kNumber, g.SumColumns(g.BatchNorm(g.Input(), {"n"}, {})));
  const auto program = MustCompile(g);
  std::vector<float> flat(program->parameter_count());
  program->InitParameters(1, flat.data());
  for (const ParameterView& view : program->parameters()) {
    if (view.name == "n/b") std::fill_n(flat.begin() + view.offset, kWidth, 0.5f);
  }
  const Sample sample = MakeSample(g, 1);
  const Given given = RunLane(*program, sample, flat, {});
  EXPECT_EQ(given.predictions[0][0], 0.5f * kWidth);
  EXPECT_EQ(given.dx[0], std::vector<float>(kWidth, 0.0f));
  EXPECT_EQ(given.statistics[0], 1);
  for (int c = 0; c < kWidth; ++c) {
    EXPECT_FLOAT_EQ(given.statistics[1 + c], sample.x[c]);
    EXPECT_EQ(given.statistics[1 + kWidth + c], 0);
  }
}

// Lanes count by their rows, an empty one not at all; layers of others stay.
TEST(BatchNorm, RunningStatisticsAreAMeanOverLanes) {
  const Graph graph = BatchNormGraph();
  const auto program = MustCompile(graph);
  const auto& layers = program->batch_norms();
  const std::vector<float> flat = Spread(*program, StartingPoint(*program));
  const Sample small = MakeSample(graph, 2), large = MakeSample(graph, 130);
  std::vector<double> sum(StatisticsSize(layers));
  Sample none = small;
  none.rows = 0;
  for (const Sample* lane : std::vector<const Sample*>{&small, &none, &large}) {
    const std::vector<double> of_lane = RunLane(*program, *lane, flat, {}).statistics;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += of_lane[i];
  }
  EXPECT_EQ(sum[0], 132);
  std::vector<float> moved = flat;
  const std::string only = "bottom/layer0/norm";
  MoveStatistics(
      layers, sum.data(), [&](const std::string& name) { return name == only; }, moved.data());
  const auto one = RunOracle(graph, small, StartingPoint(*program)).statistics;
  const auto two = RunOracle(graph, large, StartingPoint(*program)).statistics;
  const ReferenceNetwork<double> network(graph);
  const std::vector<double> before = Pack(*program, flat), after = Pack(*program, moved);
  for (const ParameterView& view : network.parameters()) {
    for (int i = view.offset; i < view.offset + int64_t{view.rows} * view.columns; ++i) {
      const bool moves = view.is_statistic && view.name.rfind(only, 0) == 0;
      const double mean = (2 * one[i] + 130 * two[i]) / 132;
      EXPECT_NEAR(after[i], moves ? before[i] + 0.25 * (mean - before[i]) : before[i], 1e-6);
    }
  }
  // A step without rows moves nothing.
  std::vector<float> still = flat;
  MoveStatistics(
      layers, std::vector<double>(sum.size()).data(), [](const std::string&) { return true; },
      still.data());
  EXPECT_EQ(still, flat);
}

// A task's pass has the bits of a graph without the other task.
TEST(BatchNorm, PassesAreApart) {
  const auto both = MustCompile(
      BatchNormGraph(), {.passes = {{.tasks = {"b"}}, {.tasks = {"a"}}}, .isolate_tasks = true});
  const auto alone = MustCompile(BatchNormGraph(/*others=*/false),
                                 {.passes = {{.tasks = {"a"}}}, .isolate_tasks = true});
  const Graph graph = BatchNormGraph();
  const Sample sample = MakeSample(graph, 300);
  Sample of_a = sample;
  of_a.labels.resize(1);
  of_a.weights.resize(1);
  std::vector<float> flat(both->parameter_count()), flat_alone(alone->parameter_count());
  both->InitParameters(3, flat.data());
  alone->InitParameters(3, flat_alone.data());
  const Given given = RunLane(*both, sample, flat, {100});
  const Given expected = RunLane(*alone, of_a, flat_alone, {100});
  EXPECT_EQ(given.predictions[0], expected.predictions[0]);
  EXPECT_EQ(given.dx[1], expected.dx[0]);
  std::vector<float> moved = flat, moved_alone = flat_alone;
  const auto all = [](const std::string&) { return true; };
  MoveStatistics(both->batch_norms(), given.statistics.data(), all, moved.data());
  MoveStatistics(alone->batch_norms(), expected.statistics.data(), all, moved_alone.data());
  for (const ParameterView& one : alone->parameters()) {
    for (const ParameterView& view : both->parameters()) {
      if (view.name != one.name) continue;
      for (int i = 0; i < one.rows * one.columns; ++i) {
        const int64_t at = view.offset + i / one.columns * view.stride + i % one.columns;
        const int64_t at_alone = one.offset + i / one.columns * one.stride + i % one.columns;
        EXPECT_EQ(given.gradients[1][at], expected.gradients[0][at_alone]) << one.name;
        EXPECT_EQ(moved[at], moved_alone[at_alone]) << one.name;
      }
    }
  }
}

// Layers side by side share a border: five depths here (bottom's two, the experts, b's two; a's one
// beside b's first), so five borders for seven layers.
TEST(BatchNorm, LayersSideBySideShareAStage) {
  const auto program = MustCompile(BatchNormGraph());
  std::vector<int> passes;
  for (const Stage& stage : program->stages()) passes.push_back(stage.pass);
  EXPECT_EQ(std::count(passes.begin(), passes.end(), -1), 6);
  EXPECT_EQ(std::count(passes.begin(), passes.end(), 0), 6);
  EXPECT_EQ(program->batch_norms().size(), 7u);
}

}  // namespace
}  // namespace pagoda
