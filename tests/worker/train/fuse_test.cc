#include "worker/train/fuse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "common/metrics/metrics.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

// Tasks whose labels follow hidden tastes; each task's prediction sees its own, noisily.
FuseData MakeData(int tasks, int rows, bool with_groups = false) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  FuseData data;
  data.predictions.resize(tasks);
  data.labels.resize(tasks);
  data.weights.resize(tasks);
  for (int i = 0; i < rows; ++i) {
    const double common = normal(random);
    for (int k = 0; k < tasks; ++k) {
      const double taste = 0.4 * common + normal(random);
      data.labels[k].push_back(taste > 0.5 * k - 0.5 ? 1 : 0);
      data.predictions[k].push_back(
          static_cast<float>(1 / (1 + std::exp(-taste - 0.7 * normal(random)))));
      data.weights[k].push_back(random() % 8 == 0 ? 0 : 1);
    }
    if (with_groups) data.groups.push_back(random() % 20);
  }
  return data;
}

FuseOptions Values(const std::vector<double>& values) {
  FuseOptions options;
  for (const double v : values) {
    options.values.push_back({"t" + std::to_string(options.values.size()), v});
  }
  return options;
}

// Every weight vector of the grid, multiples and all; scores in double, AUC by counting pairs.
double BruteForce(const FuseData& data, const std::vector<double>& values, FuseForm form) {
  const size_t rows = data.labels[0].size();
  double best = -1;
  for (int code = 1; code < 11 * 11 * 11; ++code) {
    const double w[3] = {code % 11 / 10.0, code / 11 % 11 / 10.0, code / 121 / 10.0};
    std::vector<double> score(rows, 0.0);
    for (size_t i = 0; i < rows; ++i) {
      for (int k = 0; k < 3; ++k) {
        const double p = data.predictions[k][i];
        score[i] += w[k] * (form == FuseForm::kSum ? p : std::log(p));
      }
    }
    double objective = 0;
    for (int k = 0; k < 3; ++k) {
      double wins = 0, pairs = 0;
      for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < rows; ++j) {
          if (data.weights[k][i] == 0 || data.weights[k][j] == 0) continue;
          if (data.labels[k][i] != 1 || data.labels[k][j] != 0) continue;
          wins += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
          ++pairs;
        }
      }
      objective += values[k] * wins / pairs;
    }
    best = std::max(best, objective);
  }
  return best;
}

TEST(Fuse, ThreeTasksEqualBruteForce) {
  const FuseData data = MakeData(3, 50);
  const std::vector<double> values = {1, 0.5, 2};
  for (const FuseForm form : kFuseForms) {
    const FuseResult result = SearchFusion(data, Values(values), form);
    EXPECT_DOUBLE_EQ(result.objective, BruteForce(data, values, form)) << FuseFormName(form);
    EXPECT_EQ(EvaluateFusion(data, Values(values), form, result.weights).objective,
              result.objective);
    // Written as large as the grid allows.
    double largest = 0;
    for (const double w : result.weights) largest = std::max(largest, w);
    EXPECT_GT(largest, 0.5);
  }
}

TEST(Fuse, ATaskThatAloneIsWorthSomethingKeepsItsOwnOrder) {
  const FuseData data = MakeData(2, 300);
  const FuseResult result = SearchFusion(data, Values({0, 1}), FuseForm::kSum);
  const double own = ComputeBinary(data.predictions[1], data.labels[1], data.weights[1]).auc;
  EXPECT_GE(result.objective, own);
}

TEST(Fuse, CoordinateSearchIsNoWorseThanEqualWeightsOrAnyTask) {
  const FuseData data = MakeData(6, 200);
  const FuseOptions options = Values({1, 2, 0.5, 1, 3, 1});
  for (const FuseForm form : kFuseForms) {
    const FuseResult result = SearchFusion(data, options, form);
    EXPECT_GE(result.objective,
              EvaluateFusion(data, options, form, std::vector<double>(6, 1.0)).objective);
    for (int k = 0; k < 6; ++k) {
      std::vector<double> corner(6, 0.0);
      corner[k] = 1;
      EXPECT_GE(result.objective, EvaluateFusion(data, options, form, corner).objective);
    }
  }
}

TEST(Fuse, RanksWithinGroups) {
  const FuseData data = MakeData(2, 400, /*with_groups=*/true);
  for (const auto metric : {FuseOptions::Metric::kGauc, FuseOptions::Metric::kNdcg}) {
    FuseOptions options = Values({1, 1});
    options.metric = metric;
    options.ndcg_at = 5;
    const FuseResult best = SearchFusion(data, options, FuseForm::kSum);
    EXPECT_GE(best.objective, EvaluateFusion(data, options, FuseForm::kSum, {1, 0}).objective);
    EXPECT_GE(best.objective, EvaluateFusion(data, options, FuseForm::kSum, {0, 1}).objective);
  }
}

TEST(Fuse, AZeroProbabilityHasAPlaceInAProduct) {
  FuseData data = MakeData(2, 50);
  data.predictions[0][7] = 0;
  const FuseResult result = SearchFusion(data, Values({1, 1}), FuseForm::kProduct);
  EXPECT_TRUE(std::isfinite(result.objective));
}

TEST(Fuse, FlagsAreChecked) {
  Config config;
  for (const char* task : {"income", "marital"}) {
    config.mutable_dataset()->add_task()->set_name(task);
  }
  const auto parsed = ParseFuse("income:1,marital:0.5", "auc", config);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->values[1].task, "marital");
  EXPECT_EQ(parsed->values[1].value, 0.5);
  const auto refusal = [&](const std::string& values, const std::string& metric) {
    return std::string(ParseFuse(values, metric, config).status().message());
  };
  EXPECT_THAT(refusal("incme:1,marital:1", "auc"), HasSubstr("income"));
  EXPECT_THAT(refusal("income:1", "auc"), HasSubstr("two tasks"));
  EXPECT_THAT(refusal("", "auc"), HasSubstr("two tasks"));
  EXPECT_THAT(refusal("income:0,marital:0", "auc"), HasSubstr("above 0"));
  EXPECT_THAT(refusal("income:x,marital:1", "auc"), HasSubstr("TASK:VALUE"));
  EXPECT_THAT(refusal("income:-1,marital:1", "auc"), HasSubstr("at least 0"));
  EXPECT_THAT(refusal("income:1,income:1", "auc"), HasSubstr("twice"));
  EXPECT_THAT(refusal("income:1,marital:1", "acu"), HasSubstr("auc"));
  EXPECT_THAT(refusal("income:1,marital:1", "gauc"), HasSubstr("gauc_by"));
  EXPECT_THAT(refusal("income:1,marital:1", "ndcg@0"), HasSubstr("no such metric"));
  config.mutable_train()->set_gauc_by("");
  EXPECT_THAT(refusal("income:1,marital:1", "gauc"), HasSubstr("gauc_by"));
  config.mutable_train()->set_gauc_by("user");
  EXPECT_EQ(ParseFuse("income:1,marital:1", "ndcg@20", config)->ndcg_at, 20);
}

TEST(Fuse, TasksWhoseOutputsOrLabelsDoNotFitAreRefused) {
  Config config;
  for (const char* task : {"income", "marital"}) {
    config.mutable_dataset()->add_task()->set_name(task);
  }
  config.mutable_train()->set_gauc_by("user");
  TaskConfig* const task = config.mutable_dataset()->mutable_task(1);
  const auto refusal = [&](const std::string& metric) {
    return std::string(ParseFuse("income:1,marital:1", metric, config).status().message());
  };
  task->set_loss(TaskConfig::SOFTMAX);
  for (const char* metric : {"auc", "gauc", "ndcg@5"}) {
    EXPECT_THAT(refusal(metric), HasSubstr("marital has loss SOFTMAX")) << metric;
  }
  task->set_loss(TaskConfig::MSE);
  EXPECT_THAT(refusal("auc"), HasSubstr("marital has loss MSE"));
  EXPECT_THAT(refusal("gauc"), HasSubstr("marital has loss MSE"));
  EXPECT_EQ(refusal("ndcg@5"), "");
  task->set_loss(TaskConfig::FOCAL);
  EXPECT_EQ(refusal("auc"), "");
}

// A pairwise task's labels may be grades: only the data tells.
TEST(Fuse, LabelsOtherThanZeroAndOneHaveNoAuc) {
  FuseData data = MakeData(2, 50, /*with_groups=*/true);
  EXPECT_TRUE(CheckFuseLabels(data, Values({1, 1})).ok());
  data.labels[1][3] = 2;
  data.weights[1][3] = 0;
  EXPECT_TRUE(CheckFuseLabels(data, Values({1, 1})).ok());
  data.weights[1][3] = 1;
  EXPECT_THAT(std::string(CheckFuseLabels(data, Values({1, 1})).message()), HasSubstr("task t1"));
  FuseOptions ndcg = Values({1, 1});
  ndcg.metric = FuseOptions::Metric::kNdcg;
  EXPECT_TRUE(CheckFuseLabels(data, ndcg).ok());
}

}  // namespace
}  // namespace pagoda
