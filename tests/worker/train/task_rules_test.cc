#include "worker/train/task_rules.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace pagoda {
namespace {

TaskConfig Task(const std::string& text) {
  TaskConfig task;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &task)) << text;
  task.set_name("t");
  return task;
}

TEST(TaskRules, LabelsAndWeightsOfTraining) {
  Batch batch;
  batch.rows = 3;
  batch.labels = {0, 1, 1, 0, 1, 3};
  batch.weights = {1, 2, 0, 1, 1, 1};
  PrepareTrainingBatch({Task("positive_weight: 3"), Task("loss: MSE label_transform: LOG1P")},
                       &batch);
  EXPECT_EQ(batch.weights, (std::vector<float>{1, 6, 0, 1, 1, 1}));
  EXPECT_EQ(batch.labels, (std::vector<float>{0, 1, 1, 0, std::log1p(1.0f), std::log1p(3.0f)}));
  Batch empty;
  PrepareTrainingBatch({Task("positive_weight: 3")}, &empty);
  EXPECT_TRUE(empty.labels.empty());
}

TEST(TaskRules, AutomaticWeightsAreThoseOfTheTrainingRun) {
  Config trained, config;
  for (const char* name : {"a", "b"}) {
    trained.mutable_dataset()->add_task()->set_name(name);
    config.mutable_dataset()->add_task()->set_name(name);
  }
  trained.mutable_dataset()->mutable_task(0)->set_positive_weight(12.5);
  config.mutable_dataset()->mutable_task(0)->set_auto_positive_weight(0.5);
  config.mutable_dataset()->mutable_task(1)->set_positive_weight(3);
  ASSERT_TRUE(TakePositiveWeights(trained, &config).ok());
  EXPECT_FALSE(config.dataset().task(0).has_auto_positive_weight());
  EXPECT_EQ(config.dataset().task(0).positive_weight(), 12.5);
  EXPECT_EQ(config.dataset().task(1).positive_weight(), 3);
  config.mutable_dataset()->add_task()->set_name("c");
  config.mutable_dataset()->mutable_task(2)->set_auto_positive_weight(1);
  EXPECT_NE(TakePositiveWeights(trained, &config).message().find("task c"),
            absl::string_view::npos);
}

TEST(TaskRules, MedianUndoesTheTransform) {
  const TaskConfig task = Task("loss: MSE label_transform: LOG1P");
  std::vector<float> p = {0, std::log1p(4.0f), -0.5f};
  ToLabelUnits(task, SmearingOf({}, task), absl::MakeSpan(p));
  EXPECT_EQ(p[0], 0);
  EXPECT_NEAR(p[1], 4, 1e-6);
  EXPECT_NEAR(p[2], std::expm1(-0.5), 1e-7);
}

// Duan's estimate is the mean: of labels e^(x + noise) - 1 the predictions' mean is the labels'.
TEST(TaskRules, MeanIsTheMeanOfLabels) {
  for (const char* text :
       {"loss: MSE label_transform: LOG1P inverse: MEAN", "loss: LOG_NORMAL inverse: MEAN"}) {
    const TaskConfig task = Task(text);
    const bool log1p = task.loss() == TaskConfig::MSE;
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    std::vector<float> labels, predictions, weights;
    for (int i = 0; i < 1000; ++i) {
      const double x = 1 + (i % 2);  // Two kinds of rows.
      labels.push_back(static_cast<float>(std::exp(x + 0.8 * normal(random)) - (log1p ? 0.01 : 0)));
      predictions.push_back(static_cast<float>(log1p ? x : std::exp(x)));
      weights.push_back(i % 10 == 0 ? 0.0f : 0.5f);
    }
    labels[0] = 1e30f;  // Does not count.
    const double s = SmearingFactor(task, predictions, labels, weights);
    EXPECT_NEAR(s, std::exp(0.8 * 0.8 / 2), 0.2) << text;
    // By its definition.
    double sum = 0, count = 0;
    for (int i = 0; i < 1000; ++i) {
      if (weights[i] == 0) continue;
      sum +=
          (labels[i] + (log1p ? 1.0 : 0.0)) / (log1p ? std::exp(predictions[i]) : predictions[i]);
      ++count;
    }
    EXPECT_NEAR(s, sum / count, 1e-5 * s);
    TrainState state;
    TaskSmearing* const stored = state.add_smearing();
    stored->set_task("t");
    stored->set_factor(s);
    std::vector<float> converted = predictions;
    ToLabelUnits(task, SmearingOf(state, task), absl::MakeSpan(converted));
    EXPECT_NEAR(converted[1], s * std::exp(2) - (log1p ? 1 : 0), 1e-4);
  }
  EXPECT_EQ(SmearingFactor(Task("loss: LOG_NORMAL"), {}, {}, {}), 1);
}

// Rows of rate q; negatives kept at rate r and positives counted w times give rate p. Back to q.
TEST(TaskRules, CalibrationIsExact) {
  for (const double q : {0.001, 0.2, 0.9}) {
    for (const double r : {1.0, 0.1}) {
      for (const double w : {1.0, 7.0}) {
        TaskConfig task = Task("calibrate: true");
        task.set_negative_sampling(r);
        task.set_positive_weight(w);
        std::vector<float> p = {static_cast<float>(q * w / (q * w + (1 - q) * r)), 0.0f, 1.0f};
        ToLabelUnits(task, 1, absl::MakeSpan(p));
        EXPECT_NEAR(p[0], q, 1e-6);
        EXPECT_EQ(p[1], 0);
        EXPECT_EQ(p[2], 1);
        task.set_calibrate(false);
        std::vector<float> as_is = {0.25f};
        ToLabelUnits(task, 1, absl::MakeSpan(as_is));
        EXPECT_EQ(as_is[0], 0.25f);
      }
    }
  }
}

TEST(TaskRules, TrainingUnits) {
  const TaskConfig log1p = Task("loss: HUBER label_transform: LOG1P"),
                   amount = Task("loss: LOG_NORMAL"), plain = Task("loss: MSE");
  EXPECT_TRUE(HasTrainingUnits(log1p) && HasTrainingUnits(amount));
  EXPECT_FALSE(HasTrainingUnits(plain));
  EXPECT_EQ(TrainingLabel(log1p, 3), std::log1p(3.0f));
  EXPECT_EQ(TrainingPrediction(log1p, 3), 3);
  EXPECT_EQ(TrainingLabel(amount, 3), std::log(3.0f));
  EXPECT_EQ(TrainingPrediction(amount, 3), std::log(3.0f));
}

}  // namespace
}  // namespace pagoda
