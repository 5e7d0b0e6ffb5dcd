// Which metrics a task has, by its loss, and how they are shown.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "worker/graph/losses.h"
#include "worker/train/evaluator.h"
#include "worker/train/report.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

Config ConfigOf(const std::string& tasks, const std::string& train = "") {
  Config config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "dataset { " + tasks + " } train { " + train + " }", &config));
  return config;
}

Graph::HeadSpec Head(const std::string& name, const TaskConfig& task) {
  Graph::HeadSpec head{.name = name, .kind = HeadKind::kNumber, .x = {}, .y = {}, .has_loss = true};
  SetLoss(task, &head);
  return head;
}

std::vector<Graph::HeadSpec> HeadsOf(const Config& config) {
  std::vector<Graph::HeadSpec> heads;
  for (const TaskConfig& task : config.dataset().task()) heads.push_back(Head(task.name(), task));
  return heads;
}

SplitPredictions OneTask(std::vector<float> p, std::vector<float> y, std::vector<float> w = {}) {
  w.resize(p.size(), 1.0f);
  SplitPredictions split;
  split.predictions = {std::move(p)};
  split.labels = {std::move(y)};
  split.weights = {std::move(w)};
  return split;
}

std::vector<std::string> NamesOf(const std::vector<MetricValue>& values) {
  std::vector<std::string> names;
  for (const MetricValue& one : values) names.push_back(one.name);
  return names;
}

TEST(TaskMetrics, OfProbabilities) {
  const Config config =
      ConfigOf("task { name: \"a\" }", "auc_interval: true calibration_buckets: 2");
  const auto m =
      ComputeMetrics(OneTask({0.9f, 0.1f, 0.8f, 0.3f, 0.5f}, {1, 0, 0, 1, 1}, {1, 1, 1, 1, 0}),
                     config, HeadsOf(config));
  ASSERT_EQ(m.size(), 1u);
  EXPECT_EQ(m[0].rows, 4);
  EXPECT_EQ(m[0].positives, 2);
  EXPECT_EQ(m[0].Value("auc"), 0.75);
  EXPECT_EQ(m[0].score, 0.75);
  EXPECT_EQ(m[0].buckets.size(), 2u);
  EXPECT_EQ(NamesOf(m[0].values),
            (std::vector<std::string>{"auc", "logloss", "pcoc", "normalized_entropy", "pr_auc",
                                      "auc_low", "auc_high"}));
  EXPECT_TRUE(std::isnan(m[0].Value("mse")));
  const std::string line = EvalLine(VALID, 5, m, "SUM").ToString();
  EXPECT_THAT(line,
              HasSubstr(R"("split":"valid","step":5,"score":0.75,"tasks":{"a":{"auc":0.75,)"));
  EXPECT_THAT(line, HasSubstr(R"("rows":4,"positives":2,"buckets":[{"rows":2,)"));
}

TEST(TaskMetrics, OfNumbersInBothUnits) {
  const Config config = ConfigOf("task { name: \"a\" loss: MSE label_transform: LOG1P }");
  const std::vector<float> y = {0, 1, 3};
  const std::vector<float> p = {0, std::log1p(1.0f), std::log1p(2.0f)};
  const auto m = ComputeMetrics(OneTask(p, y), config, HeadsOf(config));
  EXPECT_NEAR(m[0].Value("mse"), 1.0 / 3, 1e-6);
  EXPECT_NEAR(m[0].Value("spearman"), 1, 1e-12);
  ASSERT_EQ(NamesOf(m[0].training_units), (std::vector<std::string>{"mse", "mae", "rmse", "r2"}));
  const double error = std::log(4) - std::log(3);
  EXPECT_NEAR(m[0].training_units[0].value, error * error / 3, 1e-7);
  EXPECT_EQ(m[0].score, m[0].training_units[3].value);
  EXPECT_THAT(EvalLine(TEST, 1, m, "a").ToString(), HasSubstr(R"("training_units":{"mse":)"));
}

TEST(TaskMetrics, OfRawNumbersTheScoreIsR2) {
  const Config config = ConfigOf("task { name: \"a\" loss: MSE }");
  const auto m = ComputeMetrics(OneTask({1, 2, 4}, {1, 2, 3}), config, HeadsOf(config));
  EXPECT_TRUE(m[0].training_units.empty());
  EXPECT_DOUBLE_EQ(m[0].score, 0.5);
  EXPECT_EQ(Score(m, "SUM"), 0.5);
  EXPECT_EQ(Score(m, "a"), 0.5);
}

TEST(TaskMetrics, OfClasses) {
  const Config config = ConfigOf("task { name: \"a\" loss: SOFTMAX classes: 2 }");
  auto heads = HeadsOf(config);
  for (int c = 0; c < 2; ++c) {
    heads.push_back({.name = ClassOutputName("a", c),
                     .kind = HeadKind::kClass,
                     .x = {},
                     .y = {},
                     .has_loss = false});
  }
  SplitPredictions split = OneTask({0, 1, 1}, {0, 0, 1});
  split.predictions.push_back({0.5f, 0.25f, 0.5f});
  split.predictions.push_back({0.5f, 0.75f, 0.5f});
  const auto m = ComputeMetrics(split, config, heads);
  EXPECT_DOUBLE_EQ(m[0].Value("accuracy"), 2.0 / 3);
  EXPECT_NEAR(m[0].Value("logloss"), (2 * std::log(2) + std::log(4)) / 3, 1e-12);
  EXPECT_DOUBLE_EQ(m[0].score, 1 - m[0].Value("normalized_entropy"));
}

// pCVR, which no task is called after, stays pCTCVR / pCTR when these two are calibrated.
TEST(TaskMetrics, ARatioOfCalibratedProbabilitiesIsCalibrated) {
  const auto convert = [](const char* fields) {
    const Config config =
        ConfigOf(std::string("task { name: \"click\" ") + fields + " } task { name: \"buy\" }");
    Graph g(2);
    const Value ctr = g.Dense("ctr", g.Input(), 1), cvr = g.Dense("cvr", g.Input(), 1);
    g.Head("click", HeadKind::kProbability, ctr);
    g.AddHead({.name = "buy",
               .kind = HeadKind::kProduct,
               .x = ctr,
               .y = cvr,
               .has_loss = true,
               .task = "buy"});
    g.Output("pCVR", HeadKind::kProbability, cvr);
    SplitPredictions split;
    split.predictions = {{0.5f, 0.25f, 0.0f}, {0.2f, 0.2f, 0.0f}, {0.4f, 0.8f, 0.3f}};
    ConvertPredictions(config, g.heads(), {}, &split);
    return split.predictions;
  };
  EXPECT_EQ(convert("positive_weight: 3")[2], (std::vector<float>{0.4f, 0.8f, 0.3f}));
  const auto p = convert("positive_weight: 3 calibrate: true");
  EXPECT_FLOAT_EQ(p[0][0], 0.25);
  EXPECT_EQ(p[1], (std::vector<float>{0.2f, 0.2f, 0.0f}));
  EXPECT_FLOAT_EQ(p[2][0], 0.8);
  EXPECT_EQ(p[2][1], 1);     // 0.2 of 0.1: the two were trained apart.
  EXPECT_EQ(p[2][2], 0.3f);  // 0 of 0 says nothing.
}

TEST(TaskMetrics, AScoreThatIsNoNumberHasAReason) {
  const Config config = ConfigOf("task { name: \"a\" } task { name: \"b\" }");
  SplitPredictions split = OneTask({0.9f, 0.1f}, {1, 0});
  split.predictions.push_back({0.5f, 0.6f});
  split.labels.push_back({1, 1});
  split.weights.push_back({1, 1});
  const auto m = ComputeMetrics(split, config, HeadsOf(config));
  EXPECT_TRUE(std::isnan(Score(m, "SUM")));
  EXPECT_EQ(Score(m, "a"), 1);
  EXPECT_EQ(ScoreWarning(m, "a"), "");
  EXPECT_THAT(ScoreWarning(m, "SUM"), HasSubstr("score of task b"));
}

TEST(TaskMetrics, OfAnOrder) {
  const Config config = ConfigOf("task { name: \"a\" loss: PAIRWISE }");
  const auto binary = ComputeMetrics(OneTask({-5, 7, 9}, {0, 0, 1}), config, HeadsOf(config));
  EXPECT_EQ(binary[0].Value("auc"), 1);
  EXPECT_TRUE(std::isnan(binary[0].Value("logloss")));
  const auto graded = ComputeMetrics(OneTask({-5, 7, 9}, {0, 1, 2}), config, HeadsOf(config));
  EXPECT_EQ(graded[0].Value("spearman"), 1);
  EXPECT_EQ(graded[0].score, 1);
}

TEST(TaskMetrics, OfGroups) {
  const Config config = ConfigOf("task { name: \"a\" } task { name: \"b\" loss: MSE }",
                                 "gauc_by: \"user\" ndcg_at: 1 ndcg_at: 10");
  SplitPredictions split = OneTask({0.9f, 0.1f, 0.8f, 0.3f}, {1, 0, 0, 1});
  split.predictions.push_back({1, 2, 3, 4});
  split.labels.push_back({1, 0, 0, 5});
  split.weights.push_back({1, 1, 1, 1});
  split.groups = {7, 7, 9, 9};
  const auto m = ComputeMetrics(split, config, HeadsOf(config));
  EXPECT_EQ(m[0].Value("gauc"), 0.5);
  EXPECT_EQ(m[0].Value("gauc_groups"), 2);
  EXPECT_EQ(m[0].Value("ndcg@1"), 0.5);
  EXPECT_TRUE(std::isnan(m[1].Value("gauc")));
  EXPECT_EQ(m[1].Value("ndcg@1"), 0.5);
  EXPECT_EQ(Scalars(VALID, m)[0].name, "valid/a/auc");
}

TEST(Report, GatesByFallingShare) {
  const std::vector<GateUse> gates = {{"a/gate", {{"experts/0", 0.25}, {"shared/0", 0.75}}}};
  EXPECT_EQ(GatesTable(gates)[0], "  a/gate: shared/0 0.750 experts/0 0.250");
  EXPECT_EQ(GatesLine(TEST, 3, gates).ToString(),
            R"({"event":"gates","split":"test","step":3,)"
            R"("gates":{"a/gate":{"experts/0":0.25,"shared/0":0.75}}})");
}

}  // namespace
}  // namespace pagoda
