// That what one task learns does not depend on another one that owns nothing of it, and what
// optimizers of several tasks do in one step.
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/worker/train/method_testing.h"

namespace pagoda::testing {
namespace {

using ::testing::ElementsAre;

std::map<std::string, std::string> BytesByName(const Outcome& outcome) {
  std::map<std::string, std::string> bytes;
  for (const Tensor& tensor : outcome.dense) bytes[tensor.name] = tensor.bytes;
  return bytes;
}

bool IsState(const std::string& name) { return name.find(".state") != std::string::npos; }

// All that `some` has, `all` has with the same bits.
void ExpectPart(const Outcome& some, const Outcome& all,
                const std::function<bool(const std::string&)>& counts) {
  const auto have = BytesByName(all);
  int compared = 0;
  for (const auto& [name, bytes] : BytesByName(some)) {
    if (!counts(name)) continue;
    ++compared;
    ASSERT_EQ(have.count(name), 1u) << name;
    EXPECT_TRUE(have.at(name) == bytes) << name << " differs";
  }
  EXPECT_GT(compared, 0);
}

std::vector<double> LossesOf(const Outcome& outcome, int task) {
  std::vector<double> losses;
  for (const std::vector<double>& step : outcome.losses) losses.push_back(step[task]);
  return losses;
}

void PermuteTime(Batch* batch) {
  std::reverse(batch->labels.begin() + batch->rows, batch->labels.end());
}

struct Case {
  const char* name;
  const char* model;
  const char* time_owns;  // Nothing that click's output reads.
  const char* more = "";  // Over the configuration of all runs.
  // What is derived of the model when there is no task "time".
  const char* derived = "";
  bool time_has_space = false;  // A sample space, of which the second step has no row.
};

// The task's label, what its sample space leaves, and nothing else.
void GiveTimeASpace(Batch* batch) {
  for (int b = 0; b < batch->rows; ++b) {
    const bool is_in = batch->labels[b] == 1 && batch->record[b] / 300 != 1;
    if (!is_in) batch->weights[batch->rows + b] = 0;
  }
}

class IndependenceTest : public ::testing::TestWithParam<Case> {
 protected:
  static Job Plain() { return GoodJob(GetParam().model, TrainText()); }
  static Job Both() {
    Job job = GoodJob(GetParam().model, TrainText(), GetParam().more);
    if (GetParam().time_has_space) job.change_batch = GiveTimeASpace;
    return job;
  }
  // As if the data set had no task "time", nor what only it reads.
  static Job Alone() {
    Job job = GoodJob(absl::StrCat(GetParam().model, " ", GetParam().derived),
                      TrainText() + " tasks: 'click'", GetParam().more);
    job.change_batch = [has_dense = !job.input.dense.empty()](Batch* batch) {
      batch->labels.resize(batch->rows);
      batch->weights.resize(batch->rows);
      if (!has_dense) batch->dense.clear();
    };
    return job;
  }
  static Job Permuted() {
    Job job = Both();
    job.change_batch = [change = job.change_batch](Batch* batch) {
      if (change) change(batch);
      PermuteTime(batch);
    };
    return job;
  }

 private:
  static std::string TrainText() {
    return absl::StrCat("method: ALTERNATING task { name: 'time' optimizer: 'slow' owns: [",
                        GetParam().time_owns, "] }");
  }
};

TEST_P(IndependenceTest, TheOtherTaskMightNotBeThere) {
  const Outcome both = Train(Both(), {}), one = Train(Alone(), {});
  ExpectPart(one, both, [](const std::string&) { return true; });
  EXPECT_EQ(one.digest, both.digest);  // Rows with their states and counters.
  EXPECT_EQ(LossesOf(one, 0), LossesOf(both, 0));
  EXPECT_EQ(one.predictions[0], both.predictions[0]);
}

TEST_P(IndependenceTest, TheOtherTasksLabelsDoNotMatter) {
  const Outcome both = Train(Both(), {}), permuted = Train(Permuted(), {});
  ExpectPart(permuted, both,
             [](const std::string& name) { return name.find("time/") == std::string::npos; });
  EXPECT_EQ(permuted.digest, both.digest);
  EXPECT_EQ(permuted.predictions[0], both.predictions[0]);
  // The comparison can fail: what time owns does differ.
  EXPECT_NE(LossesOf(permuted, 1), LossesOf(both, 1));
  EXPECT_NE(permuted.predictions[1], both.predictions[1]);
  // And so can the condition: without it, the same model learns something else.
  const bool is_plain = *GetParam().more == 0 && !GetParam().time_has_space;
  EXPECT_EQ(Train(Plain(), {}).predictions == both.predictions, is_plain);
}

constexpr char kCgc[] =
    "name: 'cgc' expert: [16, 8] tower: [8] level { task_experts: 2 shared_experts: 2 }";
constexpr char kOfCgc[] = "'time/*', 'level0/time/*'";

INSTANTIATE_TEST_SUITE_P(
    All, IndependenceTest,
    ::testing::Values(
        Case{"SharedBottom", "name: 'shared_bottom' bottom: [32, 16] tower: [8]", "'time/*'"},
        Case{"Mmoe", kMmoe, "'time/*'"}, Case{"Cgc", kCgc, kOfCgc},
        Case{"PleStopped",
             "name: 'ple' expert: [16, 8] tower: [8] stop_shared_gate: 'time' "
             "level { task_experts: 2 shared_experts: 2 }"
             "level { task_experts: 2 shared_experts: 2 }",
             "'time/*', 'level?/time/*'"},
        // The tightest norm of one task's gradient is no other's.
        Case{"ClippedNorms", kCgc, kOfCgc,
             "optimizer { name: 'dense' clip_norm: 0.01 }"
             "optimizer { name: 'sparse' clip_norm: 0.001 }"
             "optimizer { name: 'slow' clip_norm: 0.02 }"},
        Case{"ClippedNormsMmoe", kMmoe, "'time/*'",
             "optimizer { name: 'dense' clip_norm: 0.01 clip_value: 0.002 }"},
        Case{"Dropout", kMmoe, "'time/*'", "model { dropout: 0.4 }"},
        Case{"DropoutCgc", kCgc, kOfCgc, "model { dropout: 0.4 }"},
        Case{"Schedules", kMmoe, "'time/*'",
             "optimizer { name: 'dense' schedule { kind: COSINE decay_steps: 3 } }"
             "optimizer { name: 'sparse' schedule { kind: STEP decay_steps: 1 } }"
             "optimizer { name: 'slow' schedule { warmup_steps: 2 } }",
             "", /*time_has_space=*/true},
        Case{"Averages", kMmoe, "'time/*'", "train { ema_decay: 0.7 }"},
        Case{"SampleSpace", kCgc, kOfCgc, "", "", /*time_has_space=*/true},
        // Alone, the experts' features are all that there are; so many columns are
        // products whose sums are taken in parts.
        Case{"Reads", "name: 'mmoe' experts: 8 expert: [256, 8] tower: [8]", "'time/*'",
             "model { reads { match: 'experts' feature: ['a', 'b'] } "
             "reads { match: 'click/gate' feature: 'a' } "
             "reads { match: 'time/*' feature: ['c', 'p', 'q'] } }",
             "unread_feature: ['c', 'p', 'q']"},
        Case{"ReadsCgc", kCgc, kOfCgc,
             "model { reads { match: 'level0/click/*' feature: ['b', 'a'] } "
             "reads { match: 'level0/shared*' feature: ['a', 'b'] } "
             "reads { match: 'click/tower' feature: ['a', 'b'] } "
             "reads { match: 'level0/time/*' feature: ['c', 'p'] } "
             "reads { match: 'time/tower' feature: 'q' } }",
             "unread_feature: ['c', 'p', 'q']"}),
    [](const auto& info) { return info.param.name; });

TEST(AlternatingTest, SharedOwnershipIsNotIndependent) {
  // What the tests above compare does change where time owns it too.
  Job job = GoodJob(kMmoe, "method: ALTERNATING");
  const Outcome both = Train(job, {});
  job.change_batch = PermuteTime;
  const Outcome permuted = Train(job, {});
  EXPECT_NE(permuted.digest, both.digest);
  EXPECT_NE(permuted.predictions[0], both.predictions[0]);
}

TEST(AlternatingTest, TheFirstOwningAllIsJointWithWeightsOneAndZero) {
  const RunOptions run = {.steps = 20, .rows = 100, .last_rows = 100};
  const Outcome alternating =
      Train(GoodJob(kMmoe, "method: ALTERNATING task { name: 'time' owns: 'time/*' }"), run);
  const Outcome joint =
      Train(GoodJob(kMmoe, "", "dataset { task { name: 'time' weight: 0 } }"), run);
  ExpectPart(joint, alternating, [](const std::string& name) {
    return !IsState(name) && name.find("time/") == std::string::npos;
  });
  EXPECT_EQ(joint.digest, alternating.digest);
  EXPECT_EQ(LossesOf(joint, 0), LossesOf(alternating, 0));
  EXPECT_EQ(joint.predictions[0], alternating.predictions[0]);
}

TEST(AlternatingTest, ThreadsShardsAndWorkersChangeNoBits) {
  const Job job = GoodJob(kMmoe, "method: ALTERNATING task { name: 'time' optimizer: 'slow' }");
  const Outcome plain = Train(job, {});
  RunOptions run;
  run.threads = 3;
  ExpectSame(Train(job, run), plain);
  run = {.workers = 2, .shards = 3};
  ExpectSame(Train(job, run), plain);
  run = {.workers = 4, .clean_cuts = true};
  ExpectSame(Train(job, run), plain);
}

TEST(GroupsTest, EqualOptimizersAreAsGoodAsOne) {
  // "same" has dense's rule and rate: which of them owns what changes no weight.
  const Outcome one = Train(GoodJob(kMmoe, ""), {});
  const Job several = GoodJob(kMmoe,
                              "group { match: 'experts/1/*' optimizer: 'same' }"
                              "group { match: '*/gate/w' optimizer: 'same' }");
  const Outcome two = Train(several, {});
  ExpectPart(one, two, [](const std::string& name) { return !IsState(name); });
  EXPECT_EQ(one.digest, two.digest);
  const auto states = BytesByName(two), plain = BytesByName(one);
  EXPECT_TRUE(states.at("experts/1/layer0/w.same.state1") == plain.at("experts/1/layer0/w.state1"));
  EXPECT_TRUE(states.at("experts/0/layer0/w.dense.state0") ==
              plain.at("experts/0/layer0/w.state0"));
  RunOptions run = {.workers = 2, .threads = 2};
  ExpectSame(Train(several, run), two);
}

TEST(GroupsTest, WholeTensorsAndLimitsOnNormsDoNotDependOnTheArrangement) {
  const Job job =
      GoodJob(kMmoe,
              "group { match: '*/gate/w' optimizer: 'lamb' } group { match: 'experts/0/*' "
              "optimizer: 'clipped' } group { match: 'rows:table3' optimizer: 'clipped' }",
              "optimizer { name: 'lamb' rule: 'lamb' learning_rate: 0.01 }"
              "optimizer { name: 'clipped' rule: 'sgd' learning_rate: 0.1 clip_norm: 0.01 "
              "            clip_value: 0.002 schedule { warmup_steps: 3 } }");
  const Outcome plain = Train(job, {});
  RunOptions run;
  run.threads = 3;
  ExpectSame(Train(job, run), plain);
  run = {.workers = 4, .threads = 2, .shards = 2};
  ExpectSame(Train(job, run), plain);
}

// ---- clocks

class ClockTest : public ::testing::Test {
 protected:
  absl::Status RunOne(int64_t step, Batch batch) {
    PreparedStepPtr prepared = stepper_.Prepare(step, {std::move(batch)});
    RETURN_IF_ERROR(stepper_.Announce(*prepared));
    RETURN_IF_ERROR(stepper_.PullFirst(*prepared));
    return stepper_.Run(*prepared, nullptr).status();
  }

  const Job job_ = GoodJob(kMmoe, "method: ALTERNATING");
  const std::unique_ptr<Program> program_ = MakeProgram(job_);
  Cluster cluster_{job_, 1, 1, 1};
  const std::unique_ptr<Group> group_ = *OpenGroup(false, {});
  Stepper stepper_{OptionsFor(job_, 1, 1), program_.get(),     &job_.schema, job_.input,
                   group_.get(),           cluster_.Clients(0)};
};

TEST_F(ClockTest, ATaskWithoutWeightInAStepDoesNotMove) {
  ASSERT_TRUE(RunOne(0, MakeBatch(job_, 0, 100)).ok());
  EXPECT_THAT(stepper_.steps_taken(), ElementsAre(1, 1, 1, 1));
  Outcome before;
  before.dense = stepper_.DenseTensors();
  Batch without = MakeBatch(job_, 100, 100);
  std::fill_n(without.weights.begin(), 100, 0.0f);
  ASSERT_TRUE(RunOne(1, without).ok());
  EXPECT_THAT(stepper_.steps_taken(), ElementsAre(1, 1, 2, 2));
  Outcome after;
  after.dense = stepper_.DenseTensors();
  ExpectPart(before, after, [](const std::string& name) {
    return name.rfind("click/", 0) == 0 || name.find(".click/") != std::string::npos;
  });
}

// A step of `time` alone is one in which click weighs nothing in any loss; escm2's loss of the
// conversion still sees who clicked.
TEST(TurnTest, AStepOfOneTaskIsAsIfTheOthersWeighedNothing) {
  const auto train = [](const std::string& click, int only_task) {
    Job job = GoodJob("name: 'escm2' bottom: [16] tower: [8]", "method: ALTERNATING",
                      absl::StrCat("dataset { funnel: ['click', 'time'] task { name: 'click' ",
                                   click, " } task { name: 'time' loss: BCE } }"));
    job.change_batch = [](Batch* batch) {
      for (int b = 0; b < batch->rows; ++b) {
        float& bought = batch->labels[batch->rows + b];
        bought = bought > 3 && batch->labels[b] != 0;
      }
    };
    const std::unique_ptr<Program> program = MakeProgram(job);
    Cluster cluster(job, 1, 1, 1);
    const std::unique_ptr<Group> group = *OpenGroup(false, {});
    Stepper stepper(OptionsFor(job, 1, 1), program.get(), &job.schema, job.input, group.get(),
                    cluster.Clients(0));
    Outcome outcome;
    for (int64_t t = 0; t < 3; ++t) {
      PreparedStepPtr step = stepper.Prepare(t, {MakeBatch(job, 100 * t, 100)}, only_task);
      EXPECT_TRUE(stepper.Announce(*step).ok());
      EXPECT_TRUE(stepper.PullFirst(*step).ok());
      const auto result = stepper.Run(*step, nullptr);
      EXPECT_TRUE(result.ok()) << result.status();
      if (result.ok()) outcome.losses.push_back(result->losses);
    }
    outcome.dense = stepper.DenseTensors();
    outcome.digest = cluster.Digest();
    return outcome;
  };
  const Outcome turn = train("", 1);
  ExpectSame(turn, train("weight: 0", Stepper::kAllTasks));
  for (const std::vector<double>& losses : turn.losses) {
    EXPECT_EQ(losses[0], 0);
    EXPECT_GT(losses[1], 0);
  }
  EXPECT_NE(turn.digest, train("", 0).digest);
}

TEST_F(ClockTest, AStepWithoutAnyWeightMovesNothing) {
  ASSERT_TRUE(RunOne(0, MakeBatch(job_, 0, 100)).ok());
  Outcome before = {stepper_.DenseTensors(), cluster_.Digest(), {}, {}};
  Batch without = MakeBatch(job_, 100, 100);
  without.weights.assign(without.weights.size(), 0.0f);
  ASSERT_TRUE(RunOne(1, without).ok());
  EXPECT_THAT(stepper_.steps_taken(), ElementsAre(1, 1, 1, 1));
  ExpectSame({stepper_.DenseTensors(), cluster_.Digest(), {}, {}}, before);
}

}  // namespace
}  // namespace pagoda::testing
