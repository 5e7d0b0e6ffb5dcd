// Rows with a conversion but no click: refused, skipped or taken.
#include "worker/data/funnel_check.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"
#include "worker/data/columns.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

Config FunnelConfig() {
  return ConfigFromText(R"pb(
    model { embedding_dim: 4 }
    dataset {
      name: "funnel"
      csv { header: true }
      source { path: "train.csv" split: TRAIN }
      source { path: "valid.csv" split: VALID }
      source { path: "test.csv" split: TEST }
      feature { name: "user" }
      task { name: "buy" label: "bought" }
      task { name: "click" label: "clicked" sample_space: "shown != 0" }
    })pb");
}

constexpr char kHeader[] = "user,shown,clicked,bought\n";
constexpr char kGood[] = "1,1,0,0\n2,1,1,0\n3,1,1,1\n";
constexpr char kBad[] = "4,1,0,1\n";

class FunnelCheckTest : public testing::Test {
 protected:
  FunnelCheckTest() {
    for (const char* split : {"train", "valid", "test"}) Write(split, kGood);
  }
  void Write(const std::string& split, const std::string& rows) const {
    folder_.Write(split + ".csv", kHeader + rows);
  }
  absl::StatusOr<std::unique_ptr<Dataset>> Open(const Config& config,
                                                const std::vector<std::string>& steps = {
                                                    "click", "buy"}) const {
    DatasetOptions options = folder_.options();
    options.strict_funnel = steps;
    return Dataset::Open(config, options, nullptr);
  }

  const DataFolder folder_;
};

TEST_F(FunnelCheckTest, TakesAFunnel) {
  const auto dataset = Open(FunnelConfig());
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 3);
  EXPECT_EQ((*dataset)->bad_rows(), 0);
}

TEST_F(FunnelCheckTest, RefusesAConversionWithoutAClickInEverySplit) {
  for (const std::string split : {"train", "valid", "test"}) {
    Write(split, std::string(kGood) + kBad);
    const absl::Status status = Open(FunnelConfig()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(split + ".csv:5:4: bought: buy is 1 but click is 0: a conversion "
                                  "without a click"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("strict_funnel: false"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("bad_rows: SKIP"));
    Write(split, kGood);
  }
}

TEST_F(FunnelCheckTest, SkipsAsItDoesEveryBadRow) {
  Write("train", std::string(kBad) + kGood + kBad);
  Config config = FunnelConfig();
  config.mutable_dataset()->set_bad_rows(SKIP);
  config.mutable_dataset()->set_bad_rows_cap(2);
  const auto dataset = Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 3);
  EXPECT_EQ((*dataset)->bad_rows(), 2);
  EXPECT_EQ((*dataset)->positives(), (std::vector<int64_t>{1, 2}));
  EXPECT_THAT(*ReadFile(folder_.options().quarantine_path),
              HasSubstr("train.csv:2:4: bought: buy is 1 but click is 0"));
  config.mutable_dataset()->set_bad_rows_cap(1);
  EXPECT_EQ(Open(config).status().code(), absl::StatusCode::kDataLoss);
}

// A model that does not hold a funnel to be strict takes them; its records are none for one that
// does, nor the other way round.
TEST_F(FunnelCheckTest, RecordsOfALaxReadingAreNotTaken) {
  Write("train", std::string(kGood) + kBad);
  Config config = FunnelConfig();
  config.mutable_dataset()->set_bad_rows(SKIP);
  for (int again = 0; again < 2; ++again) {
    const auto lax = Open(config, {});
    ASSERT_TRUE(lax.ok()) << lax.status();
    EXPECT_EQ((*lax)->rows(TRAIN), 4);
    const auto strict = Open(config);
    ASSERT_TRUE(strict.ok()) << strict.status();
    EXPECT_EQ((*strict)->rows(TRAIN), 3);
    const auto turned = Open(config, {"buy", "click"});  // A click without a conversion, now.
    ASSERT_TRUE(turned.ok()) << turned.status();
    EXPECT_EQ((*turned)->rows(TRAIN), 3);
    EXPECT_EQ((*turned)->bad_rows(), 3);  // One in each split.
  }
}

// Outside of its sample space a task has no label.
TEST_F(FunnelCheckTest, AMissingLabelDoesNotCount) {
  Write("train", std::string(kGood) + "5,0,,1\n6,0,0,1\n");
  EXPECT_TRUE(Open(FunnelConfig()).ok());
  Config weighs = FunnelConfig();
  weighs.mutable_dataset()->mutable_task(1)->set_outside_weight(0.5);
  Write("train", std::string(kGood) + "6,0,0,1\n");
  EXPECT_EQ(Open(weighs).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(FunnelCheckTest, RowsOfOneTaskPass) {
  Write("train", std::string(kGood) + kBad);
  Config config = FunnelConfig();
  config.mutable_dataset()->mutable_source(0)->add_task("buy");
  EXPECT_TRUE(Open(config).ok());
  config = FunnelConfig();
  LeaveLabelsOut(config.mutable_dataset());
  EXPECT_TRUE(Open(config).ok());
}

TEST(FunnelCheck, LooksAtEveryPairOfSteps) {
  const Config config = ConfigFromText(
      "dataset { task { name: 'pay' } task { name: 'see' } task { name: 'click' } }");
  const FunnelCheck check(config.dataset(), {"see", "click", "pay"});
  const auto find = [&](const std::vector<float>& labels, const std::vector<float>& weights) {
    std::string reason;
    Record record;
    record.labels = labels;
    record.weights = weights;
    const int task = check.FindBreak(record, &reason);
    EXPECT_EQ(task < 0, reason.empty());
    return task;
  };
  const std::vector<float> all = {1, 1, 1};
  EXPECT_EQ(find({0, 0, 0}, all), -1);
  EXPECT_EQ(find({1, 1, 1}, all), -1);
  EXPECT_EQ(find({0, 1, 1}, all), -1);
  EXPECT_EQ(find({0, 0, 1}, all), 2);
  EXPECT_EQ(find({1, 1, 0}, all), 0);
  EXPECT_EQ(find({1, 0, 0}, all), 0);
  EXPECT_EQ(find({1, 0, 0}, {1, 1, -0.0f}), 0);  // Without the step between.
  EXPECT_EQ(find({1, 0, 0}, {1, -0.0f, -0.0f}), -1);
  EXPECT_EQ(find({1, 0, 1}, {1, 0, 1}), 2);  // In the sample space, of weight 0.
  EXPECT_EQ(find({2.5f, 1, 0}, {0.5f, 1, 1}), 0);
}

}  // namespace
}  // namespace pagoda
