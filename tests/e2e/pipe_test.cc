// Runs on what a command gives, which may be something else the next time: a run keeps what it
// began with, an evaluation reads what there is now.
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

class Pipes : public ::testing::Test {
 protected:
  Pipes() {
    // A blank behind the bar: still a command, in the file of a data set, too.
    WriteTestFile(folder_.File("piped.textproto"), absl::StrCat(R"(dataset {
  name: "piped"
  column: ["user", "y"]
  source { path: "cat )",
                                                                folder_.File("rows"), R"( | " }
  split { train: 8 valid: 1 test: 1 }
  feature { name: "user" }
  task { name: "a" label: "y" }
})"));
  }

  void WriteRows(int count) const {
    std::string text;
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, i % 7, ",", i % 7 < 3, "\n");
    WriteTestFile(folder_.File("rows"), text);
  }
  Finished Train(const Arguments& more) const {
    return RunProcess(
        Joined({Binary("worker"), "--model=single", "--dataset=" + folder_.File("piped.textproto"),
                "--run_dir=" + folder_.File("run"), "--batch_size=64"},
               more),
        kRunLimitSeconds);
  }
  // Lines of the predictions for the test split.
  int Predict(const Arguments& more = {}) const {
    const std::string out = folder_.File("predictions.csv");
    const Finished done = RunProcess(
        Joined({Binary("worker"), "--mode=predict",
                "--checkpoint=" + folder_.File("run/checkpoints/best"), "--output=" + out},
               more),
        kRunLimitSeconds);
    EXPECT_EQ(done.exit_code, 0) << done.output;
    const Finished count = RunProcess({"wc", "-l", out}, kRunLimitSeconds);
    return std::stoi(count.output);
  }

  const TemporaryDirectory folder_;
};

TEST_F(Pipes, AnEvaluationReadsAgainAndARunGoesOnWithItsOwn) {
  WriteRows(600);
  Finished done = Train({"--epochs=1"});
  ASSERT_EQ(done.exit_code, 0) << done.output;
  const int before = Predict();
  EXPECT_GT(before, 20);
  WriteRows(1200);
  EXPECT_GT(Predict(), before + 20);
  // It left neither its records nor anything else behind.
  const Finished files = RunProcess({"ls", folder_.File("run")}, kRunLimitSeconds);
  EXPECT_THAT(files.output, HasSubstr("data\n"));
  EXPECT_THAT(files.output, Not(HasSubstr("data-")));
  done = Train({"--resume", "--epochs=2"});
  EXPECT_EQ(done.exit_code, 0) << done.output;
  EXPECT_THAT(done.output, Not(HasSubstr("1200")));
}

TEST_F(Pipes, ARunWhoseRecordsAreGoneGoesOnWithTheSameOnesOnly) {
  WriteRows(600);
  Finished done = Train({"--epochs=1"});
  ASSERT_EQ(done.exit_code, 0) << done.output;
  ASSERT_EQ(RunProcess({"rm", "-r", folder_.File("run/data")}, kRunLimitSeconds).exit_code, 0);
  WriteRows(601);
  done = Train({"--resume", "--epochs=2"});
  EXPECT_EQ(done.exit_code, 65) << done.output;
  EXPECT_THAT(done.output, HasSubstr("changed since the checkpoint"));
  WriteRows(600);
  ASSERT_EQ(RunProcess({"rm", "-r", folder_.File("run/data")}, kRunLimitSeconds).exit_code, 0);
  done = Train({"--resume", "--epochs=2"});
  EXPECT_EQ(done.exit_code, 0) << done.output;
}

}  // namespace
}  // namespace pagoda::test
