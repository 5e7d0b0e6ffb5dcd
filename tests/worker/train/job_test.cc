// What a configuration becomes before anything runs.
#include "worker/train/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/file.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kShop[] = R"(dataset {
  name: "shop" column: ["user", "item", "shop", "age", "price", "click", "buy"]
  source { path: "never read" split: TRAIN }
  feature { name: "user" table: "users" }
  feature { name: "item" }
  feature { name: "shop" }
  feature { name: "age" kind: DENSE }
  feature { name: "price" kind: DENSE }
  task { name: "click" label: "click" }
  task { name: "buy" label: "buy" }
})";

// Each task reads features of its own, and nobody the shop.
constexpr char kOwnReads[] =
    "reads { match: 'click/bottom' feature: 'user' feature: 'age' } "
    "reads { match: 'buy/bottom' feature: 'item' feature: 'price' } ";

class JobTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* kind : {"models", "datasets"}) {
      ASSERT_TRUE(MakeDirectories(folder_.File(kind)).ok());
    }
    WriteCarelessly(folder_.File("datasets/shop.textproto"), kShop);
    WriteCarelessly(folder_.File("models/single.textproto"),
                    "model { name: 'single' bottom: [8] tower: [4] embedding_dim: 4 }");
  }
  absl::StatusOr<Job> Resolve(const std::string& override_text) const {
    JobOptions options;
    options.config_root = folder_.path();
    options.model = "single";
    options.dataset = "shop";
    options.override_text = override_text;
    return ResolveJob(options);
  }

  TemporaryDirectory folder_;
};

std::vector<std::string> TablesOf(const Job& job) {
  std::vector<std::string> tables;
  for (const TableSchema& table : job.schema.table()) {
    for (const FeatureSchema& feature : table.feature()) {
      tables.push_back(absl::StrCat(table.name(), " ", feature.name(), " ", feature.slot()));
    }
  }
  return tables;
}

TEST_F(JobTest, OrdinarilyEveryFeatureHasRowsAndColumns) {
  const auto job = Resolve("");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.model().unread_feature(), IsEmpty());
  EXPECT_THAT(TablesOf(*job), ElementsAre("users user 0", "shared_4 item 1", "shared_4 shop 2"));
  EXPECT_EQ(job->data.input.width, 3 * 4 + 2);
}

TEST_F(JobTest, WhatNoTaskReadsHasNeither) {
  const auto job = Resolve(absl::StrCat("model { ", kOwnReads, " }"));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.model().unread_feature(), ElementsAre("shop"));
  EXPECT_THAT(TablesOf(*job), ElementsAre("users user 0", "shared_4 item 1"));
  EXPECT_EQ(job->data.input.width, 2 * 4 + 2);
  EXPECT_EQ(BuildGraph(*job)->width(Value{0}), 2 * 4 + 2);
}

// The features that only a task that is not of the run would have read; the others keep their ids.
TEST_F(JobTest, WhatOnlyOtherTasksReadHasNeither) {
  const auto job = Resolve(absl::StrCat("model { ", kOwnReads, " } train { tasks: 'buy' }"));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.model().unread_feature(), ElementsAre("user", "shop", "age"));
  EXPECT_THAT(TablesOf(*job), ElementsAre("shared_4 item 1"));
  EXPECT_EQ(job->data.input.width, 4 + 1);
  EXPECT_THAT(job->config.model().reads(), testing::SizeIs(1));
}

// A wide part embeds a feature once more, and only that is read of it.
TEST_F(JobTest, AWidePartReadsRowsOfItsOwn) {
  const auto job = Resolve(absl::StrCat("model { ", kOwnReads,
                                        " wide { feature: 'shop' feature: 'user' } } "
                                        "train { tasks: 'buy' }"));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.model().unread_feature(), ElementsAre("user", "shop", "age"));
  EXPECT_THAT(TablesOf(*job),
              ElementsAre("shared_4 item 1", "wide/buy/users user 0", "wide/buy/shared_1 shop 2"));
}

TEST_F(JobTest, WhatIsDerivedIsNotGiven) {
  const auto job = Resolve("model { unread_feature: 'shop' }");
  EXPECT_THAT(std::string(job.status().message()),
              HasSubstr("model.unread_feature: it is derived"));
}

}  // namespace
}  // namespace pagoda
