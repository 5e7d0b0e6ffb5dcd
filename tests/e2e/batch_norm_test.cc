// Whole runs with BatchNorm: the same bits in one process and in two, killed or not; a task that
// alternates with another might not be there.
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

class BatchNorm : public ::testing::Test {
 protected:
  std::string RunDir(const std::string& run) const { return folder_.File(run); }

  Arguments Worker(const std::string& run, const std::string& override_text,
                   const Arguments& more = {}) const {
    return Joined(
        {Binary("worker"), "--model=cgc", "--dataset=planted",
         "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run), "--lanes=8",
         "--batch_size=256", "--epochs=2",
         "--override=model { embedding_dim: 4 expert: [16] tower: [8] level { task_experts: 1 "
         "shared_experts: 1 } normalization: BATCH batch_norm { sync: " +
             std::string(sync_ ? "true" : "false") + " } } dataset { planted { rows: 4100 } } " +
             override_text},
        more);
  }
  std::string DigestOfRun(const std::string& run) const { return DigestOf(RunDir(run)); }
  std::string Psctl(const std::string& run, const Arguments& more) const {
    return OutputOf(Joined(
        {Binary("psctl"), "digest", "--checkpoint=" + RunDir(run) + "/checkpoints/best"}, more));
  }

  TemporaryDirectory folder_;
  bool sync_ = false;
};

TEST_F(BatchNorm, HasTheSameBitsInAllForms) {
  OutputOf(Worker("one", ""));
  const std::string digest = DigestOfRun("one");
  ASSERT_EQ(digest.size(), 32u);
  OutputOf(Mpirun(2, Worker("two", "", {"--threads=2"})));
  EXPECT_EQ(DigestOfRun("two"), digest);
  const Arguments command =
      Mpirun(2, Worker("killed", "train { checkpoint_every_steps: 3 }", {"--resume"}));
  KillAfterCheckpoint(command, RunDir("killed"));
  ResumeToEnd(command);
  EXPECT_EQ(DigestOfRun("killed"), digest);
  // Running statistics are in the digest.
  EXPECT_NE(Psctl("one", {"--match=*/running_mean"}), Psctl("one", {"--match=*/running_variance"}));
}

TEST_F(BatchNorm, SynchronisedToo) {
  sync_ = true;
  OutputOf(Worker("one", ""));
  OutputOf(Mpirun(2, Worker("two", "", {"--threads=2"})));
  EXPECT_EQ(DigestOfRun("two"), DigestOfRun("one"));
  sync_ = false;
  OutputOf(Worker("by_lane", ""));
  EXPECT_NE(DigestOfRun("by_lane"), DigestOfRun("one"));
}

TEST_F(BatchNorm, ATaskThatOwnsNothingSharedMightNotBeThere) {
  const std::string independent =
      "train { method: ALTERNATING best_by: 'click' "
      "task { name: 'buy' owns: ['buy/*', 'level0/buy/*'] } ";
  OutputOf(Worker("both", independent + "}"));
  OutputOf(Worker("alone", independent + "tasks: 'click' }"));
  const Arguments own = {"--match=click/*,level0/click/*,level0/shared*,shared_*",
                         "--optimizers=click/*"};
  EXPECT_EQ(Psctl("both", own), Psctl("alone", own));
}

}  // namespace
}  // namespace pagoda::test
