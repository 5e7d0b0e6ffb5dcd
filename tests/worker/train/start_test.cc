// What of a data set keeps a run from starting.
#include "worker/train/start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/optim/rule.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

class Counts : public Dataset {
 public:
  Counts(int64_t rows, std::vector<int64_t> positives, std::vector<SourceStamp> sources = {})
      : rows_(rows), positives_(std::move(positives)), sources_(std::move(sources)) {}
  const DataSchema& schema() const override { return schema_; }
  const Statistics& statistics() const override { return statistics_; }
  const std::vector<SourceStamp>& sources() const override { return sources_; }
  int64_t bad_rows() const override { return 0; }
  int64_t rows(Split) const override { return rows_; }
  const std::vector<int64_t>& positives() const override { return positives_; }
  const std::vector<int64_t>& negatives() const override { return positives_; }
  std::vector<RecordRuns> TaskRecords() const override { return {}; }
  absl::Status Fill(Split, absl::Span<const int64_t>, Batch*) const override {
    return absl::UnimplementedError("not needed here");
  }

 private:
  const int64_t rows_;
  const std::vector<int64_t> positives_;
  const std::vector<SourceStamp> sources_;
  DataSchema schema_;
  Statistics statistics_;
};

TEST(CheckSources, OlderCheckpointsDoNotKnowWhatACommandGave) {
  Manifest manifest;
  SourceStamp& then = *manifest.add_source();
  SourceStamp now;
  now.set_bytes(20);
  now.set_checksum(5);
  for (const char* path : {"cat x |", "x"}) {
    then.set_path(path);
    now.set_path(path);
    then.clear_bytes();
    then.clear_checksum();
    EXPECT_EQ(CheckSources(manifest, Counts(1, {}, {now})).ok(), std::string(path) != "x");
    then.set_bytes(20);
    then.set_checksum(6);
    const absl::Status status = CheckSources(manifest, Counts(1, {}, {now}));
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kData) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr("changed since the checkpoint"));
    then.set_checksum(5);
    EXPECT_TRUE(CheckSources(manifest, Counts(1, {}, {now})).ok()) << path;
  }
}

TEST(CheckLabels, EveryBinaryTaskNeedsPositives) {
  for (const TaskConfig::Loss loss : {TaskConfig::BCE, TaskConfig::FOCAL}) {
    Config config;
    config.mutable_dataset()->add_task()->set_name("a");
    config.mutable_dataset()->add_task()->set_name("b");
    config.mutable_dataset()->mutable_task(1)->set_loss(loss);
    EXPECT_TRUE(CheckLabels(config, Counts(10, {3, 1})).ok());
    const absl::Status status = CheckLabels(config, Counts(10, {3, 0}));
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kData);
    EXPECT_THAT(std::string(status.message()), HasSubstr("task b"));
  }
}

TEST(CheckSameUnread, WhatHadColumnsKeepsThem) {
  Manifest manifest;
  DatasetConfig& dataset = *manifest.mutable_config()->mutable_dataset();
  for (const char* name : {"user", "shop", "age"}) dataset.add_feature()->set_name(name);
  manifest.mutable_config()->mutable_model()->add_unread_feature("age");
  Config config = manifest.config();
  EXPECT_TRUE(CheckSameUnread(manifest, config).ok());
  config.mutable_model()->add_unread_feature("new");
  EXPECT_TRUE(CheckSameUnread(manifest, config).ok());
  config.mutable_model()->add_unread_feature("shop");
  const absl::Status status = CheckSameUnread(manifest, config);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("feature \"shop\": no task reads it"));
}

TEST(CheckLabels, NumbersNeedNone) {
  Config config;
  config.mutable_dataset()->add_task()->set_loss(TaskConfig::MSE);
  EXPECT_TRUE(CheckLabels(config, Counts(10, {0})).ok());
  EXPECT_THAT(std::string(CheckLabels(config, Counts(0, {0})).message()),
              HasSubstr("no training rows"));
}

TEST(UnusedOptimizersTest, ASlipInANameIsTold) {
  Config config;
  for (const char* name : {"sparse", "dense", "spase", "wide"})
    config.add_optimizer()->set_name(name);
  TrainingMethod method;
  for (const char* name : {"sparse", "wide"}) {
    method.optimizers.emplace_back().config.set_name(name);
    method.optimizers.back().name = absl::StrCat("click/", name);
  }
  EXPECT_THAT(UnusedOptimizers(config, method),
              ::testing::ElementsAre("optimizer \"spase\": nothing uses it; did you mean sparse?"));
  config.mutable_optimizer()->DeleteSubrange(2, 1);
  EXPECT_THAT(UnusedOptimizers(config, method), ::testing::IsEmpty());
}

class ZeroedRowsTest : public ::testing::Test {
 protected:
  ZeroedRowsTest() {
    for (const char* name : {"item", "user", "a", "b", "wide/click/item"}) {
      schema_.add_table()->set_name(name);
    }
    AddOptimizer("ftrl", {});
    AddOptimizer("adam", {});
  }

  void AddOptimizer(const std::string& rule, std::vector<int> tables) {
    StepOptimizer& added = method_.optimizers.emplace_back();
    added.name = "click/" + rule;
    added.config.set_name(rule);
    added.config.set_rule(rule);
    for (const ParameterSpec& one : Rules().at(rule).parameters) {
      Parameter* parameter = added.config.add_parameter();
      parameter->set_name(one.name);
      parameter->set_value(one.default_value);
    }
    Own(method_.optimizers.size() - 1, std::move(tables));
  }
  void Own(size_t optimizer, std::vector<int> tables) {
    for (const int table : tables) schema_.mutable_table(table)->add_optimizer(optimizer);
    method_.optimizers[optimizer].tables = std::move(tables);
  }

  Schema schema_;
  TrainingMethod method_;
};

TEST_F(ZeroedRowsTest, OfTheWidePartAreRight) {
  Own(0, {4});
  Own(1, {0, 1, 2, 3});
  EXPECT_THAT(ZeroedRows(schema_, method_), ::testing::IsEmpty());
}

TEST_F(ZeroedRowsTest, ThatTheNetworkReadsAreTold) {
  Own(0, {0, 1, 2, 3, 4});
  const std::vector<std::string> warnings = ZeroedRows(schema_, method_);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("optimizer \"click/ftrl\" (ftrl) starts the rows of item, "
                                     "user, a and 1 more at 0"));
  EXPECT_THAT(warnings[0], HasSubstr("optimizer: \"ftrl\""));
}

TEST_F(ZeroedRowsTest, ThatAnotherOptimizerMovesTooAreTold) {
  Own(0, {4});
  Own(1, {0, 4});
  const std::vector<std::string> warnings = ZeroedRows(schema_, method_);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("the rows of wide/click/item anew"));
}

}  // namespace
}  // namespace pagoda
