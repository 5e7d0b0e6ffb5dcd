// Runs that are started again in the same folder: nothing of an earlier run is lost, and a start
// that fails leaves it as it was.
#include <string>

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
  Arguments Worker(const Arguments& flags = {}, const std::string& override_text = "") const {
    return Joined({Binary("worker"), "--model=shared_bottom", "--dataset=planted",
                   "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + run_, "--lanes=8",
                   "--batch_size=64", "--max_steps=5",
                   absl::StrCat("--override=model { embedding_dim: 4 bottom: [16] tower: [8] } "
                                "dataset { planted { rows: 1000 ids: 40 } } ",
                                override_text)},
                  flags);
  }
  std::string Path(const std::string& name) const { return absl::StrCat(run_, "/", name); }

  const TemporaryDirectory folder_;
  const std::string run_ = folder_.File("run");
};

TEST_F(Restart, AStartThatFailsLeavesTheEarlierRun) {
  OutputOf(Worker());
  const std::string before = ReadText(Path("metrics.jsonl"));
  const std::string no_positives = "dataset { task { name: 'click' label: 'id_0 == 777777' } } ";
  const std::string no_file =
      "dataset { feature { name: 'id_0' table: 'own' import { format: 'tsv' path: '/none' } } } ";
  for (const std::string& slip : {no_positives, no_file}) {
    for (const Arguments& command : {Worker({}, slip), Mpirun(2, Worker({}, slip))}) {
      const Finished failed = RunProcess(command, kRunLimitSeconds);
      EXPECT_NE(failed.exit_code, 0) << failed.output;
      EXPECT_THAT(failed.output, Not(HasSubstr("set aside")));
      EXPECT_EQ(NewestCheckpoint(run_), 5) << failed.output;
      EXPECT_EQ(ReadText(Path("metrics.jsonl")), before);
    }
  }
  EXPECT_THAT(OutputOf(Worker({"--resume", "--max_steps=8"})), HasSubstr("resumed from"));
  EXPECT_EQ(NewestCheckpoint(run_), 8);
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

}  // namespace
}  // namespace pagoda::test
