#include "worker/train/run_directory.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

class RunDirectoryTest : public ::testing::Test {
 protected:
  std::unique_ptr<RunDirectory> Open(const std::string& holder = "host:1") {
    auto run = RunDirectory::Open(path_, holder, /*lock_timeout_ms=*/100);
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *std::move(run) : nullptr;
  }
  const TemporaryDirectory folder_;
  const std::string path_ = folder_.File("runs/one");
};

TEST_F(RunDirectoryTest, ASecondJobIsRefusedAndToldTheHolder) {
  const auto first = Open("alpha:12");
  const auto second = RunDirectory::Open(path_, "beta:34", /*lock_timeout_ms=*/100);
  EXPECT_EQ(ExitCodeOf(second.status()), ExitCode::kTemporary);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("alpha:12"));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(path_));
}

TEST_F(RunDirectoryTest, TheLockGoesWithItsHolder) {
  Open("alpha:12").reset();
  EXPECT_NE(Open("beta:34"), nullptr);
}

TEST_F(RunDirectoryTest, EveryStartHasAHigherEpochOfTheSameJob) {
  uint64_t job_id = 0;
  for (uint64_t start = 1; start <= 3; ++start) {
    const auto run = Open();
    EXPECT_EQ(*run->NextEpoch(), start);
    if (start > 1) {
      EXPECT_EQ(run->job_id(), job_id);
    }
    job_id = run->job_id();
  }
}

TEST_F(RunDirectoryTest, ABrokenJobFileIsSaidNotGuessed) {
  Open()->NextEpoch().IgnoreError();
  WriteCarelessly(path_ + "/job", "not a job");
  const auto run = RunDirectory::Open(path_, "host:1", 100);
  EXPECT_EQ(ExitCodeOf(run.status()), ExitCode::kData);
}

TEST_F(RunDirectoryTest, AnEarlierRunIsSetAside) {
  const auto run = Open();
  EXPECT_EQ(*run->SetEarlierRunAside(), "");
  ASSERT_TRUE(MakeDirectories(run->checkpoints() + "/step-000000000007").ok());
  WriteCarelessly(run->metrics(), "{}\n");
  EXPECT_EQ(*run->SetEarlierRunAside(),
            absl::StrCat("an earlier run was set aside: ", path_, "/checkpoints.previous, ", path_,
                         "/metrics.previous.jsonl; to go on with it instead, move it back to ",
                         path_, "/checkpoints and ", path_, "/metrics.jsonl, then --resume"));
  EXPECT_TRUE(ListDirectory(run->checkpoints())->empty());
  EXPECT_TRUE(FileExists(run->checkpoints() + ".previous/step-000000000007"));
  EXPECT_FALSE(FileExists(run->metrics()));
  EXPECT_TRUE(FileExists(path_ + "/metrics.previous.jsonl"));
}

TEST_F(RunDirectoryTest, NoRunThatWasSetAsideIsLost) {
  const auto run = Open();
  for (const char* step : {"/step-1", "/step-2", "/step-3"}) {
    ASSERT_TRUE(MakeDirectories(run->checkpoints() + step).ok());
    WriteCarelessly(run->metrics(), step);
    EXPECT_NE(*run->SetEarlierRunAside(), "");
  }
  EXPECT_TRUE(FileExists(path_ + "/checkpoints.previous/step-1"));
  EXPECT_TRUE(FileExists(path_ + "/checkpoints.previous.2/step-2"));
  EXPECT_TRUE(FileExists(path_ + "/checkpoints.previous.3/step-3"));
  EXPECT_EQ(*ReadFile(path_ + "/metrics.previous.jsonl"), "/step-1");
  EXPECT_EQ(*ReadFile(path_ + "/metrics.previous.3.jsonl"), "/step-3");
  // Metrics and checkpoints of one run have one number.
  WriteCarelessly(run->metrics(), "no checkpoint");
  EXPECT_THAT(*run->SetEarlierRunAside(), HasSubstr("without a checkpoint"));
  ASSERT_TRUE(MakeDirectories(run->checkpoints() + "/step-5").ok());
  EXPECT_THAT(*run->SetEarlierRunAside(), HasSubstr("checkpoints.previous.5; to go on"));
  EXPECT_EQ(*ReadFile(path_ + "/metrics.previous.4.jsonl"), "no checkpoint");
}

TEST_F(RunDirectoryTest, AStartThatReplacesARunSaysSoUntilItHas) {
  ASSERT_TRUE(Open()->MarkFresh().ok());
  EXPECT_FALSE(Open()->IsMarkedFresh()) << "there is no run to replace";
  WriteCarelessly(path_ + "/metrics.jsonl", "{}\n");
  ASSERT_TRUE(Open()->MarkFresh().ok());
  const auto run = Open();
  EXPECT_TRUE(run->IsMarkedFresh());
  ASSERT_TRUE(run->UnmarkFresh().ok());
  ASSERT_TRUE(run->UnmarkFresh().ok());
  EXPECT_FALSE(run->IsMarkedFresh());
  ASSERT_TRUE(std::remove(run->metrics().c_str()) == 0);
  ASSERT_TRUE(MakeDirectories(run->checkpoints() + "/step-1").ok());
  ASSERT_TRUE(run->MarkFresh().ok());
  EXPECT_TRUE(run->IsMarkedFresh());
}

TEST_F(RunDirectoryTest, OpeningRemovesWhatAnInterruptedCheckpointLeft) {
  const std::string half = Open()->checkpoints() + "/step-000000000007.tmp";
  ASSERT_TRUE(MakeDirectories(half).ok());
  Open();
  EXPECT_FALSE(FileExists(half));
}

TEST_F(RunDirectoryTest, OnlyStoresOfOlderEpochsAreRemoved) {
  const auto run = Open();
  for (const char* name : {"/epoch-1", "/epoch-2", "/epoch-10", "/mine"}) {
    ASSERT_TRUE(MakeDirectories(run->store() + name).ok());
  }
  ASSERT_TRUE(run->RemoveOldStores(2).ok());
  EXPECT_THAT(*ListDirectory(run->store()),
              ::testing::UnorderedElementsAre("epoch-10", "epoch-2", "mine"));
}

TEST_F(RunDirectoryTest, AFileInItsPlaceIsAnError) {
  WriteCarelessly(folder_.File("file"), "");
  EXPECT_EQ(ExitCodeOf(RunDirectory::Open(folder_.File("file"), "host:1", 100).status()),
            ExitCode::kIo);
  EXPECT_THAT(std::string(RunDirectory::Open("/proc/x", "host:1", 100).status().message()),
              HasSubstr("--run_dir: make folder /proc/x"));
}

}  // namespace
}  // namespace pagoda
