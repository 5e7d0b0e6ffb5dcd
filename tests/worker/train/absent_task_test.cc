// A task without weight in a step contributes nothing to it: no gradient, of its loss or of those
// beside it; and what it alone reaches stands, with states, clock and rows.
#include "tests/worker/train/step_testing.h"

namespace pagoda::testing {
namespace {

using ::testing::ElementsAre;

constexpr int kRows = 100;

// Joint training of MakeJob's tasks, of which "time" reads a table and has layers of its own, and
// an optimizer for these. Beside its loss stand two more: over every row and over the clicked ones.
Job GroupsJob(double beside = 0.5) {
  Job job = MakeJob();
  Graph g(job.input.width);
  const Value shared = g.Columns(g.Input(), {{0, 16}, {19, 2}}),
              own = g.Columns(g.Input(), {{16, 3}});
  const Value bottom = g.Mlp("bottom", shared, {16, 8}, RELU);
  const Value click = g.Dense("click/out", bottom, 1);
  const Value time =
      g.Dense("time/out", g.Mlp("time/tower", g.Concat({bottom, own}), {8}, RELU), 1);
  g.Head("click", HeadKind::kProbability, click);
  g.Head("time", HeadKind::kNumber, time);
  Graph::HeadSpec head = {.name = "time/excess",
                          .kind = HeadKind::kValue,
                          .x = g.Activate(g.Add({time, click}, {1, -1}), RELU),
                          .y = {},
                          .has_loss = true,
                          .task = "time",
                          .reported = false,
                          .weight = beside,
                          .rows = Graph::LossRows::kEvery};
  g.AddHead(head);
  head.name = "time/counterfactual";
  head.kind = HeadKind::kInversePropensity;
  head.x = g.Concat({time, g.StopGradient(click)});
  head.parameter = 0.05;
  head.rows = Graph::LossRows::kGiven;
  head.given = "click";
  g.AddHead(head);
  job.graph = g;

  TrainingMethod& method = job.method;
  method.has_one_dense_optimizer = false;
  method.isolates_tasks = true;
  method.optimizers.push_back(method.optimizers[1]);
  StepOptimizer &sparse = method.optimizers[0], &dense = method.optimizers[1],
                &of_time = method.optimizers[2];
  for (const std::string& name : MovedParameters(g)) {
    (name.rfind("time/", 0) == 0 ? of_time : dense).parameters.push_back(name);
  }
  dense.owns_all_parameters = of_time.owns_all_parameters = false;
  sparse.tables = {0};
  of_time.name = "of_time";
  of_time.tables = {1};
  of_time.tasks = {"time"};
  *job.schema.add_optimizer() = job.schema.optimizer(1);
  job.schema.mutable_optimizer(2)->set_name("of_time");
  job.schema.mutable_table(1)->set_optimizer(0, 2);
  return job;
}

// One worker with one lane and shard.
class Alone {
 public:
  explicit Alone(const Job& job) : job_(job) {}

  // `time_is_there`: its examples have weight.
  void Step(bool time_is_there) {
    Batch batch = MakeBatch(job_, step_ * kRows, kRows);
    if (!time_is_there) std::fill_n(batch.weights.begin() + kRows, kRows, 0.0f);
    PreparedStepPtr step = stepper_.Prepare(step_++, {std::move(batch)});
    ASSERT_TRUE(stepper_.Announce(*step).ok());
    ASSERT_TRUE(stepper_.PullFirst(*step).ok());
    const absl::StatusOr<StepResult> result = stepper_.Run(*step, nullptr);
    ASSERT_TRUE(result.ok()) << result.status();
    losses = result->losses;
  }

  Outcome Now() { return {stepper_.DenseTensors(), cluster_.Digest(), {}, {}}; }
  absl::Span<const int64_t> clocks() const { return stepper_.steps_taken(); }
  std::vector<double> losses;  // Of the last step.

 private:
  const Job job_;
  const std::unique_ptr<Program> program_ = MakeProgram(job_);
  Cluster cluster_{job_, 1, 1, 1};
  const std::unique_ptr<Group> group_ = *OpenGroup(false, {});
  Stepper stepper_{OptionsFor(job_, 2, 1), program_.get(),     &job_.schema, job_.input,
                   group_.get(),           cluster_.Clients(0)};
  int64_t step_ = 0;
};

// The dense tensors of those that "time" alone reaches, weights and states, or of the others.
std::map<std::string, std::string> DenseOf(const Outcome& outcome, bool of_time) {
  std::map<std::string, std::string> bytes;
  for (const Tensor& tensor : outcome.dense) {
    if ((tensor.name.rfind("time/", 0) == 0) == of_time) bytes[tensor.name] = tensor.bytes;
  }
  return bytes;
}

TEST(AbsentTaskTest, WithoutARowItContributesNothing) {
  Alone run(GroupsJob());
  run.Step(true);
  ASSERT_THAT(run.clocks(), ElementsAre(1, 1, 1));
  const Outcome before = run.Now();
  for (int i = 0; i < 3; ++i) run.Step(false);
  EXPECT_GT(run.losses[0], 0);
  EXPECT_EQ(run.losses[1], 0);
  // Adam's momentum of the step before would move them.
  EXPECT_THAT(run.clocks(), ElementsAre(4, 4, 1));
  const Outcome after = run.Now();
  EXPECT_TRUE(DenseOf(after, true) == DenseOf(before, true));
  EXPECT_TRUE(DenseOf(after, false) != DenseOf(before, false));
  run.Step(true);
  EXPECT_THAT(run.clocks(), ElementsAre(5, 5, 2));
  EXPECT_TRUE(DenseOf(run.Now(), true) != DenseOf(before, true));
}

// Nor do its losses beside: what they weigh changes no bit, of rows neither.
TEST(AbsentTaskTest, TheLossesBesideItsOwnAreAbsentToo) {
  const auto end = [](double beside, bool has_weight, bool time_is_there) {
    Job job = GroupsJob(beside);
    if (!has_weight) job.tasks[1].set_weight(0);
    Alone run(job);
    for (int i = 0; i < 4; ++i) run.Step(time_is_there);
    EXPECT_EQ(run.clocks()[2], has_weight && time_is_there ? 4 : 0);
    return run.Now();
  };
  const Outcome none = end(0, false, true);
  for (const double beside : {0.6, 50.0}) {
    ExpectSame(end(beside, true, false), none);
    ExpectSame(end(beside, false, true), none);
    EXPECT_NE(end(beside, true, true).digest, none.digest);
  }
  EXPECT_NE(end(0.6, true, true).digest, end(50, true, true).digest);
}

// A weighting that gives it none is as good as no row.
TEST(AbsentTaskTest, AWeightingMayGiveItNone) {
  Job job = GroupsJob(), absent = GroupsJob();
  const auto point = [&](int64_t step, double weight) {
    WeightingPoint* added = job.weighting.add_point();
    added->set_task("time");
    added->set_step(step);
    added->set_weight(weight);
  };
  job.weighting.set_name("schedule");
  point(0, 1);
  point(1, 0);
  Alone run(job), wanted(absent);
  for (int t = 0; t < 4; ++t) {
    run.Step(true);
    wanted.Step(t == 0);
    if (t > 0) EXPECT_GT(run.losses[1], 0) << "it has a loss all the same";
  }
  EXPECT_THAT(run.clocks(), ElementsAre(4, 4, 1));
  ExpectSame(run.Now(), wanted.Now());
}

// Nor do weightings move what it alone reaches: those of losses, and those that have a pass a task.
TEST(AbsentTaskTest, NoWeightingMovesWhatItAloneReaches) {
  for (const char* weighting : {"uwl", "famo", "gradnorm", "pcgrad", "mgda"}) {
    SCOPED_TRACE(weighting);
    Job job = GroupsJob();
    Config config;
    for (const TaskConfig& task : job.tasks) *config.mutable_dataset()->add_task() = task;
    job.weighting.set_name(weighting);
    if (job.weighting.name() == "gradnorm") job.weighting.set_group("bottom/*");
    *config.mutable_train()->mutable_weighting() = job.weighting;
    ASSERT_TRUE(ArrangeWeighting(config, *job.graph, &job.method).ok());
    Alone run(job);
    run.Step(true);
    const Outcome before = run.Now();
    for (int t = 0; t < 3; ++t) run.Step(false);
    EXPECT_THAT(run.clocks(), ElementsAre(4, 4, 1));
    EXPECT_TRUE(DenseOf(run.Now(), true) == DenseOf(before, true));
    EXPECT_TRUE(DenseOf(run.Now(), false) != DenseOf(before, false));
  }
}

// Neither the worker that has a lane without a row of the task nor the one that has none decides.
TEST(AbsentTaskTest, AllArrangementsAgree) {
  Job job = GroupsJob();
  job.change_batch = [](Batch* batch) {
    for (int r = 0; r < batch->rows; ++r) {
      if (batch->record[r] != 320) batch->weights[batch->rows + r] = 0;  // In the second step.
    }
  };
  const Outcome one = Train(job, {});
  RunOptions run = {.workers = 2, .threads = 2, .shards = 3};
  ExpectSame(Train(job, run), one);
  run = {.workers = 4, .shards = 2, .clean_cuts = true};
  ExpectSame(Train(job, run), one);
}

}  // namespace
}  // namespace pagoda::testing
