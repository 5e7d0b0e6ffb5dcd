// Who updates what, and what of a data set is left of a choice of its tasks: resolved from a
// configuration.
#include "worker/train/method.h"

#include <string>
#include <vector>

#include "tests/worker/train/method_testing.h"

namespace pagoda::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> OptimizerNames(const Job& job) {
  std::vector<std::string> names;
  for (const StepOptimizer& one : job.method.optimizers) names.push_back(one.name);
  return names;
}

TEST(MethodTest, JointIsOnePassOfTheTwoDefaultOptimizers) {
  const Job job = GoodJob(kMmoe, "");
  EXPECT_THAT(OptimizerNames(job), ElementsAre("sparse", "dense"));
  EXPECT_THAT(Named(job, "sparse").tables, ElementsAre(0, 1));
  EXPECT_TRUE(Named(job, "dense").owns_all_parameters);
  EXPECT_EQ(job.method.passes.size(), 1u);
  EXPECT_TRUE(job.method.has_one_dense_optimizer);
  EXPECT_FALSE(job.method.isolates_tasks);
}

TEST(MethodTest, OneOptimizerMayServeRowsAndDenseParameters) {
  const Job job = GoodJob(kMmoe, "sparse_optimizer: 'dense'");
  EXPECT_THAT(OptimizerNames(job), ElementsAre("dense"));
  EXPECT_THAT(job.schema.table(1).optimizer(), ElementsAre(0));
}

TEST(MethodTest, TheFirstGroupThatMatchesWins) {
  const Job job = GoodJob(kMmoe,
                          "group { match: 'click/tower/*' optimizer: 'slow' }"
                          "group { match: 'click/*' optimizer: 'same' }"
                          "group { match: 'rows:table3' optimizer: 'slow' }");
  EXPECT_THAT(Named(job, "same").parameters, ElementsAre("click/gate/w"));
  EXPECT_THAT(Named(job, "slow").parameters,
              ElementsAre("click/tower/layer0/b", "click/tower/layer0/w", "click/tower/out/b",
                          "click/tower/out/w"));
  EXPECT_THAT(Named(job, "slow").tables, ElementsAre(1));
  EXPECT_THAT(Named(job, "sparse").tables, ElementsAre(0));
  EXPECT_FALSE(job.method.has_one_dense_optimizer);
}

// Whose losses move an optimizer: of one that owns things of several tasks, each of them.
TEST(MethodTest, AnOptimizerIsMovedByTheTasksThatReachWhatItOwns) {
  const Job job = GoodJob(kMmoe,
                          "group { match: 'time/*' optimizer: 'slow' } "
                          "group { match: 'experts/*' optimizer: 'same' }");
  EXPECT_THAT(Named(job, "sparse").tasks, ElementsAre("click", "time"));
  EXPECT_THAT(Named(job, "dense").tasks, ElementsAre("click"));
  EXPECT_THAT(Named(job, "same").tasks, ElementsAre("click", "time"));
  EXPECT_THAT(Named(job, "slow").tasks, ElementsAre("time"));
  const Job turns = GoodJob(kMmoe, "method: ALTERNATING");
  EXPECT_THAT(Named(turns, "click/dense").tasks, ElementsAre("click"));
  EXPECT_THAT(Named(turns, "time/sparse").tasks, ElementsAre("time"));
}

// AITM's calibrator is a part of the later step's loss, and reaches the one before.
TEST(MethodTest, ALossBesideATasksOwnMovesWhatItReaches) {
  const auto movers = [](const std::string& alpha) {
    const Job job = GoodJob(
        "name: 'aitm' bottom: [16] tower: [8] parameter { name: 'alpha' value: " + alpha + " }",
        "group { match: 'click/tower/*' optimizer: 'slow' }",
        "dataset { funnel: ['click', 'time'] task { name: 'time' loss: BCE } }");
    return Named(job, "slow").tasks;
  };
  EXPECT_THAT(movers("0"), ElementsAre("click"));
  EXPECT_THAT(movers("0.6"), ElementsAre("click", "time"));
}

TEST(MethodTest, ATaskOwnsWhatItsLossReaches) {
  const Job job = GoodJob(kMmoe, "method: ALTERNATING");
  EXPECT_THAT(OptimizerNames(job),
              ElementsAre("click/sparse", "click/dense", "time/sparse", "time/dense"));
  for (const std::string& name : Named(job, "click/dense").parameters) {
    EXPECT_NE(name.rfind("time/", 0), 0u) << name;
  }
  EXPECT_THAT(job.schema.table(0).optimizer(), ElementsAre(0, 2));
  EXPECT_THAT(job.method.frozen, IsEmpty());
}

// A layer cannot take a name back but by saying the empty one.
TEST(MethodTest, AnEmptyNameIsNoOptimizerOfATasksOwn) {
  const Job job = GoodJob(kMmoe,
                          "method: ALTERNATING "
                          "task { name: 'click' optimizer: '' sparse_optimizer: '' }");
  EXPECT_THAT(OptimizerNames(job),
              ElementsAre("click/sparse", "click/dense", "time/sparse", "time/dense"));
}

TEST(MethodTest, OwnsNarrowsAndWhatNobodyOwnsIsSaid) {
  const Job job = GoodJob(kMmoe,
                          "method: ALTERNATING task { name: 'click' owns: ['click/*', 'rows:*3'] }"
                          "task { name: 'time' optimizer: 'slow' owns: 'time/*' }");
  EXPECT_THAT(OptimizerNames(job), ElementsAre("click/sparse", "click/dense", "time/slow"));
  EXPECT_THAT(Named(job, "click/sparse").tables, ElementsAre(1));
  EXPECT_EQ(job.method.frozen.size(), 8u + 1);  // Two experts of two layers, and table8.
  EXPECT_EQ(job.method.frozen.back(), "rows:table8");
}

// `frozen` is the data set's word: no method, task or glob overrides it.
TEST(MethodTest, NobodyOwnsFrozenRows) {
  const std::string frozen = "dataset { feature { name: 'a' frozen: true } }";
  for (const char* train : {"", "method: ALTERNATING",
                            "method: ALTERNATING task { name: 'click' owns: ['*', 'rows:*'] }"}) {
    const Job job = GoodJob(kMmoe, train, frozen);
    EXPECT_THAT(job.schema.table(0).optimizer(), IsEmpty()) << train;
    EXPECT_FALSE(job.schema.table(1).optimizer().empty()) << train;
    EXPECT_THAT(job.method.frozen, ElementsAre("rows:table8")) << train;
  }
  for (const char* train : {"method: ALTERNATING task { name: 'click' owns: 'rows:table8' }",
                            "group { match: 'rows:table8' optimizer: 'slow' }"}) {
    const absl::Status status = JobOf(kMmoe, train, frozen).status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage) << train;
    EXPECT_THAT(std::string(status.message()), HasSubstr("rows:table8 is frozen")) << train;
  }
}

// As the two default optimizers, `train.group` is what a task has where it says nothing itself.
TEST(MethodTest, EveryTaskHasTheGroupsOfTrainBehindItsOwn) {
  const Job job = GoodJob(kMmoe,
                          "method: ALTERNATING group { match: 'experts/*/b' optimizer: 'slow' }"
                          "group { match: 'click/gate/*' optimizer: 'slow' }"
                          "group { match: 'rows:table3' optimizer: 'slow' }"
                          "task { name: 'click' group { match: 'experts/0/*' optimizer: 'same' } }"
                          "task { name: 'time' owns: ['experts/*', 'time/*'] optimizer: 'same' }");
  EXPECT_THAT(Named(job, "click/same").parameters,
              ElementsAre("experts/0/layer0/b", "experts/0/layer0/w", "experts/0/layer1/b",
                          "experts/0/layer1/w"));
  EXPECT_THAT(Named(job, "click/slow").parameters,
              ElementsAre("click/gate/w", "experts/1/layer0/b", "experts/1/layer1/b"));
  EXPECT_THAT(Named(job, "click/slow").tables, ElementsAre(1));
  EXPECT_THAT(Named(job, "click/sparse").tables, ElementsAre(0));
  EXPECT_THAT(Named(job, "time/slow").parameters,
              ElementsAre("experts/0/layer0/b", "experts/0/layer1/b", "experts/1/layer0/b",
                          "experts/1/layer1/b"));
  EXPECT_THAT(Named(job, "time/slow").tables, IsEmpty());
}

TEST(MethodTest, TasksMayBeASubset) {
  const Job job =
      GoodJob(kMmoe, "method: ALTERNATING tasks: 'click' task { name: 'time' owns: 'time/*' }");
  EXPECT_THAT(OptimizerNames(job), ElementsAre("click/sparse", "click/dense"));
  EXPECT_EQ(job.tasks.size(), 1u);
}

TEST(MethodTest, RefusesWhatCannotBeMeant) {
  const std::pair<const char*, const char*> cases[] = {
      {"task { name: 'click' }", "method: ALTERNATING"},
      {"method: ALTERNATING group { match: 'nobody/*' optimizer: 'slow' }", "train.group: match"},
      {"method: ALTERNATING group { match: '*/gate/*' optimizer: 'slow' } "
       "task { name: 'click' group { match: '*/gate/*' optimizer: 'same' } } "
       "task { name: 'time' group { match: '*/gate/*' optimizer: 'same' } }",
       "train.group: match \"*/gate/*\" finds nothing that no group before it has"},
      {"method: ALTERNATING task { name: 'clik' }", "did you mean click"},
      {"method: ALTERNATING task { name: 'click' optimizer: 'slwo' }", "did you mean slow"},
      {"method: ALTERNATING task { name: 'click' owns: 'time/*' }", "finds nothing"},
      {"method: ALTERNATING task { name: 'click' owns: 'rows:none' }", "rows:table8"},
      {"method: ALTERNATING task { name: 'click' owns: '' }", "is empty"},
      {"method: ALTERNATING task { name: 'click' group { match: 'x*' optimizer: 'slow' } }",
       "finds nothing"},
      {"group { match: 'nobody/*' optimizer: 'slow' }", "finds nothing"},
      {"group { match: '*' optimizer: 'slow' } group { match: 'click/*' optimizer: 'same' }",
       "finds nothing"},
      {"group { match: 'rows:' optimizer: 'slow' }", "needs a glob"},
      {"tasks: 'clik'", "did you mean click"},
      {"tasks: ['click', 'click']", "twice"},
      {"tasks: 'click' best_by: 'time'", "train.best_by"},
  };
  for (const auto& [train, message] : cases) {
    const absl::Status status = JobOf(kMmoe, train).status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage) << train;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << train;
  }
}

TEST(SelectTasksTest, NamesThatNoTaskHasAreSlips) {
  const auto error = [](const std::string& text) {
    Config config = *ParseConfig(
        "dataset { task { name: 'click' label: 'x' } "
        "task { name: 'time' label: 'y' } } " +
            text,
        "test");
    return std::string(SelectTasks(&config).message());
  };
  EXPECT_THAT(error("train { tasks: 'clik' }"), HasSubstr("train.tasks: the data set has no task"));
  EXPECT_THAT(error("train { task { name: 'clik' } }"), HasSubstr("train.task: the data set"));
  EXPECT_THAT(error("model { stop_shared_gate: 'tme' }"), HasSubstr("model.stop_shared_gate: the"));
  EXPECT_THAT(error("train { weighting { name: 'schedule' point { task: 'tme' } } }"),
              HasSubstr("train.weighting.point.task: the data set has no task \"tme\""));
  EXPECT_THAT(error("train { tasks: ['time', 'time'] }"), HasSubstr("is there twice"));
}

TEST(SelectTasksTest, ASourceNamesTasksThatAreThere) {
  Config config = *ParseConfig(
      "dataset { task { name: 'time' label: 'y' } source { path: 'a' task: 'tme' } }", "test");
  EXPECT_THAT(std::string(SelectTasks(&config).message()),
              HasSubstr("dataset.source.task: the data set has no task \"tme\""));
}

TEST(SelectTasksTest, WhatNamesATaskThatGoesGoesToo) {
  Config config = *ParseConfig(R"(
      dataset { task { name: 'click' label: 'x' } task { name: 'time' label: 'y' }
                funnel: ['click', 'time'] }
      model { stop_shared_gate: 'time' reads { match: 'level0/time/*' } reads { match: '*/gate' }
              reads { match: 'time/tower' } reads { match: 'times/tower' } }
      train { tasks: 'click' task { name: 'time' }
              group { match: 'rows:wide/time/*' } group { match: 'rows:wide/*' }
              group { match: 'rows:time/*' } group { match: 'time/*' }
              group { match: 'rows:time' }  # A table of that name.
              weighting { name: 'schedule' point { task: 'time' step: 1 weight: 2 }
                          point { task: 'click' step: 3 weight: 4 } } })",
                               "test");
  ASSERT_TRUE(SelectTasks(&config).ok());
  ASSERT_EQ(config.model().reads_size(), 2);
  EXPECT_EQ(config.model().reads(0).match(), "*/gate");
  EXPECT_EQ(config.model().reads(1).match(), "times/tower");
  EXPECT_EQ(config.dataset().task_size(), 1);
  EXPECT_THAT(config.dataset().funnel(), ElementsAre("click"));
  EXPECT_THAT(config.model().stop_shared_gate(), IsEmpty());
  EXPECT_THAT(config.train().task(), IsEmpty());
  ASSERT_EQ(config.train().group_size(), 2);
  EXPECT_EQ(config.train().group(0).match(), "rows:wide/*");
  EXPECT_EQ(config.train().group(1).match(), "rows:time");
  ASSERT_EQ(config.train().weighting().point_size(), 1);
  EXPECT_EQ(config.train().weighting().point(0).step(), 3);
}

TEST(SelectTasksTest, ASourceThatOnlyGoneTasksReadGoesToo) {
  Config config = *ParseConfig(R"(
      dataset { task { name: 'click' label: 'x' } task { name: 'time' label: 'y' }
                source { path: 'all' } source { path: 'both' task: ['time', 'click'] }
                source { path: 'gone' task: 'time' } }
      train { tasks: 'click' })",
                               "test");
  ASSERT_TRUE(SelectTasks(&config).ok());
  ASSERT_EQ(config.dataset().source_size(), 2);
  EXPECT_THAT(config.dataset().source(0).task(), IsEmpty());
  EXPECT_THAT(config.dataset().source(1).path(), ElementsAre("both"));
  EXPECT_THAT(config.dataset().source(1).task(), ElementsAre("click"));
}

// Statistics and rows' numbers remain those of a run of all tasks.
TEST(SelectTasksTest, WhenTasksAlternateASourcesRowsStay) {
  Config config = *ParseConfig(R"(
      dataset { task { name: 'click' label: 'x' } task { name: 'time' label: 'y' }
                source { path: 'all' } source { path: 'both' task: ['time', 'click'] }
                source { path: 'gone' task: 'time' } }
      train { method: ALTERNATING tasks: 'click' })",
                               "test");
  for (int again = 0; again < 2; ++again) {  // As a checkpoint's configuration is.
    ASSERT_TRUE(SelectTasks(&config).ok());
    ASSERT_EQ(config.dataset().source_size(), 3);
    EXPECT_FALSE(config.dataset().source(0).of_no_task());
    EXPECT_FALSE(config.dataset().source(1).of_no_task());
    EXPECT_TRUE(config.dataset().source(2).of_no_task());
    EXPECT_THAT(config.dataset().source(2).task(), IsEmpty());
  }
}

}  // namespace
}  // namespace pagoda::testing
