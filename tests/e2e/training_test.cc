// Whole runs of the real programs on a small data set: every way to run gives the same bits, and so
// does a run that was killed, asked to leave, or resumed with another number of shards.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Two tasks on a user, an item and a price; rows [first, first + count) of an endless file. With
// `flip` the labels are others.
std::string Rows(int first, int count, bool flip = false) {
  std::ostringstream out;
  for (int i = first; i < first + count; ++i) {
    const uint32_t draw = static_cast<uint32_t>(i) * 2654435761u >> 8;
    const int user = draw % 97, item = draw / 97 % 53, price = draw / 5141 % 100;
    const bool click = (user * 7 + item * 3) % 11 < 4;
    const bool buy = click && price < 60;
    out << "u" << user << "," << item << "," << price << ".5," << (click != flip) << ","
        << (buy != flip) << "\n";
  }
  return out.str();
}

std::string DatasetText(const std::string& test_file) {
  return R"(dataset {
  name: "shop"
  column: ["user", "item", "price", "click", "buy"]
  source { path: "train.csv" split: TRAIN }
  source { path: "valid.csv" split: VALID }
  source { path: ")" +
         test_file + R"(" split: TEST }
  feature { name: "user" }
  feature { name: "item" }
  feature { name: "price" kind: DENSE transform: Z_SCORE }
  task { name: "click" label: "click" }
  task { name: "buy" label: "buy" }
})";
}

class Training : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory;
    WriteTestFile(folder_->File("train.csv"), Rows(0, 4000));
    WriteTestFile(folder_->File("valid.csv"), Rows(4000, 700));
    WriteTestFile(folder_->File("test.csv"), Rows(4700, 700));
    WriteTestFile(folder_->File("flipped.csv"), Rows(4700, 700, /*flip=*/true));
    WriteTestFile(folder_->File("shop.textproto"), DatasetText("test.csv"));
    WriteTestFile(folder_->File("flipped.textproto"), DatasetText("flipped.csv"));
    const Finished done = RunProcess(Worker("reference"), kRunLimitSeconds);
    ASSERT_EQ(done.exit_code, 0) << done.output;
    reference_ = DigestOf(RunDir("reference"));
    ASSERT_EQ(reference_.size(), 32u);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string RunDir(const std::string& name) { return folder_->File(name); }

  // 2 epochs of 63 steps.
  static Arguments Worker(const std::string& run, const Arguments& more = {}) {
    return Joined({Binary("worker"), "--model=mmoe", "--dataset=" + folder_->File("shop.textproto"),
                   "--run_dir=" + RunDir(run),
                   "--override=model { embedding_dim: 4 experts: 2 expert: [16] tower: [8] }",
                   "--lanes=8", "--batch_size=64", "--epochs=2"},
                  more);
  }

  static Arguments WithServers(int servers, int workers, const std::string& run,
                               const Arguments& more = {}) {
    return Mpirun(servers, {Binary("pserver")}, workers, Worker(run, more));
  }

  // Far more steps than it will live to do; early stopping off.
  static Arguments EndlessFlags() {
    return {"--resume", "--log_every=1", "--epochs=10000",
            "--override=train { patience: 0 } model { embedding_dim: 4 experts: 2 expert: [16] "
            "tower: [8] }"};
  }
  static void AwaitFirstStep(const std::string& run) {
    for (int i = 0; i < 1000 && LastEvent(RunDir(run), "step").empty(); ++i) usleep(10'000);
  }

  static void ExpectReference(const std::string& run, const Arguments& command) {
    const Finished done = RunProcess(command, kRunLimitSeconds);
    ASSERT_EQ(done.exit_code, 0) << run << "\n" << done.output;
    EXPECT_EQ(DigestOf(RunDir(run)), reference_) << run << "\n" << done.output;
  }

  static TemporaryDirectory* folder_;
  static std::string reference_;  // The digest of the undisturbed run in one process.
};
TemporaryDirectory* Training::folder_ = nullptr;
std::string Training::reference_;

TEST_F(Training, AnotherSeedGivesAnotherDigest) {
  const Finished done = RunProcess(Worker("seed", {"--seed=2"}), kRunLimitSeconds);
  ASSERT_EQ(done.exit_code, 0) << done.output;
  EXPECT_NE(DigestOf(RunDir("seed")), reference_);
}

TEST_F(Training, EveryWayToRunGivesTheSameBits) {
  ExpectReference("threads", Worker("threads", {"--threads=2"}));
  ExpectReference("ranks2", Mpirun(2, Worker("ranks2")));
  ExpectReference("ranks8", Mpirun(8, Worker("ranks8")));
  ExpectReference("pservers", WithServers(2, 4, "pservers"));
}

TEST_F(Training, AnyNumberOfStandingServersGivesTheSameBits) {
  for (int count = 1; count <= 3; ++count) {
    const std::string run = "standing" + std::to_string(count);
    StandingServers servers(count, folder_->File(run + "-server"));
    ExpectReference(run, Worker(run, {servers.Flag()}));
    // The next job may have them at once.
    ExpectReference(run + "again", Mpirun(2, Worker(run + "again", {servers.Flag()})));
  }
}

// While it starts, and at any moment of the time that two checkpoints are apart.
TEST_F(Training, KilledAtRandomMomentsAndResumed) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const Arguments command =
      Mpirun(2, Worker("killed", {"--resume",
                                  "--override=train { checkpoint_every_steps: 5 } model { "
                                  "embedding_dim: 4 experts: 2 expert: [16] tower: [8] }"}));
  for (int kill = 0; kill < 3; ++kill) {
    {
      Process starting(command);
      const int milliseconds = std::uniform_int_distribution<>(50, 300)(random);
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
      starting.KillTree();
      const Finished killed = starting.Wait(kRunLimitSeconds);
      EXPECT_EQ(killed.exit_code, 128 + SIGKILL) << killed.output;
    }
    KillAfterCheckpoint(command, RunDir("killed"), std::uniform_int_distribution<>(0, 30)(random));
  }
  ResumeToEnd(command);
  EXPECT_EQ(DigestOf(RunDir("killed")), reference_);
}

// How a job is run, the signal that it gets, and what it then ends with.
struct Leaving {
  int servers, workers;  // 0 servers, 1 worker: without mpirun.
  int signal_number;
  int exit_code;
};

// mpirun itself makes exit code 1 of a SIGTERM, whatever its ranks end with.
TEST_F(Training, LeavesWithACheckpointWhenAskedAndGoesOn) {
  for (const Leaving& leaving : std::vector<Leaving>{{0, 1, SIGTERM, 85},
                                                     {0, 1, SIGUSR1, 85},
                                                     {0, 2, SIGUSR1, 85},
                                                     {2, 2, SIGUSR1, 85},
                                                     {0, 2, SIGTERM, 1}}) {
    const std::string run =
        absl::StrCat("leave", leaving.servers, leaving.workers, "-", leaving.signal_number);
    SCOPED_TRACE(run);
    const Arguments more = EndlessFlags();
    Arguments command = Worker(run, more);
    if (leaving.workers > 1) {
      command = leaving.servers == 0 ? Mpirun(leaving.workers, command)
                                     : WithServers(leaving.servers, leaving.workers, run, more);
    }
    Finished left;
    {
      Process process(command);
      AwaitFirstStep(run);
      process.Signal(leaving.signal_number);
      left = process.Wait(kRunLimitSeconds);
    }
    EXPECT_EQ(left.exit_code, leaving.exit_code) << left.output;
    EXPECT_THAT(left.output, HasSubstr("--resume"));
    const int step = std::stoi(Field(LastEvent(RunDir(run), "step"), "step"));
    const std::string end = "--max_steps=" + std::to_string(step + 30);
    Arguments resumed = more, straight = more;
    resumed.push_back(end);
    straight.push_back(end);
    const std::string other = run + "-straight";
    ASSERT_EQ(RunProcess(Worker(run, resumed), kRunLimitSeconds).exit_code, 0);
    ASSERT_EQ(RunProcess(Worker(other, straight), kRunLimitSeconds).exit_code, 0);
    EXPECT_EQ(DigestOf(RunDir(run)), DigestOf(RunDir(other)));
  }
}

// A pipe that nobody can seek in; lists of tags; rows split by a user's value and by time.
TEST_F(Training, PipesListsAndSplitsGiveTheSameBitsOnTwoRanks) {
  std::ostringstream rows;
  std::istringstream lines(Rows(0, 5000));
  int time = 0;
  for (std::string line; std::getline(lines, line); ++time) {
    rows << line << ","
         << "a" << time % 7 << "|b" << time % 5 << "," << time << "," << (time % 7 < 3) << "\n";
  }
  WriteTestFile(folder_->File("tagged.csv"), rows.str());
  for (const std::string split : {"by: COLUMN column: 'user'", "by: TIME column: 'time'"}) {
    SCOPED_TRACE(split);
    const std::string name = split.substr(4, 4);
    WriteTestFile(folder_->File(name + ".textproto"),
                  absl::StrCat(R"(dataset {
  name: "tagged"
  column: ["user", "item", "price", "click", "buy", "tags", "time", "liked"]
  source { path: "cat )",
                               folder_->File("tagged.csv"), R"( |" }
  split { train: 8 valid: 1 test: 1 )",
                               split, R"( }
  feature { name: "user" }
  feature { name: "item" }
  feature { name: "tags" kind: ID_LIST pooling: MEAN }
  task { name: "click" label: "click" }
  task { name: "liked" label: "liked" }
})"));
    const Arguments more = {"--dataset=" + folder_->File(name + ".textproto")};
    const std::string one = "tagged-" + name, two = one + "-2";
    const Finished done = RunProcess(Worker(one, more), kRunLimitSeconds);
    ASSERT_EQ(done.exit_code, 0) << done.output;
    // A tag decides, whoever the user is.
    const std::string eval = LastEvent(RunDir(one), "eval");
    EXPECT_GT(std::stod(Field(eval.substr(eval.find("\"liked\"")), "auc")), 0.95) << eval;
    ASSERT_EQ(RunProcess(Mpirun(2, Worker(two, more)), kRunLimitSeconds).exit_code, 0);
    EXPECT_EQ(DigestOf(RunDir(two)), DigestOf(RunDir(one)));
  }
}

// Two different ones: the kernel makes one of two equal signals that wait together.
TEST_F(Training, ASecondSignalLeavesAtOnce) {
  Process process(Worker("twice", EndlessFlags()));
  AwaitFirstStep("twice");
  process.Signal(SIGTERM);
  process.Signal(SIGUSR1);
  const Finished left = process.Wait(kRunLimitSeconds);
  EXPECT_EQ(left.exit_code, 75) << left.output;
  EXPECT_THAT(left.output, HasSubstr("asked twice to leave"));
}

TEST_F(Training, AnInterruptSaysHowToGoOn) {
  Process process(Worker("interrupted", EndlessFlags()));
  AwaitFirstStep("interrupted");
  process.Signal(SIGINT);
  const Finished left = process.Wait(kRunLimitSeconds);
  EXPECT_EQ(left.exit_code, 130) << left.output;
  EXPECT_THAT(left.output, HasSubstr("--resume"));
}

// As a shell starts what runs in the background.
TEST_F(Training, AnInterruptThatWasIgnoredBeforeStaysSo) {
  Process process(Joined({"sh", "-c", "trap '' INT; exec \"$0\" \"$@\""},
                         Worker("background", EndlessFlags())));
  AwaitFirstStep("background");
  process.Signal(SIGINT);
  const std::string then = LastEvent(RunDir("background"), "step");
  for (int i = 0; i < 1000 && LastEvent(RunDir("background"), "step") == then; ++i) usleep(10'000);
  EXPECT_FALSE(process.HasEnded());
  process.Signal(SIGTERM);
  const Finished left = process.Wait(kRunLimitSeconds);
  EXPECT_EQ(left.exit_code, 85) << left.output;
}

// Its servers are told that it is over: they would else wait for it, and refuse the next job.
TEST_F(Training, AFailedPredictionLeavesItsServers) {
  ASSERT_EQ(RunProcess(Worker("predicted"), kRunLimitSeconds).exit_code, 0);
  StandingServers servers(2, folder_->File("predicting-server"));
  const auto predict = [&](const std::string& split) {
    return RunProcess({Binary("worker"), "--mode=predict", servers.Flag(), "--split=test",
                       "--output=" + folder_->File("predictions.csv"),
                       "--override=dataset { source { path: '" + folder_->File("test.csv") +
                           "' split: " + split + " } }",
                       "--checkpoint=" + RunDir("predicted") + "/checkpoints/best"},
                      kRunLimitSeconds);
  };
  EXPECT_EQ(predict("VALID").exit_code, 2);
  const Finished done = predict("TEST");
  EXPECT_EQ(done.exit_code, 0) << done.output;
  EXPECT_LT(done.seconds, 10);
}

// 160,000 ids, of which 24,000 training rows of 16 draw nine in ten: about 145,000 rows of 56 bytes
// (header 8, 4 weights, Adam's 8 states). A twentieth of these bytes is 0.388 MiB, over all
// processes; the pinned rows of two steps of 64 examples, which are the floor, fit.
TEST_F(Training, AMemoryBudgetChangesNoBits) {
  const auto planted = [](const std::string& run, const Arguments& more = {}) {
    return Joined({Binary("worker"), "--model=mmoe", "--dataset=planted",
                   "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run),
                   "--lanes=8", "--batch_size=64", "--epochs=1",
                   "--override=model { embedding_dim: 4 experts: 2 expert: [16] tower: [8] } "
                   "dataset { planted { rows: 30000 ids: 10000 zipf: 0 } }"},
                  more);
  };
  const std::string whole = "--memory_budget_mb=0.388", half = "--memory_budget_mb=0.194";
  ASSERT_EQ(RunProcess(planted("unlimited"), kRunLimitSeconds).exit_code, 0);
  const std::string unlimited = LastEvent(RunDir("unlimited"), "done");
  const int64_t row_count = std::stoll(Field(unlimited, "rows"));
  EXPECT_NEAR(row_count, 145'000, 2'000) << unlimited;

  StandingServers servers(2, folder_->File("budget-server"), {half});
  for (const auto& [run, command] : std::vector<std::pair<std::string, Arguments>>{
           {"budget1", planted("budget1", {whole})},
           {"budget2", Mpirun(2, planted("budget2", {half}))},
           {"budget2+2", Mpirun(2, {Binary("pserver"), half}, 2, planted("budget2+2"))},
           {"budget-standing", planted("budget-standing", {servers.Flag()})}}) {
    SCOPED_TRACE(run);
    const Finished done = RunProcess(command, kRunLimitSeconds);
    ASSERT_EQ(done.exit_code, 0) << done.output;
    EXPECT_THAT(done.output, Not(HasSubstr("raised"))) << "the budget is below the floor";
    const std::string line = LastEvent(RunDir(run), "done");
    EXPECT_EQ(Field(line, "digest"), Field(unlimited, "digest")) << line;
    // Every row that does not fit has left memory once, at least.
    EXPECT_GT(std::stoll(Field(line, "spills")), row_count / 2) << line;
    EXPECT_GT(std::stoll(Field(line, "reloads")), row_count / 2) << line;
  }
}

TEST_F(Training, ResumesWithAnotherNumberOfShards) {
  const Finished first = RunProcess(Worker("shards", {"--max_steps=30"}), kRunLimitSeconds);
  ASSERT_EQ(first.exit_code, 0) << first.output;
  const Finished second =
      RunProcess(WithServers(3, 1, "shards", {"--resume", "--max_steps=70"}), kRunLimitSeconds);
  ASSERT_EQ(second.exit_code, 0) << second.output;
  EXPECT_THAT(second.output, HasSubstr("step 30"));
  ExpectReference("shards", WithServers(2, 2, "shards", {"--resume"}));
}

TEST_F(Training, ResumingAFinishedRunChangesNothing) {
  ASSERT_EQ(RunProcess(Worker("finished"), kRunLimitSeconds).exit_code, 0);
  const std::string eval = LastEvent(RunDir("finished"), "eval");
  ExpectReference("finished", Worker("finished", {"--resume"}));
  EXPECT_EQ(LastEvent(RunDir("finished"), "eval"), eval);
}

TEST_F(Training, CheckpointsAtEveryStepChangeNoBits) {
  ExpectReference("every-step",
                  Worker("every-step", {"--override=train { checkpoint_every_steps: 1 } model { "
                                        "embedding_dim: 4 experts: 2 expert: [16] tower: [8] }"}));
}

TEST_F(Training, EvaluatingTheBestRepeatsTheLastEvalLine) {
  ASSERT_EQ(RunProcess(Mpirun(8, Worker("eight")), kRunLimitSeconds).exit_code, 0);
  const std::string eval = LastEvent(RunDir("eight"), "eval");
  EXPECT_EQ(Field(eval, "split"), "test");
  const Arguments evaluate = {Binary("worker"), "--mode=evaluate",
                              "--checkpoint=" + RunDir("eight") + "/checkpoints/best"};
  for (const Arguments& command : {evaluate, Mpirun(3, evaluate)}) {
    const Finished done = RunProcess(command, kRunLimitSeconds);
    EXPECT_EQ(done.exit_code, 0) << done.output;
    EXPECT_THAT(done.output, HasSubstr(eval));
  }
}

TEST_F(Training, PredictionsDoNotSeeLabels) {
  const auto predict = [](const std::string& dataset, const std::string& output) {
    return RunProcess({Binary("worker"), "--mode=predict",
                       "--checkpoint=" + RunDir("reference") + "/checkpoints/best",
                       "--dataset=" + folder_->File(dataset), "--output=" + output},
                      kRunLimitSeconds);
  };
  const std::string straight = folder_->File("straight.csv");
  const std::string flipped = folder_->File("flipped-out.csv");
  Finished done = predict("shop.textproto", straight);
  ASSERT_EQ(done.exit_code, 0) << done.output;
  done = predict("flipped.textproto", flipped);
  ASSERT_EQ(done.exit_code, 0) << done.output;
  const std::string text = ReadText(straight);
  EXPECT_THAT(text, testing::StartsWith("record,click,buy\n0,"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 701);
  EXPECT_EQ(text, ReadText(flipped));
}

TEST_F(Training, ResumeWithoutACheckpointStartsFreshAndSaysSo) {
  const Finished done =
      RunProcess(Worker("nothing", {"--resume", "--max_steps=1"}), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 0) << done.output;
  EXPECT_THAT(done.output, HasSubstr("starting fresh"));
}

TEST_F(Training, RefusesToResumeOnChangedData) {
  const std::string copy = folder_->File("changing");
  WriteTestFile(copy + "/train.csv", Rows(0, 400));
  WriteTestFile(copy + "/valid.csv", Rows(400, 100));
  WriteTestFile(copy + "/test.csv", Rows(500, 100));
  WriteTestFile(copy + "/shop.textproto", DatasetText("test.csv"));
  const Arguments more = {"--dataset=" + copy + "/shop.textproto", "--max_steps=3", "--resume"};
  ASSERT_EQ(RunProcess(Worker("changed", more), kRunLimitSeconds).exit_code, 0);
  WriteTestFile(copy + "/train.csv", Rows(1, 400));
  const Finished done = RunProcess(Worker("changed", more), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 65) << done.output;
  EXPECT_THAT(done.output, HasSubstr("train.csv"));
}

TEST_F(Training, LanesThatDoNotFitAreUsageErrors) {
  for (const auto& [ranks, lanes] : std::vector<std::pair<int, std::string>>{{3, "8"}, {2, "12"}}) {
    const Finished done = RunProcess(
        Mpirun(ranks, Worker("lanes", {"--lanes=" + lanes, "--batch_size=96"})), kRunLimitSeconds);
    EXPECT_EQ(done.exit_code, 2) << done.output;
    EXPECT_THAT(done.output, HasSubstr("--lanes=" + lanes));
  }
}

}  // namespace
}  // namespace pagoda::test
