// Weightings at work in a step: the same bits for any split, what is equal to fixed weights, and
// what a step tells them.
#include "worker/train/step_weighting.h"

#include <cmath>

#include "absl/strings/match.h"
#include "google/protobuf/text_format.h"
#include "tests/worker/train/step_testing.h"

namespace pagoda::testing {
namespace {

Config ConfigOf(const Job& job, const std::string& weighting) {
  Config config;
  for (const TaskConfig& task : job.tasks) *config.mutable_dataset()->add_task() = task;
  CHECK(google::protobuf::TextFormat::ParseFromString(weighting,
                                                      config.mutable_train()->mutable_weighting()))
      << weighting;
  return config;
}

// The job with this weighting and the passes that it wants.
Job Weighted(Job job, const std::string& weighting) {
  const Config config = ConfigOf(job, weighting);
  const absl::Status arranged = ArrangeWeighting(config, MakeGraph(job), &job.method);
  CHECK(arranged.ok()) << arranged;
  job.weighting = config.train().weighting();
  return job;
}

// Without sums that run over layers of both tasks: then a pass more changes no bits.
Job Isolated(const std::string& rule = "adam") {
  Job job = MakeJob(FeatureConfig::MEAN, rule);
  job.method.isolates_tasks = true;
  return job;
}

std::string Parameter(const std::string& name, double value) {
  return absl::StrCat("parameter { name: '", name, "' value: ", value, " }");
}

// A test's own: sum_k g_k through the path of weightings of gradients.
class PlainSum : public Weighting {
 public:
  WeightingNeeds needs() const override { return WeightingNeeds::kSharedGram; }
  bool weighs_losses() const override { return false; }
  void Weights(const WeightingStep&, absl::Span<double> c) override {
    std::fill(c.begin(), c.end(), 1.0);
  }
};
PAGODA_REGISTER_WEIGHTING({
    .name = "test_sum",
    .help = "the plain sum, through the Gram matrix",
    .source = "",
    .parameters = {},
    .make = [](const WeightingArgs&) -> std::unique_ptr<Weighting> {
      return std::make_unique<PlainSum>();
    },
});

const std::vector<std::string>& Weightings() {
  static const auto* const all = new std::vector<std::string>{
      "name: 'schedule' point { task: 'click' step: 0 weight: 1 } "
      "point { task: 'click' step: 3 weight: 4 }",
      "name: 'uwl'",
      "name: 'dwa' " + Parameter("window_steps", 1),
      "name: 'gradnorm' group: 'bottom/*'",
      "name: 'pcgrad'",
      "name: 'mgda'",
      "name: 'famo' " + Parameter("rate", 1),
  };
  return *all;
}

TEST(StepWeightingTest, TheSameBitsForAnySplit) {
  for (const std::string& weighting : Weightings()) {
    SCOPED_TRACE(weighting);
    const Job job = Weighted(MakeJob(), weighting);
    const RunOptions one = {.lanes = 4, .last_rows = 17};
    const Outcome wanted = Train(job, one);
    RunOptions run = one;
    run.workers = 2;
    run.threads = 2;
    run.shards = 2;
    ExpectSame(Train(job, run), wanted);
    run.workers = 4;
    run.shards = 3;
    run.clean_cuts = true;
    ExpectSame(Train(job, run), wanted);
  }
}

TEST(StepWeightingTest, EachMovesOtherwiseThanFixedWeights) {
  const RunOptions run = {.lanes = 2, .steps = 5};
  const Outcome fixed = Train(MakeJob(), run);
  for (const std::string& weighting : Weightings()) {
    EXPECT_NE(Train(Weighted(MakeJob(), weighting), run).digest, fixed.digest) << weighting;
  }
  ExpectSame(Train(Weighted(MakeJob(), "name: 'fixed'"), run), fixed);
}

// ---- identities, exact, over 20 steps

constexpr RunOptions kLong = {.lanes = 2, .steps = 20, .rows = 100, .last_rows = 100};

TEST(StepWeightingTest, GradNormWithoutARateIsFixed) {
  const std::string weighting = "name: 'gradnorm' group: 'bottom/*' " + Parameter("rate", 0);
  ExpectSame(Train(Weighted(Isolated(), weighting), kLong), Train(Isolated(), kLong));
}

TEST(StepWeightingTest, FamoWithoutARateIsFixed) {
  const std::string weighting = "name: 'famo' " + Parameter("rate", 0);
  ExpectSame(Train(Weighted(MakeJob(), weighting), kLong), Train(MakeJob(), kLong));
}

TEST(StepWeightingTest, DwaOfGreatTemperatureIsEqualWeights) {
  const std::string weighting =
      "name: 'dwa' " + Parameter("temperature", 1e9) + Parameter("window_steps", 2);
  ExpectSame(Train(Weighted(MakeJob(), weighting), kLong), Train(MakeJob(), kLong));
}

TEST(StepWeightingTest, FrozenUwlIsWeightsOneAndTwo) {
  const std::string two = "name: 'schedule' point { task: 'click' step: 0 weight: 2 }";
  ExpectSame(Train(Weighted(MakeJob(), "name: 'uwl' " + Parameter("frozen", 1)), kLong),
             Train(Weighted(MakeJob(), two), kLong));
}

// Two tasks with one gradient do not conflict.
TEST(StepWeightingTest, PcGradWithoutConflictIsThePlainSum) {
  Job job = MakeJob();
  for (TaskConfig& task : job.tasks) {
    task.clear_loss();
    task.clear_normalize();
    task.clear_weight();
  }
  job.change_batch = [](Batch* batch) {
    for (int r = 0; r < batch->rows; ++r) {
      batch->labels[batch->rows + r] = batch->labels[r];
      batch->weights[batch->rows + r] = batch->weights[r];
    }
  };
  Graph g(job.input.width);
  const Value bottom = g.Mlp("bottom", g.Input(), {32, 16}, RELU);
  const Value out = g.Dense("out", bottom, 1);
  g.Head("click", HeadKind::kProbability, out);
  g.Head("time", HeadKind::kProbability, out);
  job.graph = g;
  ExpectSame(Train(Weighted(job, "name: 'pcgrad'"), kLong),
             Train(Weighted(job, "name: 'test_sum'"), kLong));
}

// ---- what a step tells

// Runs `steps` times the same batch, or with `walks` one after the other; on one worker.
std::vector<StepResult> RunAlone(const Job& job, int lanes, int steps, bool walks,
                                 std::vector<double>* state = nullptr) {
  const RunOptions run = {.lanes = lanes, .steps = steps + 1, .rows = 120, .last_rows = 120};
  const std::unique_ptr<Program> program = MakeProgram(job);
  Cluster cluster(job, 2, 1, lanes);
  ThreadGroup group(0, 1, std::make_shared<ThreadGroup::Post>());
  Stepper stepper(OptionsFor(job, 1, lanes), program.get(), &job.schema, job.input, &group,
                  cluster.Clients(0));
  std::vector<StepResult> results;
  for (int64_t t = 0; t < steps; ++t) {
    std::vector<Batch> batches;
    for (int lane = 0; lane < lanes; ++lane) {
      batches.push_back(MakeLane(job, walks ? t * run.rows : 0, run.rows, lane, lanes));
    }
    const PreparedStepPtr step = stepper.Prepare(t, std::move(batches));
    EXPECT_TRUE(stepper.Announce(*step).ok());
    EXPECT_TRUE(stepper.PullFirst(*step).ok());
    absl::StatusOr<StepResult> result = stepper.Run(*step, nullptr);
    CHECK(result.ok()) << result.status();
    results.push_back(*std::move(result));
  }
  if (state != nullptr) {
    state->assign(stepper.weighting_state().begin(), stepper.weighting_state().end());
  }
  return results;
}

// With the network at rest s goes to log 2L of a class and log L of a number.
TEST(StepWeightingTest, UwlOfAFrozenNetworkConverges) {
  Job job = MakeJob(FeatureConfig::MEAN, "sgd");
  for (StepOptimizer& optimizer : job.method.optimizers) optimizer.config.set_learning_rate(0);
  job = Weighted(job, "name: 'uwl' " + Parameter("rate", 0.2));
  const std::vector<StepResult> results = RunAlone(job, 2, 120, /*walks=*/false);
  const StepResult &first = results.front(), &last = results.back();
  EXPECT_EQ(last.losses, first.losses);
  ASSERT_EQ(last.weighting.size(), 2u);
  EXPECT_EQ(last.weighting[0].name, "s/click");
  EXPECT_NEAR(last.weighting[0].value, std::log(2 * last.losses[0]), 1e-6);
  EXPECT_NEAR(last.weighting[1].value, std::log(last.losses[1]), 1e-6);
  EXPECT_EQ(first.weights, (std::vector<double>{2, 1}));
}

// The dense rule's decay is of weights; s has none.
TEST(StepWeightingTest, UwlTakesNoDecayFromTheDenseRule) {
  const auto state_after = [](const std::string& rule, const std::string& decay, double value) {
    Job job = MakeJob();
    OptimizerConfig& dense = job.method.optimizers[1].config;
    dense.set_rule(rule);
    dense.clear_parameter();
    dense.add_parameter()->set_name(decay);
    dense.mutable_parameter(0)->set_value(value);
    StepWeightingOptions options;
    options.config.set_name("uwl");
    StepWeighting weighting(options, job.tasks, job.method, 1);
    for (int step = 0; step < 5; ++step) {
      weighting.Begin(step, {10, 10, 10}, 0.1);
      weighting.SetLosses({0.3, 7});
      weighting.FindWeights();
      weighting.Observe();
    }
    return std::vector<double>(weighting.state().begin(), weighting.state().end());
  };
  for (const auto& [rule, decay] : std::vector<std::pair<std::string, std::string>>{
           {"adamw", "weight_decay"}, {"sgd", "l2"}, {"ftrl", "l1"}, {"ftrl", "l2"}}) {
    const std::vector<double> state = state_after(rule, decay, 0);
    EXPECT_NE(state[0], 0) << rule;
    EXPECT_EQ(state_after(rule, decay, 0.5), state) << rule << " " << decay;
  }
}

// Lanes cut the sums elsewhere; ids repeat across them.
TEST(StepWeightingTest, LanesChangeCoefficientsByRoundingOnly) {
  for (const std::string& weighting : Weightings()) {
    const Job job = Weighted(MakeJob(), weighting);
    const std::vector<StepResult> one = RunAlone(job, 1, 3, /*walks=*/true);
    for (const int lanes : {2, 8}) {
      const std::vector<StepResult> some = RunAlone(job, lanes, 3, /*walks=*/true);
      for (size_t t = 0; t < one.size(); ++t) {
        for (int k = 0; k < 2; ++k) {
          EXPECT_NEAR(some[t].weights[k], one[t].weights[k], 2e-4) << weighting << lanes;
          EXPECT_NEAR(some[t].losses[k], one[t].losses[k], 1e-4) << weighting << lanes;
        }
      }
    }
  }
}

// The state goes on where it was left.
TEST(StepWeightingTest, AnAbsentTaskMovesNothing) {
  for (const std::string& weighting : Weightings()) {
    SCOPED_TRACE(weighting);
    Job job = MakeJob(FeatureConfig::MEAN, "sgd");
    job.change_batch = [](Batch* batch) {
      std::fill(batch->weights.begin(), batch->weights.begin() + batch->rows, 0.0f);
    };
    for (const StepResult& result : RunAlone(Weighted(job, weighting), 2, 3, /*walks=*/true)) {
      EXPECT_EQ(result.losses[0], 0);
      EXPECT_EQ(result.weights[0], 0);
      EXPECT_GT(result.weights[1], 0);
      for (const NamedValue& value : result.weighting) {
        if (!absl::EndsWith(value.name, "/click") || absl::StartsWith(value.name, "w/")) continue;
        EXPECT_EQ(value.value, 0) << value.name;
      }
    }
  }
}

// ---- configuration

std::string ErrorOf(const std::string& weighting, TrainConfig::Method method = TrainConfig::JOINT,
                    const std::string& rule = "adam") {
  Job job = MakeJob(FeatureConfig::MEAN, rule);
  Config config = ConfigOf(job, weighting);
  config.mutable_train()->set_method(method);
  return std::string(ArrangeWeighting(config, MakeGraph(job), &job.method).message());
}

TEST(StepWeightingTest, RefusesWhatCannotBeDone) {
  EXPECT_THAT(ErrorOf("name: 'pcgrd'"), ::testing::HasSubstr("pcgrad"));
  EXPECT_THAT(ErrorOf("name: 'uwl'", TrainConfig::ALTERNATING),
              ::testing::HasSubstr("ALTERNATING"));
  EXPECT_EQ(ErrorOf("name: 'fixed'", TrainConfig::ALTERNATING), "");
  EXPECT_THAT(ErrorOf("name: 'uwl'", TrainConfig::JOINT, "lamb"), ::testing::HasSubstr("lamb"));
  EXPECT_EQ(ErrorOf("name: 'dwa'", TrainConfig::JOINT, "lamb"), "");
  EXPECT_THAT(ErrorOf("name: 'uwl' group: 'bottom/*'"), ::testing::HasSubstr("no use for it"));
  EXPECT_THAT(ErrorOf("name: 'gradnorm'"), ::testing::HasSubstr("matches none"));
  EXPECT_THAT(ErrorOf("name: 'gradnorm' group: 'bottm/*'"), ::testing::HasSubstr("matches none"));
  EXPECT_THAT(ErrorOf("name: 'dwa' " + Parameter("temprature", 1)),
              ::testing::HasSubstr("temperature"));
}

TEST(StepWeightingTest, AStateOfAnotherWeightingIsRefused) {
  const Job job = MakeJob();
  const auto manifest = [&](const std::string& weighting, const std::vector<double>& state) {
    Manifest stored;
    *stored.mutable_config() = ConfigOf(job, weighting);
    *stored.mutable_state()->mutable_weighting_state() = {state.begin(), state.end()};
    return stored;
  };
  const auto error = [&](const std::string& weighting, const Manifest& stored) {
    return std::string(CheckWeightingState(ConfigOf(job, weighting), job.method, stored).message());
  };
  const Manifest fixed = manifest("name: 'fixed'", {}), two = manifest("name: 'famo'", {0, 0});
  EXPECT_EQ(error("name: 'fixed'", fixed), "");
  EXPECT_THAT(error("name: 'fixed'", two), ::testing::HasSubstr("famo"));
  EXPECT_THAT(error("name: 'uwl'", fixed), ::testing::HasSubstr("fixed"));
  std::vector<double> state;
  RunAlone(Weighted(job, "name: 'uwl'"), 1, 1, false, &state);
  EXPECT_EQ(error("name: 'uwl'", manifest("name: 'uwl'", state)), "");
  // One of as many numbers.
  const std::vector<double> four(4);
  EXPECT_THAT(error("name: 'gradnorm' group: 'bottom/*'", manifest("name: 'famo'", four)),
              ::testing::HasSubstr("famo"));
  EXPECT_THAT(error("name: 'gradnorm' group: 'bottom/*'",
                    manifest("name: 'gradnorm' group: 'bottom/*'", {0})),
              ::testing::HasSubstr("1 numbers"));
  // Of the same tasks, which the numbers know by place.
  Manifest turned = manifest("name: 'famo'", {0, 0});
  turned.mutable_config()->mutable_dataset()->mutable_task()->SwapElements(0, 1);
  EXPECT_THAT(error("name: 'famo'", turned), ::testing::HasSubstr("tasks"));
}

}  // namespace
}  // namespace pagoda::testing
