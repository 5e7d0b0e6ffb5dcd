// What rows weigh in a step's losses.
#include "worker/train/step_losses.h"

#include <gtest/gtest.h>

#include <vector>

namespace pagoda {
namespace {

// Two tasks of five rows: click, then buy.
Batch FiveRows() {
  Batch batch;
  batch.rows = 5;
  batch.labels = {1, 0, 1, 1, 1, 1, 0, 0, 1, 1};
  batch.weights = {1, 1, 1, 1, 0, 2, 2, 0, 0.5, 2};
  return batch;
}

std::vector<float> WeightsOf(const LossHead& head) {
  std::vector<float> weights(5, -1.0f);
  ScaleWeights(FiveRows(), head, 0, 5, 0.25, weights.data());
  return weights;
}

TEST(KeepTask, LeavesItsSumAndTheNumberOfExamples) {
  const std::vector<Batch> lanes = {FiveRows(), Batch(), FiveRows()};
  std::vector<double> sums;
  SumWeights(lanes, 2, &sums);
  EXPECT_EQ(sums, (std::vector<double>{8, 13, 10}));
  KeepTask(1, absl::MakeSpan(sums));
  EXPECT_EQ(sums, (std::vector<double>{0, 13, 10}));
}

TEST(ScaleWeights, OfATaskAreItsOwn) {
  EXPECT_EQ(WeightsOf({.task = 1}), (std::vector<float>{0.5f, 0.5f, 0, 0.125f, 0.5f}));
}

TEST(ScaleWeights, OfEveryRowAreOne) {
  EXPECT_EQ(WeightsOf({.task = 1, .rows = Graph::LossRows::kEvery}),
            (std::vector<float>{0.25f, 0.25f, 0.25f, 0.25f, 0.25f}));
}

// A row of weight 0 in either task is not in its sample space, and its label means nothing.
TEST(ScaleWeights, OfGivenRowsLeaveOutLabelsThatMeanNothing) {
  EXPECT_EQ(WeightsOf({.task = 1, .given = 0, .rows = Graph::LossRows::kGiven}),
            (std::vector<float>{0.25f, 0, 0, 0.25f, 0}));
}

TEST(HeadScale, OfATaskWithoutWeightIsZeroForAllItsLosses) {
  std::vector<TaskConfig> tasks(2);
  tasks[1].set_weight(0.5);
  const std::vector<double> sums = {4, 8, 16}, absent = {4, 0, 16};
  using Rows = Graph::LossRows;
  for (const auto& [rows, scale] : std::vector<std::pair<Rows, double>>{
           {Rows::kTask, 3 * 0.5 / 8}, {Rows::kEvery, 3.0 / 16}, {Rows::kGiven, 3.0 / 16}}) {
    const LossHead head = {.task = 1, .given = 0, .rows = rows, .weight = 3};
    EXPECT_EQ(HeadScale(head, tasks, sums), scale);
    EXPECT_EQ(HeadScale(head, tasks, absent), 0);
    EXPECT_EQ(HeadScale(head, tasks, {0, 0, 0}), 0);
    tasks[1].set_weight(0);
    EXPECT_EQ(HeadScale(head, tasks, sums), 0);
    tasks[1].set_weight(0.5);
  }
}

TEST(HeadScale, OfATaskAsAPartOfTheBatchIsZeroWithoutARow) {
  std::vector<TaskConfig> tasks(1);
  tasks[0].set_normalize(TaskConfig::BATCH);
  EXPECT_EQ(HeadScale({.task = 0}, tasks, {4, 16}), 1.0 / 16);
  EXPECT_EQ(HeadScale({.task = 0}, tasks, {0, 16}), 0);
}

}  // namespace
}  // namespace pagoda
