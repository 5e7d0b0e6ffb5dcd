// Whose turn a step is and which records it has, against plain loops.
#include "worker/train/step_order.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

// Records by the tasks that they weigh something for; nothing else of them is asked.
class FakeDataset : public Dataset {
 public:
  explicit FakeDataset(std::vector<std::vector<int64_t>> records, int64_t rows)
      : records_(std::move(records)), rows_(rows) {}
  const DataSchema& schema() const override { return schema_; }
  const Statistics& statistics() const override { return statistics_; }
  const std::vector<SourceStamp>& sources() const override { return sources_; }
  int64_t bad_rows() const override { return 0; }
  int64_t rows(Split split) const override { return split == TRAIN ? rows_ : 0; }
  const std::vector<int64_t>& positives() const override { return counts_; }
  const std::vector<int64_t>& negatives() const override { return counts_; }
  std::vector<RecordRuns> TaskRecords() const override {
    std::vector<RecordRuns> runs;
    for (const std::vector<int64_t>& records : records_) {
      RecordRuns& one = runs.emplace_back();
      for (const int64_t record : records) one.Add(record);
    }
    return runs;
  }
  absl::Status Fill(Split, absl::Span<const int64_t>, Batch*) const override {
    return absl::UnimplementedError("no rows");
  }

 private:
  const std::vector<std::vector<int64_t>> records_;
  const int64_t rows_;
  const DataSchema schema_;
  const Statistics statistics_;
  const std::vector<SourceStamp> sources_;
  const std::vector<int64_t> counts_;
};

std::vector<int64_t> Range(int64_t begin, int64_t end) {
  std::vector<int64_t> range;
  for (int64_t i = begin; i < end; ++i) range.push_back(i);
  return range;
}

Config MakeConfig(const std::string& train) {
  auto config = ParseConfig(absl::StrCat("dataset { task { name: 'a' } task { name: 'b' } } train "
                                         "{ method: ALTERNATING batch_size: 8 lanes: 2 ",
                                         train, "}"),
                            "test");
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

std::vector<int64_t> StepRecords(const StepOrder& order, int64_t step, int lanes = 2) {
  std::vector<int64_t> records;
  for (int lane = 0; lane < lanes; ++lane) {
    const auto part = order.Records(step, lane);
    records.insert(records.end(), part.begin(), part.end());
  }
  EXPECT_EQ(static_cast<int64_t>(records.size()), order.StepRows(step)) << step;
  return records;
}

constexpr char kTurns[] = "task { name: 'b' steps: 1 } task { name: 'a' steps: 3 }";

TEST(RecordRunsTest, AtIsTheInverseOfAdd) {
  const std::vector<std::vector<int64_t>> cases = {
      {7}, {0, 1, 2}, {1, 3, 5}, {2, 3, 9, 10, 11, 40}};
  for (const auto& records : cases) {
    RecordRuns runs;
    for (const int64_t record : records) runs.Add(record);
    ASSERT_EQ(runs.count(), static_cast<int64_t>(records.size()));
    for (size_t i = 0; i < records.size(); ++i) EXPECT_EQ(runs.At(i), records[i]);
  }
  EXPECT_EQ(RecordRuns().count(), 0);
}

TEST(StepOrderTest, WithoutTurnsItIsTheOrderOfAllRecords) {
  const FakeDataset dataset({{0}, {}}, 21);
  const Config config = MakeConfig("");
  const auto order = *StepOrder::Make(config, dataset);
  const DataOrder all({.rows = 21,
                       .batch_size = 8,
                       .seed = config.train().seed(),
                       .shuffle = TrainConfig::EPOCH,
                       .shuffle_rows = config.train().shuffle_rows(),
                       .lanes = 2});
  EXPECT_EQ(order->steps_per_epoch(), 3);
  for (int64_t step = 0; step < 7; ++step) {
    EXPECT_EQ(order->TaskOf(step), -1);
    EXPECT_EQ(order->StepRows(step), all.StepRows(step % 3));
    for (int lane = 0; lane < 2; ++lane) {
      EXPECT_EQ(order->Records(step, lane), all.Records(step / 3, step % 3, lane));
    }
  }
}

TEST(StepOrderTest, TasksTakeTurnsInTheDataSetsOrder) {
  // a: 20 records, 3 steps a pass; b: 50, 7 steps a pass, one in each round: an epoch is 7 rounds.
  std::vector<int64_t> a = Range(0, 10);
  for (const int64_t record : Range(60, 70)) a.push_back(record);
  const FakeDataset dataset({a, Range(10, 60)}, 70);
  const auto order = *StepOrder::Make(MakeConfig(kTurns), dataset);
  EXPECT_EQ(order->steps_per_epoch(), 7 * 4);
  std::map<int, std::vector<int64_t>> seen;
  for (int64_t step = 0; step < 28; ++step) {
    const int task = order->TaskOf(step);
    EXPECT_EQ(task, step % 4 == 3 ? 1 : 0) << step;
    for (const int64_t record : StepRecords(*order, step)) seen[task].push_back(record);
  }
  // b's one pass, a's seven: each has each of its records once.
  std::sort(seen[1].begin(), seen[1].end());
  EXPECT_EQ(seen[1], Range(10, 60));
  ASSERT_EQ(seen[0].size(), 7u * 20);
  std::set<std::vector<int64_t>> passes;
  for (int pass = 0; pass < 7; ++pass) {
    std::vector<int64_t> own(seen[0].begin() + pass * 20, seen[0].begin() + (pass + 1) * 20);
    passes.insert(own);
    std::sort(own.begin(), own.end());
    EXPECT_EQ(own, a) << pass;
  }
  EXPECT_EQ(passes.size(), 7u);  // Each in another order.
}

TEST(StepOrderTest, ATasksRecordsDoNotDependOnTheOthers) {
  const auto one = *StepOrder::Make(MakeConfig(kTurns), FakeDataset({Range(0, 30), {30}}, 31));
  // More of b, and before a: a's records have other numbers.
  const auto other =
      *StepOrder::Make(MakeConfig(kTurns), FakeDataset({Range(90, 120), Range(0, 90)}, 120));
  for (int64_t step = 0; step < 40; ++step) {
    if (one->TaskOf(step) != 0) continue;
    std::vector<int64_t> records = StepRecords(*one, step);
    for (int64_t& record : records) record += 90;
    EXPECT_EQ(records, StepRecords(*other, step)) << step;
  }
}

TEST(StepOrderTest, ATurnWithoutRecordsIsAnError) {
  const auto order = StepOrder::Make(MakeConfig(kTurns), FakeDataset({{1, 2}, {}}, 3));
  EXPECT_EQ(ExitCodeOf(order.status()), ExitCode::kData);
  EXPECT_THAT(std::string(order.status().message()), HasSubstr("train.task[b].steps"));
}

}  // namespace
}  // namespace pagoda
