// What single models promise beyond what every model does: identities and gradients that are
// exactly zero.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "tests/worker/models/support.h"
#include "worker/graph/gates.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

Parameter ParameterOf(const std::string& name, double value) {
  Parameter parameter;
  parameter.set_name(name);
  parameter.set_value(value);
  return parameter;
}

std::vector<std::string> HeadNames(const Graph& graph) {
  std::vector<std::string> names;
  for (const Graph::HeadSpec& head : graph.heads()) names.push_back(head.name);
  return names;
}

// A run in double: no rounding hides a difference.
ReferenceNetwork<double>::Result RunDouble(const Graph& graph, std::vector<PassSpec> passes,
                                           std::vector<double> parameters) {
  const ReferenceNetwork<double> network(graph, std::move(passes));
  const Sample sample = MakeSample(graph, 40);
  std::vector<std::vector<double>> labels, weights;
  for (const auto& v : sample.labels) labels.emplace_back(v.begin(), v.end());
  for (const auto& v : sample.weights) weights.emplace_back(v.begin(), v.end());
  return network.Run(sample.rows, {sample.x.begin(), sample.x.end()}, parameters, labels, weights);
}

// Each parameter drawn by its name, or by its new name.
std::vector<double> Drawn(const Graph& graph, const Renaming& renaming = {}) {
  std::vector<double> all;
  const ReferenceNetwork<double> network(graph);
  for (const ParameterView& view : network.parameters()) {
    for (double v : Uniform(Rename(view.name, renaming), size_t(view.rows) * view.columns)) {
      all.push_back(0.5 * v);
    }
  }
  return all;
}

std::vector<double> GradientOf(const Graph& graph, const ReferenceNetwork<double>::Result& result,
                               const std::string& name) {
  const ReferenceNetwork<double> network(graph);
  for (const ParameterView& view : network.parameters()) {
    if (view.name != name) continue;
    const auto begin = result.passes[0].gradients.begin() + view.offset;
    return {begin, begin + int64_t{view.rows} * view.columns};
  }
  ADD_FAILURE() << name;
  return {};
}

// Steps of plain SGD in double in which the inputs (embedding rows) learn, too. Parameters of one
// renamed name are one: they start alike and move along the sum of their gradients.
struct Trace {
  std::vector<double> predictions, losses, dx;           // All steps in turn.
  std::map<std::string, std::vector<double>> gradients;  // By renamed name, likewise.
};

// In step t only task TASK_OF(t) has weight; -1: all have.
Trace TrainDouble(const Graph& graph, const Renaming& tied,
                  const std::function<int(int step)>& task_of) {
  constexpr int kRows = 40;
  constexpr double kRate = 0.05;
  const ReferenceNetwork<double> network(graph);
  const Sample sample = MakeSample(graph, kRows);
  std::vector<double> x(sample.x.begin(), sample.x.end()), parameters = Drawn(graph, tied);
  Trace trace;
  for (int step = 0; step < kIdentitySteps; ++step) {
    std::vector<std::vector<double>> labels, weights;
    for (size_t k = 0; k < sample.labels.size(); ++k) {
      labels.emplace_back(sample.labels[k].begin(), sample.labels[k].end());
      weights.emplace_back(sample.weights[k].begin(), sample.weights[k].end());
      const bool has_weight = task_of(step) < 0 || task_of(step) == static_cast<int>(k);
      if (!has_weight) weights.back().assign(kRows, 0.0);
    }
    const auto result = network.Run(kRows, x, parameters, labels, weights);
    Append(result.predictions, &trace.predictions);
    Append(result.losses, &trace.losses);
    Append(result.passes[0].dx, &trace.dx);
    std::map<std::string, std::vector<double>> sums;
    for (const ParameterView& view : network.parameters()) {
      std::vector<double>& sum = sums[Rename(view.name, tied)];
      sum.resize(size_t(view.rows) * view.columns);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += result.passes[0].gradients[view.offset + i];
    }
    for (const ParameterView& view : network.parameters()) {
      const std::vector<double>& sum = sums[Rename(view.name, tied)];
      for (size_t i = 0; i < sum.size(); ++i) parameters[view.offset + i] -= kRate * sum[i];
    }
    for (const auto& [name, sum] : sums) Append(sum, &trace.gradients[name]);
    for (size_t i = 0; i < x.size(); ++i) x[i] -= kRate * kRows * result.passes[0].dx[i];
  }
  return trace;
}

class TiedGatesTest : public testing::Test {
 protected:
  TiedGatesTest() {
    for (const std::string& task : tasks_) tied_.push_back({task + "/gate/", "gate/"});
  }

  const std::vector<std::string> tasks_ = TaskNames(3);
  const Graph moe_ = MustBuild(SmallConfig("moe", tasks_));
  const Graph mmoe_ = MustBuild(SmallConfig("mmoe", tasks_));
  Renaming tied_;
};

// The same bits, where one task has weight in each step, the tasks in turn.
TEST_F(TiedGatesTest, AreMoe) {
  const auto in_turn = [](int step) { return step % 3; };
  const Trace one = TrainDouble(moe_, {}, in_turn), each = TrainDouble(mmoe_, tied_, in_turn);
  EXPECT_EQ(each.predictions, one.predictions);
  EXPECT_EQ(each.losses, one.losses);
  EXPECT_EQ(each.dx, one.dx);
  EXPECT_EQ(each.gradients, one.gradients);
}

// With weight in all tasks a sum is formed elsewhere: g (d_1 + d_2) of one gate is g d_1 + g d_2 of
// two. The first step's outputs are still the same bits, all else the same but for that rounding.
TEST_F(TiedGatesTest, AreMoeUpToRoundingWithAllTasksAtOnce) {
  constexpr double kRounding = 1e-14;
  const auto all = [](int) { return -1; };
  const Trace one = TrainDouble(moe_, {}, all), each = TrainDouble(mmoe_, tied_, all);
  const size_t first = one.predictions.size() / kIdentitySteps;
  for (size_t i = 0; i < first; ++i) EXPECT_EQ(each.predictions[i], one.predictions[i]);
  EXPECT_LE(Distance(each.predictions, one.predictions), kRounding * Norm(one.predictions));
  EXPECT_LE(Distance(each.losses, one.losses), kRounding * Norm(one.losses));
  EXPECT_LE(Distance(each.dx, one.dx), kRounding * Norm(one.dx));
  ASSERT_EQ(each.gradients.size(), one.gradients.size());
  for (const auto& [name, gradient] : one.gradients) {
    EXPECT_LE(Distance(each.gradients.at(name), gradient), kRounding * Norm(gradient)) << name;
    EXPECT_GT(Norm(gradient), 0) << name;
  }
}

TEST(Escm2, WithoutItsLossIsEsmm) {
  Config escm2 = SmallConfig("escm2", TaskNames(2));
  *escm2.mutable_model()->add_parameter() = ParameterOf("counterfactual_weight", 0);
  *escm2.mutable_model()->add_parameter() = ParameterOf("global_weight", 1);
  ExpectSame(Train(MustBuild(escm2)), Train(MustBuild(SmallConfig("esmm", TaskNames(2)))));
}

TEST(Escm2, CountsClickedRowsAndKeepsThePropensityOut) {
  Config config = SmallConfig("escm2", {"click", "buy"});
  for (double robust : {0.0, 1.0}) {
    config.mutable_model()->clear_parameter();
    *config.mutable_model()->add_parameter() = ParameterOf("doubly_robust", robust);
    *config.mutable_model()->add_parameter() = ParameterOf("propensity_floor", 0.3);
    const Graph graph = MustBuild(config);
    for (const Graph::HeadSpec& head : graph.heads()) {
      if (head.name != "buy/counterfactual") continue;
      EXPECT_EQ(head.rows, Graph::LossRows::kGiven);
      EXPECT_EQ(head.given, "click");
      EXPECT_EQ(head.parameter, 0.3);
      EXPECT_FALSE(head.reported);
    }
    // Only the counterfactual losses: the click network must learn nothing from them.
    Graph alone = graph;
    const ReferenceNetwork<double> network(alone);
    const Sample sample = MakeSample(graph, 30);
    std::vector<std::vector<double>> labels, weights;
    size_t loss = 0;
    for (const Graph::HeadSpec& head : graph.heads()) {
      if (!head.has_loss) continue;
      labels.emplace_back(sample.labels[loss].begin(), sample.labels[loss].end());
      weights.emplace_back(sample.rows, head.reported ? 0.0 : 1.0);
      ++loss;
    }
    const auto result =
        network.Run(sample.rows, {sample.x.begin(), sample.x.end()}, Drawn(graph), labels, weights);
    EXPECT_EQ(Norm(GradientOf(graph, result, "click/tower/out/w")), 0);
    EXPECT_EQ(Norm(GradientOf(graph, result, "click/bottom/layer0/w")), 0);
    EXPECT_GT(Norm(GradientOf(graph, result, "buy/tower/out/w")), 0);
  }
}

TEST(Aitm, CalibratorIsTheMeanExcessOverTheStepBefore) {
  const Graph graph = MustBuild(SmallConfig("aitm", TaskNames(3)));
  EXPECT_EQ(HeadNames(graph), (std::vector<std::string>{"task0", "task1", "task2",
                                                        "task1/calibrator", "task2/calibrator"}));
  for (const Graph::HeadSpec& head : graph.heads()) {
    if (head.reported) continue;
    EXPECT_EQ(head.weight, 0.6);
    EXPECT_EQ(head.rows, Graph::LossRows::kEvery);
  }
  const auto result = RunDouble(graph, {}, Drawn(graph));
  const Sample sample = MakeSample(graph, 40);
  for (int t = 1; t < 3; ++t) {
    double sum = 0;
    for (int r = 0; r < 40; ++r) {
      const double excess = result.predictions[t * 40 + r] - result.predictions[(t - 1) * 40 + r];
      sum += sample.weights[2 + t][r] * std::max(excess, 0.0);
    }
    EXPECT_NEAR(result.losses[2 + t], sum, 1e-12);
  }
}

TEST(Aitm, NeedsNoCalibratorWithoutAFunnel) {
  Config config = SmallConfig("aitm", TaskNames(2));
  *config.mutable_model()->add_parameter() = ParameterOf("alpha", 0);
  EXPECT_EQ(HeadNames(MustBuild(config)), TaskNames(2));
}

// The paper's promise, and the point of the model.
TEST(Stem, NoTaskTouchesAnothersEmbeddings) {
  constexpr int kWidth = 11, kRows = 40;
  const std::vector<std::string> tasks = TaskNames(3);
  const Graph graph = MustBuild(SmallConfig("stem", tasks), kWidth);
  const int width = graph.width(graph.Input());
  ASSERT_EQ(width, kWidth * 4);  // The shared set, then each task's.
  for (int k = 0; k < 3; ++k) {
    const auto result = RunDouble(graph, {PassSpec{.tasks = {tasks[k]}}}, Drawn(graph));
    for (int set = 0; set < 4; ++set) {
      double norm = 0;
      for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < kWidth; ++c) {
          norm += std::abs(result.passes[0].dx[r * width + set * kWidth + c]);
        }
      }
      const bool is_its_own = set == 0 || set == k + 1;
      EXPECT_EQ(norm > 0, is_its_own) << tasks[k] << " on set " << set;
    }
  }
}

// What a gate adds is the same feature of both sets, dense ones too, though those stand between.
TEST(Stem, SetsLieAlike) {
  const ModelInput input{
      .width = 7,
      .features = {{.set = "", .feature = "user", .columns = {0, 3}},
                   {.set = "", .feature = "age", .columns = {3, 1}, .is_dense = true},
                   {.set = "a", .feature = "user", .columns = {4, 3}}}};
  const auto graph = BuildModel(SmallConfig("stem", {"a"}), input);
  ASSERT_TRUE(graph.ok()) << graph.status();
  int found = 0;
  for (const Graph::Node& node : graph->nodes()) {
    if (node.kind != NodeKind::kColumns || node.ranges[0].begin != 4) continue;
    ASSERT_EQ(node.ranges.size(), 2u);
    EXPECT_EQ(node.ranges[1].begin, 3);
    ++found;
  }
  EXPECT_EQ(found, 1);
}

// But its prediction reads them: gates see all experts.
TEST(Stem, GatesReadAllExperts) {
  const Graph graph = MustBuild(SmallConfig("stem", TaskNames(2)));
  const auto before = RunDouble(graph, {}, Drawn(graph));
  const auto after =
      RunDouble(graph, {}, Drawn(graph, {{"level0/task1/experts/", "level0/other/experts/"}}));
  EXPECT_NE(before.predictions[0], after.predictions[0]);
}

TEST(Ple, StoppedTaskDoesNotReachTheOthers) {
  Config config = SmallConfig("ple", {"a", "b"});
  const Renaming other_experts = {{"level0/b/experts/", "x/"}, {"level1/b/", "y/"}, {"b/", "z/"}};
  const auto predictions_of_a = [&](const Renaming& renaming) {
    const Graph graph = MustBuild(config);
    const auto result = RunDouble(graph, {}, Drawn(graph, renaming));
    return std::vector<double>(result.predictions.begin(), result.predictions.begin() + 40);
  };
  EXPECT_NE(predictions_of_a({}), predictions_of_a(other_experts));
  config.mutable_model()->add_stop_shared_gate("b");
  EXPECT_EQ(predictions_of_a({}), predictions_of_a(other_experts));
  // And the graph of task a alone has the same shapes.
  const std::vector<double> beside_b = predictions_of_a({});
  config.mutable_dataset()->mutable_task()->RemoveLast();
  EXPECT_EQ(predictions_of_a({}), beside_b);
}

// What is logged of gates must have names of its own, whatever a model mixes.
TEST(Gates, ElementsOfEveryModelHaveNames) {
  for (const std::string& model : ModelNames()) {
    Graph graph = MustBuild(SmallConfig(model, TaskNames(2)));
    AddGateElements(&graph);  // CHECKs that heads' names differ.
    EXPECT_GE(graph.heads().size(), 2u) << model;
  }
}

TEST(DselectK, EntropyIsALossOfItsTask) {
  Config config = SmallConfig("dselect_k", TaskNames(2));
  *config.mutable_model()->add_parameter() = ParameterOf("entropy_weight", 0.1);
  EXPECT_EQ(HeadNames(MustBuild(config)),
            (std::vector<std::string>{"task0", "task1", "task0/entropy", "task1/entropy"}));
}

struct Refusal {
  std::string name, model;
  void (*change)(Config* config);
  std::string message;
};

class ZooRefused : public testing::TestWithParam<Refusal> {};

TEST_P(ZooRefused, NamesWhatIsWrong) {
  Config config = SmallConfig(GetParam().model, TaskNames(2));
  GetParam().change(&config);
  const auto graph = BuildModel(config, 11);
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ZooRefused,
    testing::Values(
        Refusal{"AitmMse", "aitm",
                [](Config* c) { c->mutable_dataset()->mutable_task(1)->set_loss(TaskConfig::MSE); },
                "BCE"},
        Refusal{"AitmTaskOutsideFunnel", "aitm",
                [](Config* c) { c->mutable_dataset()->add_funnel("task0"); }, "task1"},
        Refusal{"AitmFunnelTwice", "aitm",
                [](Config* c) {
                  for (const char* task : {"task0", "task1", "task0"}) {
                    c->mutable_dataset()->add_funnel(task);
                  }
                },
                "twice"},
        Refusal{"AitmNegativeAlpha", "aitm",
                [](Config* c) { *c->mutable_model()->add_parameter() = ParameterOf("alpha", -1); },
                "alpha"},
        Refusal{"WideDeepWithoutWide", "wide_deep",
                [](Config* c) { c->mutable_model()->clear_wide(); }, "wide"},
        Refusal{"StemTwoLevels", "stem", [](Config* c) { c->mutable_model()->add_level(); },
                "one level"},
        Refusal{"Escm2PositiveWeight", "escm2",
                [](Config* c) { c->mutable_dataset()->mutable_task(1)->set_positive_weight(2); },
                "positive_weight"},
        Refusal{
            "Escm2AutoPositiveWeight", "escm2",
            [](Config* c) { c->mutable_dataset()->mutable_task(0)->set_auto_positive_weight(1); },
            "positive_weight"},
        Refusal{
            "Escm2NegativeSampling", "escm2",
            [](Config* c) { c->mutable_dataset()->mutable_task(0)->set_negative_sampling(0.5); },
            "negative_sampling"},
        Refusal{"DselectThreeExperts", "dselect_k",
                [](Config* c) { c->mutable_model()->set_experts(3); }, "power of 2"},
        Refusal{
            "DselectHalfASelector", "dselect_k",
            [](Config* c) { *c->mutable_model()->add_parameter() = ParameterOf("selectors", 1.5); },
            "selectors"},
        Refusal{"StopOutsidePle", "mmoe",
                [](Config* c) { c->mutable_model()->add_stop_shared_gate("task0"); }, "ple"},
        Refusal{"Dropout", "mmoe", [](Config* c) { c->mutable_model()->set_dropout(1); },
                "dropout"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace pagoda
