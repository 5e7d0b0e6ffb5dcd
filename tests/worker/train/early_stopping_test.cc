#include "worker/train/early_stopping.h"

#include <cmath>

#include "gtest/gtest.h"

namespace pagoda {
namespace {

TEST(EarlyStopping, TheFirstScoreIsTheBestEvenBelowZero) {
  TrainState state;
  EXPECT_TRUE(RecordScore(-3.5, 10, &state));
  EXPECT_EQ(state.best_score(), -3.5);
  EXPECT_EQ(state.best_step(), 10);
}

TEST(EarlyStopping, AnEqualScoreIsNotBetter) {
  TrainState state;
  RecordScore(0.9, 10, &state);
  EXPECT_FALSE(RecordScore(0.9, 20, &state));
  EXPECT_EQ(state.best_step(), 10);
  EXPECT_EQ(state.evaluations_without_better(), 1u);
}

TEST(EarlyStopping, ABetterScoreBeginsTheCountAnew) {
  TrainState state;
  RecordScore(0.8, 10, &state);
  RecordScore(0.7, 20, &state);
  EXPECT_TRUE(RecordScore(0.9, 30, &state));
  EXPECT_EQ(state.evaluations_without_better(), 0u);
  EXPECT_EQ(state.best_step(), 30);
}

TEST(EarlyStopping, WhatIsNotANumberDoesNotCount) {
  TrainState state;
  for (int i = 1; i < 10; ++i) EXPECT_FALSE(RecordScore(std::nan(""), i, &state));
  EXPECT_FALSE(ShouldStop(state, 1));
  EXPECT_EQ(state.best_step(), 0);
  EXPECT_TRUE(RecordScore(-1, 30, &state));
  EXPECT_FALSE(RecordScore(std::nan(""), 40, &state));
  EXPECT_EQ(state.best_step(), 30);
  EXPECT_EQ(state.best_score(), -1);
  state.set_best_score(std::nan(""));
  EXPECT_TRUE(RecordScore(-2, 50, &state));
  EXPECT_FALSE(ShouldStop(state, 1));
}

TEST(EarlyStopping, StopsAfterPatienceEvaluations) {
  TrainState state;
  RecordScore(0.9, 10, &state);
  RecordScore(0.8, 20, &state);
  EXPECT_FALSE(ShouldStop(state, 2));
  RecordScore(0.8, 30, &state);
  EXPECT_TRUE(ShouldStop(state, 2));
  EXPECT_FALSE(ShouldStop(state, 0)) << "0 never stops";
}

}  // namespace
}  // namespace pagoda
