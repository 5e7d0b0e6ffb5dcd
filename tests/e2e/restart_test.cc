// Runs that are started again in the same folder: nothing of an earlier run is lost, and a start
// that fails leaves it as it was.
#include <algorithm>
#include <string>
#include <utility>

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

class Restart : public ::testing::Test {
 protected:
  // dataset: of the data set, over the planted one; more: of the configuration.
  Arguments Worker(const Arguments& flags = {}, const std::string& dataset = "",
                   const std::string& more = "") const {
    return Joined({Binary("worker"), "--model=shared_bottom", "--dataset=planted",
                   "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + run_, "--lanes=8",
                   "--batch_size=64", "--max_steps=5",
                   absl::StrCat("--override=model { embedding_dim: 4 bottom: [16] tower: [8] } "
                                "dataset { planted { rows: 1000 ids: 40 } ",
                                dataset, " } ", more)},
                  flags);
  }
  std::string Path(const std::string& name) const { return absl::StrCat(run_, "/", name); }

  const TemporaryDirectory folder_;
  const std::string run_ = folder_.File("run");
};

TEST_F(Restart, AStartThatFailsLeavesTheEarlierRun) {
  OutputOf(Worker());
  const std::string before = ReadText(Path("metrics.jsonl"));
  const std::string no_positives = "task { name: 'click' label: 'label_0 == 777' }";
  const std::string no_file =
      "feature { name: 'id_0' table: 'own' import { format: 'tsv' path: '/none' } }";
  for (const auto& [slip, says] :
       {std::pair(no_positives, "has no positives in"), std::pair(no_file, "/none")}) {
    for (const Arguments& command : {Worker({}, slip), Mpirun(2, Worker({}, slip))}) {
      const Finished failed = RunProcess(command, kRunLimitSeconds);
      EXPECT_NE(failed.exit_code, 0);
      EXPECT_THAT(failed.output, HasSubstr(says));
      EXPECT_THAT(failed.output, Not(HasSubstr("set aside")));
      EXPECT_EQ(NewestCheckpoint(run_), 5) << failed.output;
      EXPECT_EQ(ReadText(Path("metrics.jsonl")), before);
    }
  }
  EXPECT_THAT(OutputOf(Worker({"--resume", "--max_steps=8"})), HasSubstr("resumed from"));
  EXPECT_EQ(NewestCheckpoint(run_), 8);
}

// As launcher/supervise.sh starts it.
TEST_F(Restart, AFreshStartThatIsRepeatedWithResumeStaysFresh) {
  OutputOf(Worker());
  const std::string dead = "--servers=127.0.0.1:1";
  for (const Arguments& start : {Worker({dead}), Mpirun(2, Worker({"--resume", dead}))}) {
    const Finished late = RunProcess(start, kRunLimitSeconds);
    EXPECT_EQ(late.exit_code, 75) << late.output;
    EXPECT_EQ(NewestCheckpoint(run_), 5) << late.output;
  }
  const std::string output = OutputOf(Mpirun(2, Worker({"--resume", "--max_steps=6"})));
  EXPECT_THAT(output, HasSubstr("starting fresh"));
  EXPECT_THAT(output, HasSubstr("an earlier run was set aside"));
  EXPECT_THAT(ReadText(Path("metrics.previous.jsonl")), HasSubstr("\"done\",\"steps\":5"));
  EXPECT_THAT(OutputOf(Worker({"--resume", "--max_steps=7"})), HasSubstr("resumed from"));
}

TEST_F(Restart, AResumeByCheckpointGoesOnWithItWhateverTheLastStartWasTo) {
  OutputOf(Worker());
  WriteTestFile(Path("fresh"), "");
  const std::string from = "--checkpoint=" + Path("checkpoints/best");
  EXPECT_THAT(OutputOf(Worker({"--resume", from, "--max_steps=6"})), Not(HasSubstr("set aside")));
  EXPECT_EQ(NewestCheckpoint(run_), 6);
  EXPECT_THAT(OutputOf(Worker({"--resume", "--max_steps=7"})), HasSubstr("resumed from"));
}

TEST_F(Restart, EveryEarlierRunIsKept) {
  EXPECT_THAT(OutputOf(Worker()), Not(HasSubstr("set aside")));
  EXPECT_THAT(OutputOf(Worker({"--max_steps=6"})), HasSubstr("/run/checkpoints.previous, "));
  EXPECT_THAT(OutputOf(Mpirun(2, Worker({"--max_steps=7"}))),
              HasSubstr("/run/checkpoints.previous.2, "));
  EXPECT_THAT(ReadText(Path("metrics.previous.jsonl")), HasSubstr("\"done\",\"steps\":5"));
  EXPECT_THAT(ReadText(Path("metrics.previous.2.jsonl")), HasSubstr("\"done\",\"steps\":6"));
  EXPECT_EQ(NewestCheckpoint(run_), 7);
  for (const char* name : {"checkpoints.previous/best", "checkpoints.previous.2/best"}) {
    OutputOf({Binary("psctl"), "digest", "--checkpoint=" + Path(name)});
  }
}

// The folder that a warm start comes from is moved only when it has been read.
TEST_F(Restart, AWarmStartMayComeFromTheRunThatItReplaces) {
  OutputOf(Worker());
  EXPECT_THAT(OutputOf(Mpirun(2, Worker({"--warm_start=" + Path("checkpoints/best")}))),
              HasSubstr("warm start from"));
  EXPECT_EQ(NewestCheckpoint(run_), 5);
}

TEST_F(Restart, AResumedRunDoesNotMissItsWarmStart) {
  OutputOf(Worker());
  const std::string gone = Path("checkpoints/step-000000000004");
  const Arguments resume = Worker({"--resume", "--max_steps=6", "--warm_start=" + gone});
  EXPECT_THAT(OutputOf(resume), HasSubstr("resumed from"));
  // Killed before its first checkpoint.
  OutputOf({"mv", Path("checkpoints"), Path("checkpoints.previous")});
  const Finished failed = RunProcess(Mpirun(2, resume), kRunLimitSeconds);
  EXPECT_EQ(failed.exit_code, 2) << failed.output;
  EXPECT_THAT(failed.output, HasSubstr(gone + ": no such folder"));
  EXPECT_THAT(failed.output, HasSubstr("may have been set aside as checkpoints.previous"));
}

TEST_F(Restart, ResumingWithWorkersThatDoNotFitSaysWhichDo) {
  OutputOf(Worker({"--lanes=1"}));
  const Arguments more = {"--resume", "--max_steps=8"};
  Arguments resume = Joined(Worker(), more);
  resume.erase(std::find(resume.begin(), resume.end(), "--lanes=8"));
  const Finished two = RunProcess(Mpirun(2, resume), kRunLimitSeconds);
  EXPECT_EQ(two.exit_code, 2) << two.output;
  EXPECT_THAT(two.output,
              HasSubstr("--resume with 2 workers: the checkpoint's run has 1 lane, "
                        "which it keeps; lanes / workers must be a power of two, so the "
                        "number of workers may be 1. A run"));
  EXPECT_THAT(OutputOf(resume), HasSubstr("resumed from"));
}

// ---- what the end of a run says

TEST_F(Restart, AnEarlyStopIsTold) {
  // A rate that moves nothing: no evaluation is better than the first.
  const std::string still =
      "optimizer { name: 'sparse' learning_rate: 1e-30 } "
      "optimizer { name: 'dense' learning_rate: 1e-30 } optimizer { name: 'dnse' rule: 'adam' } "
      "train { evaluate_every_steps: 2 patience: 2 epochs: 3 }";
  const std::string output = OutputOf(Worker({"--max_steps=30"}, "", still));
  EXPECT_THAT(output, HasSubstr("stopped early after step 6 (epoch 1 of 3): for 2 evaluations"));
  EXPECT_THAT(output, HasSubstr("after step 2 (epoch 1)\n"));
  EXPECT_THAT(output, HasSubstr("valid after step 6, score (best_by SUM) 0."));
  EXPECT_THAT(output, HasSubstr("note: optimizer \"dnse\": nothing uses it; did you mean dense"));
  const std::string done = LastEvent(run_, "done");
  EXPECT_NE(Field(done, "best_score"), "") << done;
  EXPECT_EQ(Field(done, "best_step"), "2") << done;
  EXPECT_THAT(OutputOf(Worker()), Not(HasSubstr("stopped early")));
  EXPECT_EQ(Field(LastEvent(run_, "done"), "best_step"), "");
}

TEST_F(Restart, WithoutValidationRowsTheLastCheckpointIsNamed) {
  const std::string split = "split { train: 9 valid: 0 test: 1 }";
  const std::string output = OutputOf(Mpirun(2, Worker({}, split)));
  EXPECT_THAT(output, HasSubstr("/checkpoints/best: the data set has no validation rows; the last "
                                "checkpoint is "));
  EXPECT_THAT(output, HasSubstr("/checkpoints/step-000000000005\n"));
  EXPECT_THAT(output, HasSubstr("test after step 5, the last checkpoint"));
  EXPECT_THAT(OutputOf(Worker()), Not(HasSubstr("there is no")));
}

// ---- flags

TEST_F(Restart, FlagsThatAModeDoesNotReadAreRefused) {
  OutputOf(Worker());
  const std::string best = "--checkpoint=" + Path("checkpoints/best");
  const auto refused = [&](const Arguments& flags, const std::string& says) {
    const Finished done = RunProcess(Joined({Binary("worker")}, flags), kRunLimitSeconds);
    EXPECT_EQ(done.exit_code, 2) << done.output;
    EXPECT_THAT(done.output, HasSubstr(says));
  };
  refused({best}, "to go on with the checkpoint's run add --resume");
  refused({"--mode=evaluate", best, "--output=out.csv"},
          "--output: --mode=evaluate does not read it, --mode=predict does");
  refused({"--mode=evaluate", best, "--split=valid"}, "--split: --mode=evaluate does not");
  refused({"--mode=predict", best, "--warm_start=x"}, "--mode=train does");
  refused({"--output=out.csv"}, "--output: --mode=train does not read it");
  refused({"--max_steps=-3"}, "--max_steps=-3: must not be negative");
  refused({"--memory_budget_mb=-0.5"}, "--memory_budget_mb=-0.5: must not be negative");
  OutputOf({Binary("worker"), "--mode=evaluate", best, "--resume"});
}

}  // namespace
}  // namespace pagoda::test
