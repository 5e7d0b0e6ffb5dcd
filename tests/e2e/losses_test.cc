// A whole run of the worker with a task of every loss: what is learned, reported, fused, listed.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

using ::testing::HasSubstr;

constexpr double kLimitSeconds = 120;

// user, item, seconds (0 without a click), click, grade 0 to 2.
std::string Rows(int first, int count) {
  std::ostringstream out;
  for (int i = first; i < first + count; ++i) {
    const uint32_t draw = static_cast<uint32_t>(i) * 2654435761u >> 8;
    const uint32_t noise = static_cast<uint32_t>(i) * 2246822519u >> 20;
    const int user = draw % 40, item = draw / 40 % 30;
    const int liking = (user * 7 + item * 3) % 11;
    const bool click = liking < 3;
    const double seconds = click ? std::exp(0.4 * liking + noise % 100 * 0.02) : 0;
    out << "u" << user << "," << item << "," << seconds << "," << click << "," << liking / 4
        << "\n";
  }
  return out.str();
}

constexpr char kDataset[] = R"(dataset {
  name: "losses"
  column: ["user", "item", "seconds", "click", "grade"]
  source { path: "train.csv" split: TRAIN }
  source { path: "valid.csv" split: VALID }
  source { path: "test.csv" split: TEST }
  feature { name: "user" }
  feature { name: "item" }
  task { name: "bce" label: "click" auto_positive_weight: 1 calibrate: true }
  task { name: "sampled" label: "click" negative_sampling: 0.25 calibrate: true }
  task { name: "focal" loss: FOCAL label: "click" }
  task { name: "order" loss: PAIRWISE label: "click" }
  task { name: "grade" loss: SOFTMAX classes: 3 label: "grade" }
  task { name: "count" loss: POISSON label: "seconds" weight: 0.1 }
  task { name: "mse" loss: MSE label: "seconds" label_transform: LOG1P inverse: MEAN }
  task { name: "huber" loss: HUBER huber_delta: 0.5 label: "seconds" label_transform: LOG1P }
  task {
    name: "amount" loss: LOG_NORMAL inverse: MEAN label: "seconds" sample_space: "click == 1"
  }
}
model { name: "mmoe" expert: 16 experts: 3 tower: 8 embedding_dim: 8 }
optimizer { name: "dense" rule: "adam" learning_rate: 0.01 }
optimizer { name: "sparse" rule: "adam" learning_rate: 0.02 }
train {
  epochs: 6 batch_size: 256 patience: 0 gauc_by: "user" ndcg_at: 5 calibration_buckets: 4
  auc_interval: true
})";

// The number under "name" behind the first "task":{ of a line; NaN when it is not there.
double Number(const std::string& line, const std::string& task, const std::string& name) {
  const size_t begin = line.find("\"" + task + "\":{");
  const size_t at = line.find("\"" + name + "\":", begin);
  if (begin == std::string::npos || at == std::string::npos) return std::nan("");
  return std::strtod(line.c_str() + at + name.size() + 3, nullptr);
}

class Losses : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory;
    WriteTestFile(folder_->File("train.csv"), Rows(0, 8000));
    WriteTestFile(folder_->File("valid.csv"), Rows(8000, 2000));
    WriteTestFile(folder_->File("test.csv"), Rows(10000, 2000));
    WriteTestFile(folder_->File("losses.textproto"), kDataset);
    WriteTestFile(folder_->File("model.textproto"), "model { name: \"mmoe\" }");
    trained_ = new Finished(RunProcess(
        {Binary("worker"), "--model=" + folder_->File("model.textproto"),
         "--dataset=" + folder_->File("losses.textproto"), "--run_dir=" + RunDir(), "--lanes=2"},
        kLimitSeconds));
  }
  static void TearDownTestSuite() {
    delete trained_;
    delete folder_;
  }
  static std::string RunDir() { return folder_->File("run"); }
  static std::string Best() { return "--checkpoint=" + RunDir() + "/checkpoints/best"; }

  static TemporaryDirectory* folder_;
  static Finished* trained_;
};

TemporaryDirectory* Losses::folder_ = nullptr;
Finished* Losses::trained_ = nullptr;

TEST_F(Losses, EveryOneLearnsAndIsReported) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  const std::string line = LastEvent(RunDir(), "eval");
  ASSERT_THAT(line, HasSubstr("\"split\":\"test\""));
  for (const char* task : {"bce", "sampled", "focal", "order"}) {
    EXPECT_GT(Number(line, task, "auc"), 0.9) << task << " " << line;
    EXPECT_GT(Number(line, task, "gauc"), 0.9) << task;
    EXPECT_GT(Number(line, task, "ndcg@5"), 0.7) << task;
    EXPECT_LE(Number(line, task, "auc_low"), Number(line, task, "auc")) << task;
  }
  // Calibrated although positives were raised, and although 3 of 4 negatives were left out.
  EXPECT_NEAR(Number(line, "bce", "pcoc"), 1, 0.15);
  EXPECT_NEAR(Number(line, "sampled", "pcoc"), 1, 0.15);
  EXPECT_GT(Number(line, "grade", "accuracy"), 0.8);
  EXPECT_GT(Number(line, "count", "r2"), 0.3);
  for (const char* task : {"mse", "huber", "amount"}) {
    const size_t units =
        line.find("\"training_units\"", line.find(absl::StrCat("\"", task, "\":{")));
    ASSERT_NE(units, std::string::npos) << task;
    EXPECT_GT(Number(line, task, "r2"), 0.1) << task;
  }
  // The smearing factor makes means of medians.
  EXPECT_NEAR(Number(line, "amount", "pcoc"), 1, 0.1);
  EXPECT_NEAR(Number(line, "mse", "pcoc"), 1, 0.15);
  EXPECT_THAT(line, HasSubstr("\"buckets\":[{"));
}

// Of the last checkpoint of a run whose end is no evaluation: its predictions are means, too.
TEST_F(Losses, EveryCheckpointHasItsSmearingFactors) {
  for (const char* valid : {"", "source { path: 'valid.csv' split: VALID } "}) {
    WriteTestFile(folder_->File("means.textproto"),
                  absl::StrCat("dataset { name: 'means' ",
                               "column: ['user', 'item', 'seconds', 'click', 'grade'] ",
                               "source { path: 'train.csv' split: TRAIN } ", valid,
                               "feature { name: 'user' } feature { name: 'item' } ",
                               "task { name: 'mse' loss: MSE label: 'seconds' ",
                               "label_transform: LOG1P inverse: MEAN } } ",
                               "model { expert: 16 experts: 2 tower: 8 embedding_dim: 4 }"));
    const std::string run = folder_->File(absl::StrCat("means", std::strlen(valid)));
    OutputOf({Binary("worker"), "--model=" + folder_->File("model.textproto"),
              "--dataset=" + folder_->File("means.textproto"), "--run_dir=" + run, "--max_steps=7",
              "--lanes=2"});
    ASSERT_EQ(NewestCheckpoint(run), 7);
    const std::string manifest =
        ReadText(run + "/checkpoints/step-000000000007/manifest.textproto");
    const size_t at = manifest.find("factor: ");
    ASSERT_NE(at, std::string::npos) << manifest;
    EXPECT_GT(std::strtod(manifest.c_str() + at + 8, nullptr), 1.1) << manifest;
  }
}

TEST_F(Losses, GatesAreMeasured) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  const std::string line = LastEvent(RunDir(), "gates");
  double sum = 0;
  for (const char* expert : {"experts/0", "experts/1", "experts/2"}) {
    sum += Number(line, "amount/gate", expert);
  }
  EXPECT_NEAR(sum, 1, 1e-5) << line;
}

TEST_F(Losses, TheCheckpointEvaluatesToTheSameNumbers) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  const Finished evaluated =
      RunProcess({Binary("worker"), "--mode=evaluate", Best()}, kLimitSeconds);
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  EXPECT_THAT(evaluated.output, HasSubstr(LastEvent(RunDir(), "eval")));
}

TEST_F(Losses, PredictionsAreInLabelUnitsWithAColumnAClass) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  const Finished predicted =
      RunProcess({Binary("worker"), "--mode=predict", Best()}, kLimitSeconds);
  ASSERT_EQ(predicted.exit_code, 0) << predicted.output;
  EXPECT_THAT(predicted.output, HasSubstr("record,bce,sampled,focal,order,grade,count,mse,huber,"
                                          "amount,grade/0,grade/1,grade/2\n"));
}

TEST_F(Losses, LabelsStandBesideThePredictionsWhenAskedFor) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  const std::string path = folder_->File("labels.csv");
  const Finished predicted = RunProcess(
      {Binary("worker"), "--mode=predict", Best(), "--labels", "--output=" + path}, kLimitSeconds);
  ASSERT_EQ(predicted.exit_code, 0) << predicted.output;
  std::ifstream csv(path);
  std::string header, row;
  std::getline(csv, header);
  EXPECT_THAT(header, HasSubstr("grade/2,label/bce,label/sampled,"));
  std::getline(csv, row);
  // As the data set has them: of the first test row, a task's 0 or 1.
  const std::vector<std::string> names = absl::StrSplit(header, ','),
                                 values = absl::StrSplit(row, ',');
  ASSERT_EQ(names.size(), values.size());
  const size_t at = std::find(names.begin(), names.end(), "label/bce") - names.begin();
  const std::vector<std::string> first = absl::StrSplit(Rows(10000, 1), ',');
  EXPECT_EQ(values[at], first[3]) << "click";
}

// auto_positive_weight is the training run's, not that of the rows that are given now.
TEST_F(Losses, AnotherDataSetDoesNotChangeWhatPredictionsMean) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  std::string other(kDataset);
  other.replace(other.find("train.csv"), 9, "other.csv");
  WriteTestFile(folder_->File("other.textproto"), other);
  // A click and a row without one: another share of positives.
  WriteTestFile(folder_->File("other.csv"), "u1,i1,2,1,0\nu2,i2,0,0,1\n");
  const Arguments predict = {Binary("worker"), "--mode=predict", Best()};
  const Finished own = RunProcess(predict, kLimitSeconds);
  const Finished on_other =
      RunProcess(Joined(predict, {"--dataset=" + folder_->File("other.textproto")}), kLimitSeconds);
  ASSERT_EQ(on_other.exit_code, 0) << on_other.output;
  EXPECT_EQ(on_other.output, own.output);
}

// An embedding set has the ordinary features' names, and no ids of its own.
TEST_F(Losses, GroupsAreFoundBesideEmbeddingSets) {
  const Finished wide = RunProcess(
      {Binary("worker"), "--model=" + folder_->File("model.textproto"),
       "--dataset=" + folder_->File("losses.textproto"), "--run_dir=" + folder_->File("wide"),
       "--max_steps=40", "--override=model { wide {} }"},
      kLimitSeconds);
  ASSERT_EQ(wide.exit_code, 0) << wide.output;
  const std::string line = LastEvent(folder_->File("wide"), "eval");
  EXPECT_EQ(Number(line, "bce", "gauc_groups"), 40) << line;
}

TEST_F(Losses, OutputsAreFused) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  for (const char* metric : {"auc", "gauc", "ndcg@5"}) {
    const Finished fused =
        RunProcess({Binary("worker"), "--mode=fuse", Best(), "--fuse=bce:1,sampled:0.5",
                    absl::StrCat("--fuse_metric=", metric)},
                   kLimitSeconds);
    ASSERT_EQ(fused.exit_code, 0) << fused.output;
    EXPECT_THAT(fused.output, HasSubstr(R"("event":"fuse","split":"valid","form":"sum")"));
    EXPECT_THAT(fused.output, HasSubstr(R"("event":"fuse","split":"valid","form":"product")"));
    EXPECT_THAT(fused.output, HasSubstr(R"("event":"fuse","split":"test")"));
  }
  const Finished refused =
      RunProcess({Binary("worker"), "--mode=fuse", Best(), "--fuse=bec:1,sampled:1"}, 10);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("bce"));
  const Finished grades =
      RunProcess({Binary("worker"), "--mode=fuse", Best(), "--fuse=bce:1,grade:1"}, 10);
  EXPECT_EQ(grades.exit_code, 2);
  EXPECT_THAT(grades.output, HasSubstr("grade has loss SOFTMAX"));
}

// What all ranks see alike is said once, and the job ends in order.
TEST_F(Losses, AFusionThatCannotBeIsRefusedOnceByTwoRanks) {
  ASSERT_EQ(trained_->exit_code, 0) << trained_->output;
  std::string only_test(kDataset);
  only_test.replace(only_test.find("split: VALID"), 12, "split: TRAIN");
  WriteTestFile(folder_->File("only_test.textproto"), only_test);
  const std::string no_valid = "--dataset=" + folder_->File("only_test.textproto");
  struct Case {
    std::string says;
    Arguments flags;
  };
  for (const Case& wrong : {Case{"bce", {"--fuse=bec:1,sampled:1"}},
                            Case{"valid", {"--fuse=bce:1,sampled:1", no_valid}}}) {
    const Finished refused = RunProcess(
        Mpirun(2, Joined({Binary("worker"), "--mode=fuse", Best()}, wrong.flags)), kLimitSeconds);
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_THAT(refused.output, HasSubstr(wrong.says));
    const size_t first = refused.output.find("worker: ");
    EXPECT_NE(first, std::string::npos) << refused.output;
    EXPECT_EQ(refused.output.find("worker: ", first + 1), std::string::npos) << refused.output;
    EXPECT_EQ(refused.output.find("MPI_ABORT"), std::string::npos) << refused.output;
    EXPECT_LT(refused.seconds, 10);
  }
}

TEST_F(Losses, AnEventFileIsThere) {
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator(RunDir())) {
    found |= entry.path().filename().string().find("events.out.tfevents.") == 0;
  }
  EXPECT_TRUE(found);
}

TEST(Listing, NamesEverything) {
  const Finished listed = RunProcess({Binary("worker"), "--list"}, 10);
  EXPECT_EQ(listed.exit_code, 0);
  for (const char* name : {"models\n", "  ple ", "optimizers\n", "  adam ", "losses\n",
                           "  PAIRWISE ", "weightings\n", "  uwl ", "formats\n", "  csv "}) {
    EXPECT_THAT(listed.output, HasSubstr(name));
  }
}

}  // namespace
}  // namespace pagoda::test
