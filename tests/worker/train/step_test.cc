#include "worker/train/step.h"

#include <cmath>
#include <limits>

#include "tests/worker/train/step_testing.h"

namespace pagoda::testing {
namespace {

// The outcome of 4 lanes that every other arrangement of the same lanes must have.
const Outcome& Plain() {
  static const Outcome outcome = Train(MakeJob(), {});
  return outcome;
}

TEST(StepTest, LossesFall) {
  RunOptions run;
  run.steps = 40;
  const Outcome outcome = Train(MakeJob(), run);
  ASSERT_EQ(outcome.losses.size(), 40u);
  EXPECT_LT(outcome.losses[39][0], outcome.losses[0][0]);
  EXPECT_LT(outcome.losses[39][1], outcome.losses[0][1]);
}

TEST(StepTest, LanesMatter) {
  // The comparison of the tests below can fail: other lanes, other sums.
  RunOptions run;
  run.lanes = 2;
  const Outcome outcome = Train(MakeJob(), run);
  EXPECT_NE(outcome.digest, Plain().digest);
}

struct Arrangement {
  int threads, shards, workers;
};
class ArrangementTest : public ::testing::TestWithParam<Arrangement> {};

TEST_P(ArrangementTest, ChangesNoBits) {
  RunOptions run;
  run.threads = GetParam().threads;
  run.shards = GetParam().shards;
  run.workers = GetParam().workers;
  ExpectSame(Train(MakeJob(), run), Plain());
}

INSTANTIATE_TEST_SUITE_P(All, ArrangementTest,
                         ::testing::Values(Arrangement{2, 1, 1}, Arrangement{3, 1, 1},
                                           Arrangement{1, 2, 1}, Arrangement{1, 3, 1},
                                           Arrangement{3, 3, 1}, Arrangement{1, 1, 2},
                                           Arrangement{2, 3, 2}, Arrangement{1, 2, 4}),
                         [](const auto& info) {
                           return absl::StrCat(info.param.threads, "threads", info.param.shards,
                                               "shards", info.param.workers, "workers");
                         });

TEST(StepTest, ManyLanesInWaves) {
  // 32 lanes of one worker are several waves on one thread and fewer on three.
  RunOptions run;
  run.lanes = 32;
  run.rows = run.last_rows = 32 * 7;
  const Outcome one = Train(MakeJob(), run);
  run.threads = 3;
  ExpectSame(Train(MakeJob(), run), one);
  run.threads = 1;
  run.workers = 8;
  ExpectSame(Train(MakeJob(), run), one);
}

TEST(StepTest, ShortLastStepWithEmptyLanes) {
  RunOptions run;
  run.last_rows = 1;
  const Outcome one = Train(MakeJob(), run);
  run.workers = 4;  // Three of them have no examples in the last step.
  run.shards = 2;
  ExpectSame(Train(MakeJob(), run), one);
}

TEST(StepTest, PullsBetweenStepsChangeNothing) {
  RunOptions run;
  run.clean_cuts = true;
  ExpectSame(Train(MakeJob(), run), Plain());
}

}  // namespace
}  // namespace pagoda::testing
