// Lists with weights, sequences, crosses, fields; sample weights and spaces; negative sampling;
// sources of single tasks.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

// Columns user, item, tags, w, age, click, ysl.
Config BaseConfig(const std::string& more) {
  return ConfigFromText(R"(
    dataset {
      column: "user" column: "item" column: "tags" column: "w" column: "age" column: "click"
      column: "ysl"
      source { path: "a.csv" split: TRAIN }
)" + more + " }");
}
constexpr char kClick[] = "task { name: 'click' label: 'click' }";

// ---- features

TEST(FeaturesTest, WeightsFromAColumn) {
  DataFolder folder;
  folder.Write("a.csv", "1,2,5|6,0.5|-2,30,1,3\n1,2,,,30,0,0\n");
  Config config = BaseConfig(absl::StrCat(
      kClick, "feature { name: 'tags' kind: ID_LIST table: 't' weights_column: 'w' }"));
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.ids[0].ids, (std::vector<uint64_t>{5, 6}));
  EXPECT_EQ(batch.ids[0].weights, (std::vector<float>{0.5, -2}));
  EXPECT_EQ(batch.ids[0].offsets, (std::vector<uint32_t>{0, 2, 2}));
  EXPECT_TRUE((*dataset)->schema().input.embeddings[0].is_weighted);
  // A mean by weights that may be negative could divide by anything.
  config.mutable_dataset()->mutable_feature(0)->set_pooling(FeatureConfig::MEAN);
  EXPECT_THAT(std::string(folder.Open(config).status().message()),
              HasSubstr("a.csv:1:4: w: \"-2\" is a negative weight"));
  folder.Write("a.csv", "1,2,5|6,0.5,30,1,3\n");
  EXPECT_THAT(std::string(folder.Open(config).status().message()),
              HasSubstr("a.csv:1:4: w: 1 weights of 2 values"));
}

TEST(FeaturesTest, SequencesKeepTheirLastValuesAndStandSideBySide) {
  DataFolder folder;
  folder.Write("a.csv", "1,2,5|6|7|8,,30,1,3\n1,2,9,,30,0,0\n1,2,,,30,0,0\n");
  const Config config = BaseConfig(
      absl::StrCat(kClick,
                   "feature { name: 'user' dim: 2 }"
                   "feature { name: 'tags' kind: SEQUENCE max_length: 3 dim: 4 table: 't' }"
                   "feature { name: 'item' dim: 2 }"
                   "feature { name: 'age' kind: DENSE }"));
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.ids[1].ids, (std::vector<uint64_t>{6, 7, 8, 9}));
  EXPECT_EQ(batch.ids[1].offsets, (std::vector<uint32_t>{0, 3, 4, 4}));
  const InputLayout& input = (*dataset)->schema().input;
  EXPECT_EQ(input.embeddings[1].length, 3);
  EXPECT_EQ(input.embeddings[1].input_offset, 2);
  EXPECT_EQ(input.embeddings[1].mask_offset, 2 + 3 * 4);
  EXPECT_EQ(input.embeddings[2].input_offset, 2 + 3 * 4 + 3);
  EXPECT_EQ(input.dense[0].input_offset, 19);
  EXPECT_EQ(input.width, 20);
}

TEST(FeaturesTest, CrossesAreAnIdForEachCombination) {
  DataFolder folder;
  folder.Write("a.csv",
               "1,2,,,30,1,0\n2,1,,,30,1,0\n1,2,,,50,0,0\n,2,,,30,0,0\n,,,,,0,0\n1,,,,30,0,0\n");
  const std::string features =
      "feature { name: 'user' }"
      "feature { name: 'item' table: 'i' }"
      "feature { name: 'age' kind: BUCKET buckets: 2 }"
      "feature { name: 'user_x_item' cross { feature: 'user' feature: 'item' } }"
      "feature { name: 'all' table: 'all' cross { feature: 'user' feature: 'item' feature: 'age' } "
      "}";
  const auto dataset = folder.Open(BaseConfig(kClick + features));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  const std::vector<uint64_t>& pairs = batch.ids[3].ids;
  EXPECT_EQ(pairs[0], pairs[2]);
  const std::set<uint64_t> distinct(pairs.begin(), pairs.end());
  EXPECT_EQ(distinct.size(), 5u) << "1x2, 2x1, ?x2, ?x?, 1x?";
  for (const uint64_t id : pairs) {
    EXPECT_EQ(SlotOfSalted(id), (*dataset)->schema().input.embeddings[3].slot);
  }
  EXPECT_NE(batch.ids[4].ids[0], batch.ids[4].ids[2]) << "another age";
  // Slots of members do not matter: values do.
  const auto moved = folder.Open(BaseConfig(kClick + ("feature { name: 'w' }" + features)));
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(FillAll(**moved, TRAIN).ids[5].ids, batch.ids[4].ids);
}

TEST(FeaturesTest, FieldsShareColumns) {
  const Config config = BaseConfig(
      absl::StrCat(kClick,
                   "feature { name: 'user' dim: 4 field: 'u' }"
                   "feature { name: 'item' dim: 2 }"
                   "feature { name: 'tags' kind: ID_LIST pooling: MEAN dim: 4 field: 'u' }"
                   "feature { name: 'age' kind: BUCKET dim: 4 field: 'u' }"));
  const auto schema = MakeDataSchema(config);
  ASSERT_TRUE(schema.ok()) << schema.status();
  const std::vector<EmbeddingFeature>& embeddings = schema->input.embeddings;
  EXPECT_EQ(schema->input.width, 6);
  EXPECT_EQ(embeddings[1].input_offset, 4);
  for (const int f : {0, 2, 3}) EXPECT_EQ(embeddings[f].input_offset, 0);
  EXPECT_FALSE(embeddings[0].adds);
  EXPECT_TRUE(embeddings[2].adds && embeddings[3].adds);
}

// What no task reads has ids, since a cross or GAUC may want them, but no rows and no columns; it
// moves nobody else's ids.
TEST(FeaturesTest, UnreadOnesHaveIdsOnly) {
  DataFolder folder;
  folder.Write("a.csv", "1,2,5,0,30,1,3\n1,3,,,40,0,0\n");
  const std::string features = absl::StrCat(
      kClick,
      "feature { name: 'user' table: 'u' }"
      "feature { name: 'item' dim: 2 }"
      "feature { name: 'age' kind: DENSE }"
      "feature { name: 'age2' column: 'age' kind: DENSE transform: LOG1P }"
      "feature { name: 'user_x_item' dim: 2 cross { feature: 'user' feature: 'item' } }");
  const Config all = BaseConfig(features);
  Config some = all;
  for (const char* name : {"user", "item", "age"}) some.mutable_model()->add_unread_feature(name);
  const auto schema = MakeDataSchema(some);
  ASSERT_TRUE(schema.ok()) << schema.status();
  ASSERT_EQ(schema->tables.size(), 1u);
  EXPECT_EQ(schema->tables[0].name(), "shared_2");
  ASSERT_EQ(schema->tables[0].feature_size(), 1);
  EXPECT_EQ(schema->tables[0].feature(0).name(), "user_x_item");
  EXPECT_EQ(schema->input.width, 2 + 1);
  EXPECT_EQ(schema->input.embeddings[0].table, -1);
  EXPECT_EQ(schema->input.embeddings[2].input_offset, 0);
  ASSERT_EQ(schema->input.dense.size(), 1u);
  EXPECT_EQ(schema->input.dense[0].name, "age2");

  const auto with = folder.Open(all), without = folder.Open(some);
  ASSERT_TRUE(with.ok() && without.ok()) << with.status() << without.status();
  const Batch before = FillAll(**with, TRAIN), after = FillAll(**without, TRAIN);
  ASSERT_GT(after.rows, 0);
  for (size_t f = 0; f < 3; ++f) EXPECT_EQ(after.ids[f].ids, before.ids[f].ids) << f;
  ASSERT_EQ(after.dense.size() * 2, before.dense.size());
  for (int b = 0; b < after.rows; ++b) EXPECT_EQ(after.dense[b], before.dense[2 * b + 1]);
}

// A set embeds what the network's ordinary columns need not have.
TEST(FeaturesTest, UnreadOnesMayStandInASet) {
  Config config = BaseConfig(
      absl::StrCat(kClick, "feature { name: 'user' table: 'u' } feature { name: 'item' }"));
  config.mutable_model()->add_embedding_set()->set_name("wide/t");
  config.mutable_model()->mutable_embedding_set(0)->set_dim(1);
  for (const char* name : {"user", "item"}) config.mutable_model()->add_unread_feature(name);
  const auto schema = MakeDataSchema(config);
  ASSERT_TRUE(schema.ok()) << schema.status();
  ASSERT_EQ(schema->tables.size(), 2u);
  EXPECT_EQ(schema->tables[0].name(), "wide/t/u");
  EXPECT_EQ(schema->tables[1].name(), "wide/t/shared_1");
  EXPECT_EQ(schema->input.width, 2);
  EXPECT_EQ(schema->input.embeddings[3].column, 1);
}

// A layer of the configuration can say the default to undo what the one below it says.
TEST(FeaturesTest, WhatSaysItsDefaultIsNotGiven) {
  DataFolder folder;
  folder.Write("a.csv", "1,2,5|6|7,,30,1,3\n4,2,,,30,0,0\n");
  const auto open = [&](const std::string& feature, const std::string& list,
                        const std::string& task) {
    const Config config = BaseConfig(
        absl::StrCat("split { ", task.empty() ? "" : "column: ''", " } feature { name: 'user' ",
                     feature, " } feature { name: 'tags' kind: ID_LIST pooling: MAX ", feature,
                     list, " } task { name: 'click' label: 'click' ", task, " }"));
    const absl::Status status = CheckDataset(config);
    EXPECT_TRUE(status.ok()) << status;
    return folder.Open(config);
  };
  const auto plain = open("", "", "");
  const auto defaults =
      open("column: '' table: '' field: '' ", "weights_column: '' max_length: 0",
           "sample_space: '' sample_weight: '' inside_weight: 1 outside_weight: 0");
  ASSERT_TRUE(plain.ok()) << plain.status();
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  const DataSchema& schema = (*defaults)->schema();
  ASSERT_EQ(schema.tables.size(), 1u);
  EXPECT_EQ(schema.tables[0].SerializeAsString(), (*plain)->schema().tables[0].SerializeAsString());
  EXPECT_EQ(schema.input.width, (*plain)->schema().input.width);
  EXPECT_FALSE(schema.input.embeddings[1].is_weighted);
  const Batch batch = FillAll(**defaults, TRAIN), expected = FillAll(**plain, TRAIN);
  for (int f = 0; f < 2; ++f) EXPECT_EQ(batch.ids[f].ids, expected.ids[f].ids);
  EXPECT_EQ(batch.ids[1].offsets, (std::vector<uint32_t>{0, 3, 3}));
  EXPECT_EQ(batch.weights, expected.weights);
}

TEST(FeaturesTest, WrongOnesAreNamed) {
  const struct {
    std::string feature;
    const char* message;
  } cases[] = {
      {"name: 'user' pooling: MEAN", "pooling: is for kind: ID_LIST, not for ID"},
      {"name: 'tags' kind: SEQUENCE", "max_length"},
      {"name: 'tags' kind: ID_LIST max_length: 3", "max_length"},
      {"name: 'tags' kind: SEQUENCE max_length: 0", "max_length"},
      {"name: 'tags' kind: ID_LIST weighted: true weights_column: 'w'", "one place only"},
      {"name: 'tags' kind: ID_LIST weighted: true pooling: MAX", "pooling: MAX takes no weights"},
      {"name: 'tags' kind: ID_LIST weights_column: 'v'", "no column \"v\""},
      {"name: 'tags' kind: ID_LIST weights_column: 'click'", "is the label of task"},
      {"name: 'age' kind: DENSE field: 'f'", "field"},
      {"name: 'tags' kind: ID_LIST pooling: MAX field: 'f'", "field"},
      {"name: 'x' cross { feature: 'user' }", "two features at least"},
      {"name: 'x' cross { feature: 'user' feature: 'itm' }", "no ID or BUCKET feature \"itm\""},
      {"name: 'x' cross { feature: 'user' feature: 'x' }", "no ID or BUCKET feature \"x\""},
      {"name: 'x' kind: ID_LIST cross { feature: 'user' feature: 'user' }",
       "cross: is for kind: ID, not for ID_LIST"},
      {"name: 'x' column: 'item' cross { feature: 'user' feature: 'user' }",
       "neither column nor vocabulary"},
      {"name: 'x' import { path: 'p' } cross { feature: 'user' feature: 'user' }", "imports none"},
      {"name: 'age' kind: DENSE import { path: 'p' }",
       "import: is for kind: ID, ID_LIST and SEQUENCE, not for DENSE"},
      {"name: 'age' kind: BUCKET import { path: 'p' }", "import: is for kind: ID, ID_LIST"},
      {"name: 'age' kind: DENSE frozen: true", "frozen: is for kind: ID, ID_LIST, BUCKET and"},
  };
  for (const auto& c : cases) {
    const Config config = BaseConfig(
        absl::StrCat(kClick, "feature { ", c.feature, " }",
                     c.feature.find("'user' pooling") == 6 ? "" : "feature { name: 'user' }"));
    const absl::Status status = CheckDataset(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.feature;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.feature;
  }
  const Config config = BaseConfig(absl::StrCat(
      kClick,
      "feature { name: 'user' dim: 4 field: 'u' } feature { name: 'item' dim: 2 field: 'u' }"));
  EXPECT_THAT(std::string(MakeDataSchema(config).status().message()),
              HasSubstr("field \"u\": feature \"item\" has dim 2, \"user\" has 4"));
}

// ---- tasks

TEST(TasksTest, WeightsLabelsAndSpacesAreExpressions) {
  DataFolder folder;
  const std::string rows = "1,2,,,30,1,100\n1,2,,,40,0,0\n1,2,,,50,1,\n";
  folder.Write("a.csv", rows);
  Config config = BaseConfig(R"pb(
    feature { name: "user" }
    task {
      name: "click"
      label: "click"
      sample_weight: "if(click, log1p(max(ysl, 1)), 1)"
      sample_space: "ysl >= 0"
    }
    task {
      name: "ysl"
      label: "min(ysl, 60)"
      loss: MSE
      sample_space: "click and ysl > 0"
      inside_weight: 2
      outside_weight: 0.5
      sample_weight: "age / 10"
    }
    task { name: "old" label: "age > 45" outside_weight: 0.25 sample_space: "age > 35" }
  )pb");
  // A label is needed where it weighs something: the third row's ysl.
  const absl::Status missing = folder.Open(config).status();
  EXPECT_THAT(std::string(missing.message()), HasSubstr("a.csv:3:7: ysl: the"));
  folder.Write("a.csv", rows.substr(0, rows.size() - 1) + "-7\n");
  for (const Split split : {TRAIN, VALID}) {
    config.mutable_dataset()->mutable_source(0)->set_split(split);
    const auto dataset = folder.Open(config);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    const Batch batch = FillAll(**dataset, split);
    EXPECT_EQ(batch.labels, (std::vector<float>{1, 0, 1, 60, 0, -7, 0, 0, 1}));
    const std::vector<float> weights = {std::log1p(100.0f), 1, 0, 6, 2, 2.5, 0.25, 1, 1};
    // Metrics see the sample space, losses the weights.
    const std::vector<float> members = {1, 1, 0, 1, 0, 0, 0, 1, 1};
    EXPECT_EQ(batch.weights, split == TRAIN ? weights : members);
    if (split == TRAIN) {
      EXPECT_EQ((*dataset)->positives(), (std::vector<int64_t>{1, 0, 1}));
      EXPECT_EQ((*dataset)->negatives(), (std::vector<int64_t>{1, 0, 1}));
    }
  }
}

TEST(TasksTest, DomainsOfLabels) {
  const struct {
    const char *task, *good, *bad, *message;
  } cases[] = {
      {"loss: BCE", "1", "2", "\"2\" is not 0 or 1"},
      {"loss: POISSON", "3", "-1", "\"-1\" is not 0 or more"},
      {"loss: LOG_NORMAL", "0.5", "0", "\"0\" is not above 0"},
      {"loss: SOFTMAX classes: 3", "2", "3", "the number of a class"},
      {"loss: SOFTMAX classes: 3", "0", "0.5", "the number of a class"},
      {"loss: MSE label_transform: LOG1P", "0", "-1", "\"-1\" is not above -1"},
      {"loss: MSE", "-1", "x", "\"x\" is not a finite number"},
      {"loss: MSE", "-1", "1e39", "does not fit a 32-bit float"},
  };
  for (const auto& c : cases) {
    DataFolder folder;
    const Config config = BaseConfig(
        absl::StrCat("feature { name: 'user' } task { name: 't' label: 'ysl' ", c.task, " }"));
    folder.Write("a.csv", absl::StrCat("1,2,,,30,1,", c.good, "\n"));
    EXPECT_TRUE(folder.Open(config).ok()) << c.task << folder.Open(config).status();
    folder.Write("a.csv", absl::StrCat("1,2,,,30,1,", c.bad, "\n"));
    EXPECT_THAT(std::string(folder.Open(config).status().message()),
                HasSubstr(absl::StrCat("a.csv:1:7: ysl: ")))
        << c.task;
    EXPECT_THAT(std::string(folder.Open(config).status().message()), HasSubstr(c.message));
    // Of a row that weighs nothing, no label is asked.
    Config outside = config;
    outside.mutable_dataset()->mutable_task(0)->set_sample_space("click == 0");
    if (std::string(c.bad) != "x") {
      EXPECT_TRUE(folder.Open(outside).ok()) << c.task;
    }
  }
}

std::string ManyRows(int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) {
    absl::StrAppend(&text, i, ",2,,,", i % 90, ",", i % 5 == 0 ? 1 : 0, ",", i % 3 == 0 ? 1 : 0,
                    "\n");
  }
  return text;
}

TEST(NegativeSamplingTest, KeepsPositivesAndAShareOfNegatives) {
  DataFolder folder;
  folder.Write("a.csv", ManyRows(10000));
  const std::string features = "feature { name: 'user' table: 'u' }";
  const auto all = folder.Open(BaseConfig(features + kClick));
  const auto dataset = folder.Open(
      BaseConfig(features + "task { name: 'click' label: 'click' negative_sampling: 0.25 }"));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*all)->negatives(), std::vector<int64_t>{8000});
  EXPECT_EQ((*dataset)->positives(), std::vector<int64_t>{2000});
  const double kept = (*dataset)->negatives()[0];
  EXPECT_NEAR(kept / 8000, 0.25, 0.02);
  EXPECT_EQ((*dataset)->rows(TRAIN), 2000 + kept) << "rows that weigh nothing are not read";
  // Validation is left as it is.
  Config valid =
      BaseConfig(features + "task { name: 'click' label: 'click' negative_sampling: 0.25 }");
  valid.mutable_dataset()->mutable_source(0)->set_split(VALID);
  EXPECT_EQ((*folder.Open(valid))->rows(VALID), 10000);
}

TEST(NegativeSamplingTest, IsOfOneTaskAndNested) {
  DataFolder folder;
  folder.Write("a.csv", ManyRows(10000));
  const auto dataset =
      folder.Open(BaseConfig("feature { name: 'user' table: 'u' }"
                             "task { name: 'click' label: 'click' negative_sampling: 0.2 }"
                             "task { name: 'ysl' label: 'ysl' negative_sampling: 0.6 }"));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  int click_only = 0, both_lost = 0;
  for (int b = 0; b < batch.rows; ++b) {
    const float click = batch.weights[b], ysl = batch.weights[batch.rows + b];
    if (batch.labels[b] == 1) {
      EXPECT_EQ(click, 1);
    }
    if (batch.labels[batch.rows + b] == 1) {
      EXPECT_EQ(ysl, 1);
    }
    const bool both_negative = batch.labels[b] == 0 && batch.labels[batch.rows + b] == 0;
    click_only += both_negative && click > 0 && ysl == 0;
    both_lost += click == 0 && ysl == 0;
  }
  EXPECT_EQ(click_only, 0) << "what the lower share keeps, the higher keeps too";
  EXPECT_EQ(both_lost, 0) << "such rows are not read";
}

// A row that weighs nothing may be gone or not: what decides it must be of one task alone.
TEST(NegativeSamplingTest, WhenTasksAlternateNoRowGoes) {
  DataFolder folder;
  folder.Write("a.csv", ManyRows(10000));
  const std::string both =
      "feature { name: 'user' table: 'u' } task { name: 'click' label: 'click' "
      "negative_sampling: 0.2 } task { name: 'ysl' label: 'ysl' negative_sampling: 0.6 }";
  Config config = BaseConfig(both);
  const auto joint = folder.Open(config);
  ASSERT_TRUE(joint.ok()) << joint.status();
  config.mutable_train()->set_method(TrainConfig::ALTERNATING);
  for (int again = 0; again < 2; ++again) {  // Neither takes the records of the other.
    const auto dataset = folder.Open(config);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    EXPECT_EQ((*dataset)->rows(TRAIN), 10000);
    EXPECT_EQ((*dataset)->positives(), (*joint)->positives());
    EXPECT_EQ((*dataset)->negatives(), (*joint)->negatives());
    EXPECT_LT((*folder.Open(BaseConfig(both)))->rows(TRAIN), 9000);
  }
  const Batch batch = FillAll(**folder.Open(config), TRAIN);
  config.mutable_dataset()->mutable_task()->DeleteSubrange(1, 1);
  const Batch alone = FillAll(**folder.Open(config), TRAIN);
  EXPECT_EQ(alone.ids[0].ids, batch.ids[0].ids);
  EXPECT_EQ(alone.weights,
            std::vector<float>(batch.weights.begin(), batch.weights.begin() + batch.rows));
}

TEST(SourceTaskTest, RowsOfNoTaskCountForNumbersAndStatistics) {
  DataFolder folder;
  folder.Write("times.csv", "user,age,ysl\n1,10,5\n2,20,7\n");
  folder.Write("clicks.csv", "user,age,click\n3,90,1\n");
  const std::string text = R"(
    dataset {
      csv { header: true }
      source { path: "times.csv" split: TRAIN %s }
      source { path: "clicks.csv" split: TRAIN task: "click" }
      feature { name: "user" table: "u" }
      feature { name: "age" kind: DENSE transform: Z_SCORE }
      task { name: "click" label: "click" })";
  const auto open = [&](const std::string& of, const std::string& more) {
    std::string filled = text + more + " }";
    return folder.Open(ConfigFromText(filled.replace(filled.find("%s"), 2, of)));
  };
  const auto both = open("task: 'time'", "task { name: 'time' label: 'ysl' loss: MSE }");
  ASSERT_TRUE(both.ok()) << both.status();
  const auto alone = open("of_no_task: true", "");
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ((*alone)->statistics().SerializeAsString(), (*both)->statistics().SerializeAsString());
  const Batch batch = FillAll(**alone, TRAIN);
  EXPECT_EQ(batch.dense, FillAll(**both, TRAIN).dense);
  EXPECT_EQ(batch.weights, (std::vector<float>{0, 0, 1}));
  EXPECT_THAT(std::string(CheckDataset(ConfigFromText(R"pb(
                            dataset {
                              source { path: "a" task: "click" of_no_task: true }
                              column: "user"
                              column: "click"
                              feature { name: "user" }
                              task { name: "click" label: "click" }
                            })pb"))
                              .message()),
              HasSubstr("dataset.source.of_no_task"));
}

TEST(SourceTaskTest, SourcesOfNoTaskMayHaveColumnsOfTheirOwn) {
  DataFolder folder;
  folder.Write("times.csv", "user,ysl\n1,5\n2,7\n");
  folder.Write("shares.csv", "share,user\n1,4\n");
  folder.Write("clicks.csv", "user,click\n3,1\n");
  const auto dataset = folder.Open(ConfigFromText(R"pb(
    dataset {
      csv { header: true }
      source { path: "times.csv" split: TRAIN of_no_task: true }
      source { path: "shares.csv" split: TRAIN of_no_task: true }
      source { path: "clicks.csv" split: TRAIN task: "click" }
      feature { name: "user" table: "u" }
      task { name: "click" label: "click" }
    })pb"));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(FillAll(**dataset, TRAIN).ids[0].ids, (std::vector<uint64_t>{1, 2, 4, 3}));
}

TEST(SourceTaskTest, RowsAreOfTheTasksThatTheirSourceNames) {
  DataFolder folder;
  folder.Write("clicks.csv", "user,click\n1,1\n2,0\n");
  folder.Write("times.csv", "user,ysl\n3,5\n4,\n");
  const std::string text = R"(
    dataset {
      csv { header: true }
      source { path: "clicks.csv" split: TRAIN task: "click" }
      source { path: "times.csv" split: TRAIN task: "time" %s }
      feature { name: "user" table: "u" }
      task { name: "click" label: "click" }
      task { name: "time" label: "ysl" loss: MSE }
    })";
  const auto config = [&](const std::string& more) {
    std::string filled = text;
    filled.replace(filled.find("%s"), 2, more);
    return ConfigFromText(filled);
  };
  EXPECT_THAT(std::string(folder.Open(config("")).status().message()),
              HasSubstr("times.csv:3:2: ysl: the label is missing"));
  const auto dataset = folder.Open(config("end_row: 1"));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.ids[0].ids, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(batch.labels, (std::vector<float>{1, 0, 0, 0, 0, 5}));
  EXPECT_EQ(batch.weights, (std::vector<float>{1, 1, 0, 0, 0, 1}));
  Config both = config("");
  both.mutable_dataset()->mutable_source(1)->add_task("click");
  EXPECT_THAT(std::string(folder.Open(both).status().message()), HasSubstr("no column \"click\""));
}

}  // namespace
}  // namespace pagoda
