// Runs on what a command gives, which may be something else the next time: a run keeps what it
// began with, an evaluation reads what there is now.
#include <regex>
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
  Finished RunPredict() const {
    return RunProcess(
        {Binary("worker"), "--mode=predict", "--checkpoint=" + folder_.File("run/checkpoints/best"),
         "--output=" + folder_.File("predictions.csv")},
        kRunLimitSeconds);
  }
  // "N training, M validation, K test rows" of what a run printed.
  static std::string RowsOf(const std::string& output) {
    const std::regex rows("[0-9]+ training, [0-9]+ validation, [0-9]+ test rows");
    std::smatch found;
    EXPECT_TRUE(std::regex_search(output, found, rows)) << output;
    return found.str();
  }
  // Lines of the predictions for the test split.
  int Predict() const {
    const Finished done = RunPredict();
    EXPECT_EQ(done.exit_code, 0) << done.output;
    const Finished count =
        RunProcess({"wc", "-l", folder_.File("predictions.csv")}, kRunLimitSeconds);
    return std::stoi(count.output);
  }
  // What the run's folder holds, a name a line.
  std::string RunFiles() const {
    return RunProcess({"ls", folder_.File("run")}, kRunLimitSeconds).output;
  }

  const TemporaryDirectory folder_;
};

TEST_F(Pipes, AnEvaluationReadsAgainAndARunGoesOnWithItsOwn) {
  WriteRows(600);
  Finished done = Train({"--epochs=1"});
  ASSERT_EQ(done.exit_code, 0) << done.output;
  const std::string rows = RowsOf(done.output);
  const int before = Predict();
  EXPECT_GT(before, 20);
  WriteRows(1200);
  EXPECT_GT(Predict(), before + 20);
  // It left neither its records nor anything else behind.
  EXPECT_THAT(RunFiles(), HasSubstr("data\n"));
  EXPECT_THAT(RunFiles(), Not(HasSubstr("data-")));
  done = Train({"--resume", "--epochs=2"});
  EXPECT_EQ(done.exit_code, 0) << done.output;
  EXPECT_EQ(RowsOf(done.output), rows);
  // A run that begins reads anew, too, and says what that means for the one before it.
  done = Train({"--epochs=1"});
  EXPECT_EQ(done.exit_code, 0) << done.output;
  EXPECT_NE(RowsOf(done.output), rows);
  EXPECT_THAT(done.output,
              HasSubstr("note: the data set's commands were run anew: the earlier run can be "));
}

TEST_F(Pipes, AnEvaluationThatFailsLeavesNoRecordsBehind) {
  WriteRows(600);
  ASSERT_EQ(Train({"--epochs=1"}).exit_code, 0);
  const std::string before = RunFiles();
  WriteTestFile(folder_.File("rows"), "3,1\n4\n");  // A bad row, behind a good one.
  Finished done = RunPredict();
  EXPECT_EQ(done.exit_code, 65) << done.output;
  EXPECT_EQ(RunFiles(), before);
  ASSERT_EQ(RunProcess({"rm", folder_.File("rows")}, kRunLimitSeconds).exit_code, 0);
  done = RunPredict();  // The command fails.
  EXPECT_EQ(done.exit_code, 74) << done.output;
  EXPECT_EQ(RunFiles(), before);
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
