// What a configuration becomes before anything runs.
#include "worker/train/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/safetensors.h"
#include "common/errors.h"
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
  // A checkpoint of a run of `config`, and what evaluating it is.
  absl::StatusOr<Job> Evaluate(const Config& config, const std::string& dataset = "",
                               const std::string& override_text = "") const {
    const std::string temporary = *BeginCheckpoint(folder_.File("checkpoints"), 3);
    Manifest manifest;
    manifest.set_format_version(kCheckpointVersion);
    *manifest.mutable_config() = config;
    const std::string dense = JoinPath(temporary, "dense.safetensors");
    EXPECT_TRUE(WriteSafetensors(dense, {}, {}).ok());
    manifest.mutable_dense()->set_name("dense.safetensors");
    manifest.mutable_dense()->set_bytes(*FileSize(dense));
    manifest.mutable_dense()->set_checksum(*ChecksumFile(dense));
    JobOptions options;
    options.mode = JobOptions::Mode::kEvaluate;
    options.config_root = folder_.path();
    ASSIGN_OR_RETURN(options.checkpoint, CommitCheckpoint(temporary, manifest));
    options.dataset = dataset;
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

// Features of one field stand in the same columns, but each has rows of its own in a wide part.
TEST_F(JobTest, EveryFeatureOfAFieldHasItsName) {
  const std::string field =
      "dataset { feature { name: 'item' field: 'what' } feature { name: 'shop' field: 'what' } } ";
  const auto job = Resolve(absl::StrCat(
      field, "model { wide { feature: 'shop' } reads { match: 'click/bottom' feature: 'shop' } }"));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(TablesOf(*job),
              ElementsAre("users user 0", "shared_4 item 1", "shared_4 shop 2",
                          "wide/buy/shared_1 shop 2", "wide/click/shared_1 shop 2"));
  const auto slip = Resolve(field + "model { reads { match: '*/bottom' feature: 'shoe' } }");
  EXPECT_THAT(std::string(slip.status().message()), HasSubstr("did you mean shop"));
  const auto wide = Resolve(field + "model { wide { feature: 'shoe' } }");
  EXPECT_THAT(std::string(wide.status().message()), HasSubstr("did you mean shop"));
}

// What a checkpoint says of embedding sets nobody gave.
TEST_F(JobTest, ACheckpointsEmbeddingSetsAreDerivedAnew) {
  const Config config = Resolve("model { wide {} }")->config;
  ASSERT_EQ(config.model().embedding_set_size(), 2);
  const auto job = Evaluate(config, "", "model { wide { feature: 'user' } }");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.model().embedding_set(1).feature(), ElementsAre("user"));
}

TEST_F(JobTest, ACheckpointIsEvaluatedForItsTasks) {
  for (const char* model : {"", "model { wide {} }"}) {
    const Config config = Resolve(model)->config;
    EXPECT_TRUE(Evaluate(config, "", "train { tasks: ['buy', 'click'] }").ok());
    EXPECT_THAT(std::string(Evaluate(config, "", "train { tasks: 'buy' }").status().message()),
                HasSubstr("its network has the tasks buy, click, the configuration"));
    const Config one = Resolve(absl::StrCat(model, " train { tasks: 'buy' }"))->config;
    EXPECT_TRUE(Evaluate(one, "shop").ok());
    EXPECT_FALSE(Evaluate(one, "shop", "train { tasks: 'click' }").ok());
  }
}

TEST_F(JobTest, WhatIsDerivedIsNotGiven) {
  const auto sets = Resolve("model { wide {} embedding_set { name: 'wide/buy' dim: 2 } }");
  EXPECT_THAT(std::string(sets.status().message()), HasSubstr("model.embedding_set: it is"));
  const auto job = Resolve("model { unread_feature: 'shop' }");
  EXPECT_THAT(std::string(job.status().message()),
              HasSubstr("model.unread_feature: it is derived"));
}

TEST_F(JobTest, ACheckpointKeepsItsColumns) {
  Config config = Resolve(absl::StrCat("model { ", kOwnReads, " }"))->config;
  const auto without = Evaluate(config);
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_THAT(without->config.model().unread_feature(), ElementsAre("shop"));
  EXPECT_THAT(TablesOf(*without), ElementsAre("users user 0", "shared_4 item 1"));
  // An earlier version's, in which nobody read the shop either.
  config.mutable_model()->clear_unread_feature();
  const auto with = Evaluate(config);
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_THAT(with->config.model().unread_feature(), IsEmpty());
  EXPECT_THAT(TablesOf(*with), ElementsAre("users user 0", "shared_4 item 1", "shared_4 shop 2"));
  EXPECT_EQ(with->data.input.width, 3 * 4 + 2);
}

TEST_F(JobTest, AnEvaluationTakesThePositiveWeightsThatTheRunFound) {
  Config config = Resolve("")->config;
  config.mutable_dataset()->mutable_task(1)->set_positive_weight(7);
  const auto evaluate = [&](const std::string& task) {
    WriteCarelessly(folder_.File("datasets/auto.textproto"),
                    absl::StrReplaceAll(kShop, {{R"(name: "buy")", task}}));
    return Evaluate(config, "auto");
  };
  const auto job = evaluate(R"(name: "buy" auto_positive_weight: 1)");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->config.dataset().task(1).positive_weight(), 7);
  EXPECT_FALSE(job->config.dataset().task(1).has_auto_positive_weight());
  const auto other = evaluate(R"(name: "bought" auto_positive_weight: 1)");
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("the checkpoint's run did not"));
}

}  // namespace
}  // namespace pagoda
