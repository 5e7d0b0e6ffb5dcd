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

}  // namespace
}  // namespace pagoda
