// BatchNorm in whole steps: lanes, workers, running statistics and who moves them.
#include <cmath>
#include <map>
#include <string>

#include "tests/worker/train/step_testing.h"

namespace pagoda::testing {
namespace {

Graph NormGraph(const Job& job, bool sync) {
  Graph g(job.input.width);
  LayerStyle style(RELU);
  style.normalization = ModelConfig::BATCH;
  style.batch_norm.set_sync(sync);
  const Value bottom = g.Mlp("bottom", g.Input(), {32, 16}, style);
  for (const auto& [task, kind] :
       {std::pair("click", HeadKind::kProbability), std::pair("time", HeadKind::kNumber)}) {
    const std::string name = task;
    const Value h = g.Mlp(name + "/tower", bottom, {8}, style);
    g.Head(name, kind, g.Dense(name + "/out", h, 1));
  }
  return g;
}

// All dense parameters are one optimizer's, but for the running statistics.
Job NormJob(bool sync = false) {
  Job job = MakeJob();
  job.graph = NormGraph(job, sync);
  job.method.optimizers[1].owns_all_parameters = false;
  const ReferenceNetwork<float> network(*job.graph);
  for (const ParameterView& view : network.parameters()) {
    if (!view.is_statistic) job.method.optimizers[1].parameters.push_back(view.name);
  }
  return job;
}

// Each task has an optimizer and a pass: click's owns the bottom, too.
Job AlternatingJob() {
  Job job = NormJob();
  StepOptimizer& click = job.method.optimizers[1];
  StepOptimizer time = click;
  time.name = "time";
  time.pass = 1;
  click.tasks = {"click"};
  time.tasks = {"time"};
  const auto is_times = [](const std::string& name) { return name.rfind("time/", 0) == 0; };
  std::erase_if(click.parameters, is_times);
  std::erase_if(time.parameters, [&](const std::string& name) { return !is_times(name); });
  *job.schema.add_optimizer() = job.schema.optimizer(1);
  job.schema.mutable_optimizer(2)->set_name("time");
  job.method.passes = {{{"click"}}, {{"time"}}};
  job.method.optimizers.push_back(time);
  job.method.isolates_tasks = true;
  return job;
}

std::map<std::string, std::vector<float>> Values(const Outcome& outcome) {
  std::map<std::string, std::vector<float>> values;
  for (const Tensor& tensor : outcome.dense) {
    std::vector<float>& of = values[tensor.name];
    of.resize(tensor.bytes.size() / sizeof(float));
    std::memcpy(of.data(), tensor.bytes.data(), tensor.bytes.size());
  }
  return values;
}

class BatchNormStep : public ::testing::TestWithParam<bool> {};

TEST_P(BatchNormStep, ThreadsWorkersAndWavesChangeNoBits) {
  const Job job = NormJob(/*sync=*/GetParam());
  RunOptions run;
  run.lanes = 16;
  run.rows = 16 * 150;  // Two slices a lane.
  run.last_rows = 1;    // One lane of one row; workers without any.
  run.steps = 3;
  const Outcome one = Train(job, run);
  for (const auto& [threads, workers, shards] :
       {std::tuple(3, 1, 1), std::tuple(1, 2, 2), std::tuple(2, 8, 1)}) {
    run.threads = threads;
    run.workers = workers;
    run.shards = shards;
    ExpectSame(Train(job, run), one);
  }
}

INSTANTIATE_TEST_SUITE_P(Lanes, BatchNormStep, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "synchronised" : "by_lane"; });

double LossDifference(const Outcome& a, const Outcome& b) {
  double most = 0;
  for (size_t step = 0; step < a.losses.size(); ++step) {
    most = std::max(most, std::abs(a.losses[step][0] - b.losses[step][0]));
  }
  return most;
}

// Synchronised, many lanes are one: what is left is rounding. By lane they are another network.
TEST(BatchNormStep, SynchronisedLanesAreOneBatch) {
  RunOptions one_lane, four_lanes;
  one_lane.lanes = 1;
  const Outcome one = Train(NormJob(), one_lane);
  const Outcome synced = Train(NormJob(/*sync=*/true), four_lanes);
  const Outcome apart = Train(NormJob(), four_lanes);
  EXPECT_LT(LossDifference(one, synced), 1e-5);
  EXPECT_GT(LossDifference(one, apart), 1e-4);
  const auto want = Values(one), got = Values(synced);
  for (const auto& [name, values] : want) {
    if (name.find("/running_") == std::string::npos) continue;
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(got.at(name)[i], values[i], 1e-4 * (1 + std::abs(values[i]))) << name;
    }
  }
}

TEST(BatchNormStep, RunningStatisticsAreTensorsThatNoOptimizerHas) {
  RunOptions run;
  run.steps = 1;
  const auto values = Values(Train(NormJob(), run));
  int statistics = 0;
  for (const auto& [name, of] : values) {
    if (name.find("/running_") == std::string::npos) continue;
    ++statistics;
    EXPECT_EQ(name.find(".state"), std::string::npos) << name;
    const bool is_mean = name.ends_with(kRunningMean);
    float moved = 0;
    for (const float x : of) moved += std::abs(x - (is_mean ? 0 : 1));
    EXPECT_GT(moved, 0) << name;
  }
  EXPECT_EQ(statistics, 2 * 4);
}

// The pass that owns a layer moves its statistics; a task without weight moves none.
TEST(BatchNormStep, StatisticsMoveWithTheirOwner) {
  Job job = AlternatingJob();
  RunOptions run;
  run.steps = 2;
  const auto both = Values(Train(job, run));
  job.change_batch = [](Batch* batch) {
    std::fill(batch->weights.begin() + batch->rows, batch->weights.end(), 0.0f);
  };
  const auto click_alone = Values(Train(job, run));
  int compared = 0;
  for (const auto& [name, values] : click_alone) {
    if (name.rfind("time/", 0) != 0) {
      EXPECT_EQ(values, both.at(name)) << name;
      ++compared;
    } else if (name.ends_with(kRunningMean)) {
      EXPECT_EQ(values, std::vector<float>(values.size(), 0)) << name;
      EXPECT_NE(values, both.at(name)) << name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 10);
}

// Predictions use what is running: a row's do not depend on its neighbours.
TEST(BatchNormStep, PredictionsAreByRow) {
  const Job job = NormJob();
  const auto program = MakeProgram(job);
  Cluster cluster(job, 1, 1, 1);
  ThreadGroup group(0, 1, std::make_shared<ThreadGroup::Post>());
  Stepper stepper(OptionsFor(job, 1, 1), program.get(), &job.schema, job.input, &group,
                  cluster.Clients(0));
  RunOptions run;
  run.lanes = 1;
  std::vector<std::vector<double>> losses;
  RunWorker(job, run, 0, stepper, &losses);
  std::vector<std::vector<float>> many, one;
  ASSERT_TRUE(stepper.Predict(MakeBatch(job, 0, 600), &many).ok());
  for (int row : {0, 255, 599}) {
    ASSERT_TRUE(stepper.Predict(MakeBatch(job, row, 1), &one).ok());
    EXPECT_EQ(one[0][0], many[0][row]);
  }
}

}  // namespace
}  // namespace pagoda::testing
