#include "common/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/errors.h"
#include "tests/common/checkpoint/some_checkpoint.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class ManifestTest : public ::testing::Test {
 protected:
  TemporaryDirectory folder_;
  const std::string& dir_ = folder_.path();
};

TEST_F(ManifestTest, RoundTrip) {
  const std::string path = CommitSome(dir_, 1170);
  EXPECT_EQ(path, dir_ + "/step-000000001170");
  const auto manifest = ReadManifest(path);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_TRUE(VerifyFiles(path, *manifest).ok());
  Manifest expected = WriteSomeFiles(dir_, 1170);
  expected.set_format_version(kCheckpointVersion);
  EXPECT_TRUE(MessageDifferencer::Equals(*manifest, expected));
}

TEST_F(ManifestTest, NothingYet) {
  EXPECT_EQ(FindNewest(dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FindNewest(dir_ + "/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(RemoveUnfinished(dir_ + "/none").ok());
  EXPECT_TRUE(RemoveOld(dir_ + "/none", 3).ok());
}

TEST_F(ManifestTest, APathThatIsNoCheckpointGetsWhatItMayStandFor) {
  const std::string run = dir_ + "/runs/mmoe-ads", checkpoints = run + "/checkpoints";
  ASSERT_TRUE(MakeDirectories(checkpoints).ok());
  EXPECT_EQ(CheckIsCheckpoint(run).code(), absl::StatusCode::kDataLoss);
  const std::string newest = CommitSome(checkpoints, 20);
  EXPECT_TRUE(CheckIsCheckpoint(newest).ok());
  absl::Status status = CheckIsCheckpoint(run);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("did you mean " + newest + "?"));
  ASSERT_TRUE(MarkBest(checkpoints, 20).ok());
  for (const std::string& above : {run, run + "/", checkpoints}) {
    status = CheckIsCheckpoint(above);
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(status.message(), HasSubstr("did you mean " + checkpoints + "/best?"));
  }
  status = ReadManifest(checkpoints + "/bset").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/bset: no such folder; did you mean best?"));
  EXPECT_THAT(CheckIsCheckpoint(dir_ + "/runs/mmoe-adz").message(), HasSubstr("mean mmoe-ads?"));
  EXPECT_THAT(std::string(CheckIsCheckpoint(dir_ + "/none/best").message()),
              EndsWith("/best: no such folder"));
}

TEST_F(ManifestTest, UncommittedIsInvisible) {
  CommitSome(dir_, 10);
  const std::string unfinished = *BeginCheckpoint(dir_, 20);
  WriteSomeFiles(unfinished, 20);
  EXPECT_EQ(FindNewest(dir_)->path, dir_ + "/step-000000000010");
  // The same step again starts empty.
  EXPECT_TRUE(ListDirectory(*BeginCheckpoint(dir_, 20))->empty());
  ASSERT_TRUE(RemoveUnfinished(dir_).ok());
  EXPECT_FALSE(FileExists(unfinished));
}

TEST_F(ManifestTest, EveryFlippedByteIsFound) {
  const std::string newest = CommitSome(dir_, 20);
  const std::string older = CommitSome(dir_, 10);
  const std::vector<std::string> names = *ListDirectory(newest);
  ASSERT_THAT(names, SizeIs(3));
  for (const std::string& name : names) {
    const std::string file = JoinPath(newest, name), contents = *ReadFile(file);
    for (size_t i = 0; i < contents.size(); ++i) {
      std::string damaged = contents;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x04);
      WriteCarelessly(file, damaged);
      const auto found = FindNewest(dir_);
      ASSERT_TRUE(found.ok()) << found.status();
      ASSERT_EQ(found->path, older) << name << ", byte " << i;
      ASSERT_THAT(found->skipped, ElementsAre(HasSubstr(newest)));
    }
    WriteCarelessly(file, contents);
  }
  EXPECT_EQ(FindNewest(dir_)->path, newest);
}

TEST_F(ManifestTest, EveryTornFileIsFound) {
  const std::string older = CommitSome(dir_, 10), newest = CommitSome(dir_, 20);
  const std::vector<std::string> names = *ListDirectory(newest);
  ASSERT_THAT(names, SizeIs(3));
  for (const std::string& name : names) {
    const std::string file = JoinPath(newest, name), contents = *ReadFile(file);
    for (size_t size = 0; size < contents.size(); ++size) {
      std::filesystem::resize_file(file, size);
      ASSERT_EQ(FindNewest(dir_)->path, older) << name << ", " << size << " bytes";
      WriteCarelessly(file, contents);
    }
    WriteCarelessly(file, contents + "x");
    EXPECT_EQ(FindNewest(dir_)->path, older);
    std::filesystem::remove(file);
    EXPECT_EQ(FindNewest(dir_)->path, older);
    WriteCarelessly(file, contents);
  }
}

// Starting afresh over damaged checkpoints would lose them.
TEST_F(ManifestTest, AllDamagedIsAnErrorNotAFreshStart) {
  WriteCarelessly(CommitSome(dir_, 10) + "/manifest.textproto", "format_version: 1\n");
  const auto found = FindNewest(dir_);
  EXPECT_EQ(ExitCodeOf(found.status()), ExitCode::kData);
  EXPECT_THAT(found.status().message(), HasSubstr("wrong checksum"));
}

TEST_F(ManifestTest, AFileOutsideTheCheckpointIsRefused) {
  Manifest manifest = WriteSomeFiles(dir_, 1);
  manifest.mutable_rows(0)->set_name("../rows-0000-1024.sst");
  EXPECT_THAT(VerifyFiles(dir_, manifest).message(), HasSubstr("outside the checkpoint"));
}

TEST_F(ManifestTest, SameStepAgainReplaces) {
  const std::string path = CommitSome(dir_, 10);
  WriteCarelessly(path + "/of-the-first", "");
  EXPECT_EQ(CommitSome(dir_, 10), path);
  EXPECT_EQ(FindNewest(dir_)->path, path);
  EXPECT_FALSE(FileExists(path + "/of-the-first"));
  EXPECT_THAT(*ListDirectory(dir_), ElementsAre("step-000000000010"));
}

TEST_F(ManifestTest, DeathWhileReplacingLosesNothing) {
  const std::string path = CommitSome(dir_, 10);
  // After the exchange: the old one has the unfinished name.
  std::filesystem::copy(path, path + ".tmp", std::filesystem::copy_options::recursive);
  ASSERT_TRUE(RemoveUnfinished(dir_).ok());
  EXPECT_THAT(*ListDirectory(dir_), ElementsAre("step-000000000010"));
  // Between the two renames: the new one is not trusted, the old one is put back.
  std::filesystem::rename(path, path + ".old.tmp");
  std::filesystem::create_directory(path + ".tmp");
  ASSERT_TRUE(RemoveUnfinished(dir_).ok());
  EXPECT_EQ(FindNewest(dir_)->path, path);
  // After them.
  std::filesystem::copy(path, path + ".old.tmp", std::filesystem::copy_options::recursive);
  ASSERT_TRUE(RemoveUnfinished(dir_).ok());
  EXPECT_THAT(*ListDirectory(dir_), ElementsAre("step-000000000010"));
}

TEST_F(ManifestTest, KeepsTheNewestAndTheBest) {
  for (const int64_t step : {1, 2, 3, 4, 5}) CommitSome(dir_, step);
  ASSERT_TRUE(MarkBest(dir_, 1).ok());
  ASSERT_TRUE(MarkBest(dir_, 2).ok());
  ASSERT_TRUE(RemoveOld(dir_, 2).ok());
  EXPECT_THAT(*ListDirectory(dir_),
              ElementsAre("best", "step-000000000002", "step-000000000004", "step-000000000005"));
  EXPECT_EQ(ReadManifest(dir_ + "/best")->state().step(), 2);
  ASSERT_TRUE(RemoveOld(dir_, 0).ok());  // At least one stays.
  EXPECT_THAT(*ListDirectory(dir_), SizeIs(3));
}

}  // namespace
}  // namespace pagoda
