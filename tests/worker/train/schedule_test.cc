// What falls due when.
#include "worker/train/schedule.h"

#include <gtest/gtest.h>

#include <limits>

namespace pagoda {
namespace {

constexpr int64_t kEnough = std::numeric_limits<int64_t>::max();

TrainConfig Epochs(int64_t epochs) {
  TrainConfig train;
  train.set_epochs(epochs);
  return train;
}

TEST(Schedule, EndsAfterItsEpochsOrItsSteps) {
  EXPECT_EQ(Schedule(Epochs(3), 10).end_step(), 30);
  TrainConfig train = Epochs(3);
  train.set_max_steps(29);
  EXPECT_EQ(Schedule(train, 10).end_step(), 29);
  train.set_max_steps(31);
  EXPECT_EQ(Schedule(train, 10).end_step(), 30);
}

// Rounds of turns have at most 2^20 steps a task; epochs may be 2^30.
TEST(Schedule, MoreStepsThanCanBeCountedAreTheMostThatCan) {
  EXPECT_EQ(Schedule(Epochs(1 << 30), int64_t{1} << 32).end_step(), int64_t{1} << 62);
  const Schedule endless(Epochs(1 << 30), int64_t{1} << 40);
  EXPECT_EQ(endless.end_step(), kEnough);
  EXPECT_TRUE(endless.CheckpointAfter(kEnough));
  TrainConfig train = Epochs(1 << 30);
  train.set_max_steps(7);
  EXPECT_EQ(Schedule(train, int64_t{1} << 40).end_step(), 7);
}

TEST(Schedule, EvaluatesAfterEpochsUnlessToldOtherwise) {
  TrainConfig train = Epochs(3);
  EXPECT_TRUE(Schedule(train, 10).EvaluateAfter(20));
  EXPECT_FALSE(Schedule(train, 10).EvaluateAfter(15));
  train.set_evaluate_every_steps(5);
  EXPECT_TRUE(Schedule(train, 10).EvaluateAfter(15));
  train.set_checkpoint_every_steps(4);
  EXPECT_TRUE(Schedule(train, 10).CheckpointAfter(8));
  EXPECT_FALSE(Schedule(train, 10).CheckpointAfter(9));
}

}  // namespace
}  // namespace pagoda
