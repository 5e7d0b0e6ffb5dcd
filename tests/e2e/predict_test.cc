// Scoring rows that a run has not seen, from what they are in practice: files without labels, in
// one process and in two.
#include <algorithm>
#include <string>
#include <utility>
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

constexpr char kDataset[] = R"(dataset {
  name: "ads"
  csv { header: true }
  source { path: "ads.csv" }
  split { train: 8 valid: 1 test: 1 by: ROW_HASH }
  feature { name: "user" }
  feature { name: "item" table: "item" }
  feature { name: "price" kind: DENSE }
  task { name: "click" label: "click" }
  task { name: "watch" label: "seconds" loss: MSE sample_space: "click" sample_weight: "w" }
})";

enum class Labels { kGiven, kEmpty, kNone };

// Rows of users [first, first + count).
std::string Rows(int first, int count, Labels labels) {
  std::string text =
      labels == Labels::kNone ? "price,item,user\n" : "price,item,user,click,seconds,w\n";
  for (int i = first; i < first + count; ++i) {
    absl::StrAppend(&text, i % 10, ",i", i % 7, ",u", i % 50);
    if (labels == Labels::kGiven) absl::StrAppend(&text, ",", i % 3 == 0, ",", i % 30, ",1");
    if (labels == Labels::kEmpty) text += ",,,";
    text += "\n";
  }
  return text;
}

class Predict : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory;
    WriteTestFile(folder_->File("ads.textproto"), kDataset);
    WriteTestFile(folder_->File("ads.csv"), Rows(0, 1000, Labels::kGiven));
    trained_ = new Finished(RunProcess(
        {Binary("worker"), "--model=single", "--dataset=" + folder_->File("ads.textproto"),
         "--run_dir=" + RunDir(), "--batch_size=64", "--epochs=1"},
        kRunLimitSeconds));
  }
  static void TearDownTestSuite() {
    delete trained_;
    delete folder_;
  }
  void SetUp() override { ASSERT_EQ(trained_->exit_code, 0) << trained_->output; }

  static std::string RunDir() { return folder_->File("run"); }
  static Arguments Command(const std::string& output, const Arguments& more = {}) {
    return Joined({Binary("worker"), "--mode=predict",
                   "--checkpoint=" + RunDir() + "/checkpoints/best", "--output=" + output},
                  more);
  }
  // The one source of the data set is now this file.
  static std::string Source(const std::string& path, const std::string& more = "split: TEST") {
    return absl::StrCat("--override=dataset { source { path: \"", path, "\" ", more, " } }");
  }
  // What is predicted for these rows, by these processes.
  static std::string PredictionsOf(const std::string& rows, int processes = 1) {
    const std::string input = folder_->File("rows.csv"), output = folder_->File("out.csv");
    WriteTestFile(input, rows);
    const Arguments command = Command(output, {Source(input)});
    const Finished done =
        RunProcess(processes == 1 ? command : Mpirun(processes, command), kRunLimitSeconds);
    EXPECT_EQ(done.exit_code, 0) << done.output;
    return ReadText(output);
  }

  static TemporaryDirectory* folder_;
  static Finished* trained_;
};
TemporaryDirectory* Predict::folder_ = nullptr;
Finished* Predict::trained_ = nullptr;

TEST_F(Predict, NeedsNoLabels) {
  const std::string labelled = PredictionsOf(Rows(500, 700, Labels::kGiven));
  EXPECT_EQ(std::count(labelled.begin(), labelled.end(), '\n'), 701);
  EXPECT_EQ(PredictionsOf(Rows(500, 700, Labels::kNone)), labelled);
  EXPECT_EQ(PredictionsOf(Rows(500, 700, Labels::kEmpty)), labelled);
  EXPECT_EQ(PredictionsOf(Rows(500, 700, Labels::kNone), 2), labelled);
}

TEST_F(Predict, LabelsMustBeThereWhereTheyAreAskedFor) {
  const std::string input = folder_->File("unlabelled.csv"), output = folder_->File("labels.csv");
  WriteTestFile(input, Rows(0, 10, Labels::kNone));
  const Arguments command = Command(output, {Source(input), "--labels"});
  Finished done = RunProcess(command, kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 2) << done.output;
  EXPECT_THAT(done.output, HasSubstr("no column \"click\""));
  // The records without labels, which are there by now, are not taken for those with them.
  ASSERT_EQ(RunProcess(Command(output, {Source(input)}), kRunLimitSeconds).exit_code, 0);
  done = RunProcess(command, kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 2) << done.output;
}

// Where nobody says that new rows are test rows, the run's own split cuts them.
TEST_F(Predict, SaysWhenTheSplitCutsTheRows) {
  const std::string input = folder_->File("cut.csv"), output = folder_->File("cut-out.csv");
  WriteTestFile(input, Rows(0, 50, Labels::kNone));
  const Finished done = RunProcess(Command(output, {Source(input, "")}), kRunLimitSeconds);
  ASSERT_EQ(done.exit_code, 0) << done.output;
  const std::string text = ReadText(output);
  const int64_t rows = std::count(text.begin(), text.end(), '\n') - 1;
  EXPECT_THAT(done.output, HasSubstr(absl::StrCat("predicting ", rows, " of 50 rows")));
  EXPECT_THAT(done.output, HasSubstr("(split TEST by ROW_HASH of /"));
  EXPECT_THAT(done.output, HasSubstr("/cut.csv); for all of them: source { path: ... split: TEST"));
  const Finished whole = RunProcess(Command(output, {Source(input)}), kRunLimitSeconds);
  EXPECT_THAT(whole.output, Not(HasSubstr("predicting")));
}

TEST_F(Predict, ASplitWithoutRowsIsAnError) {
  const std::string input = folder_->File("none.csv"), output = folder_->File("none-out.csv");
  WriteTestFile(input, Rows(0, 20, Labels::kNone));
  Finished done = RunProcess(Command(output, {Source(input, "split: TRAIN")}), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 2) << done.output;
  EXPECT_THAT(done.output, HasSubstr("none of the data set's 20 rows is of split TEST"));
  EXPECT_THAT(done.output, HasSubstr("split: TEST }"));
  WriteTestFile(input, Rows(0, 0, Labels::kNone));
  done = RunProcess(Mpirun(2, Command(output, {Source(input)})), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 2) << done.output;
  EXPECT_THAT(done.output, HasSubstr("no rows"));
  EXPECT_EQ(ReadText(output), "");
}

// However the output spells a file that is read: a link to it, another path to it, a match of a
// glob.
TEST_F(Predict, DoesNotWriteOverWhatItReads) {
  const std::string rows = Rows(0, 1000, Labels::kGiven), link = folder_->File("link.csv");
  ASSERT_EQ(RunProcess({"ln", "-s", folder_->File("ads.csv"), link}, 10).exit_code, 0);
  for (const Arguments& wrong :
       {Command(folder_->File("ads.csv")), Command(link),
        Command(folder_->path() + "/./run/../ads.csv", {Source(folder_->File("a*s.csv"))})}) {
    const Finished done = RunProcess(wrong, kRunLimitSeconds);
    EXPECT_EQ(done.exit_code, 2) << done.output;
    EXPECT_THAT(done.output, HasSubstr("it would overwrite"));
    ASSERT_EQ(ReadText(folder_->File("ads.csv")), rows);
  }
}

// Before the sources are read: a prediction may take hours.
TEST_F(Predict, AnOutputThatCannotBeWrittenIsRefusedFirst) {
  const std::string run = "--run_dir=" + folder_->File("other");
  Finished done = RunProcess(Command(folder_->File("no/such/out.csv"), {run}), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 74) << done.output;
  done = RunProcess(Command(folder_->path(), {run}), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 2) << done.output;
  EXPECT_THAT(done.output, HasSubstr("is a folder"));
  // It would have been made for the records.
  EXPECT_NE(RunProcess({"ls", folder_->File("other")}, 10).exit_code, 0);
  done = RunProcess(Command("/dev/null", {run}), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 0) << done.output;
}

TEST_F(Predict, AFullDiskLeavesNothingBehind) {
  const std::string input = folder_->File("full.csv"), run = folder_->File("full");
  WriteTestFile(input, Rows(0, 500, Labels::kNone));
  for (const int processes : {1, 2}) {
    const Arguments command =
        Command("/dev/full", {Source(input), "--run_dir=" + run, "--memory_budget_mb=0.001"});
    const Finished done =
        RunProcess(processes == 1 ? command : Mpirun(processes, command), kRunLimitSeconds);
    EXPECT_EQ(done.exit_code, 74) << done.output;
    EXPECT_THAT(done.output, HasSubstr("write /dev/full: No space left on device"));
    EXPECT_THAT(OutputOf({"ls", run}), Not(HasSubstr("store"))) << processes;
  }
}

// The same of both programs.
TEST_F(Predict, APathThatIsNoCheckpointGetsTheOneItMayStandFor) {
  const std::string best = RunDir() + "/checkpoints/best";
  for (const Arguments& program :
       {Arguments{Binary("worker"), "--mode=predict"}, Arguments{Binary("psctl"), "verify"}}) {
    for (const auto& [path, says] : std::vector<std::pair<std::string, std::string>>{
             {RunDir(), "did you mean " + best + "?"},
             {RunDir() + "/checkpoints", "did you mean " + best + "?"},
             {RunDir() + "/checkpoints/bset", "no such folder; did you mean best?"},
             {folder_->File("rnu/checkpoints/best"), "no such folder"}}) {
      const Finished done = RunProcess(Joined(program, {"--checkpoint=" + path}), kRunLimitSeconds);
      EXPECT_EQ(done.exit_code, 2) << done.output;
      EXPECT_THAT(done.output, HasSubstr(says));
    }
  }
}

}  // namespace
}  // namespace pagoda::test
