// Schema, splits, statistics and the record cache, on small files.
#include "worker/data/dataset.h"

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "common/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"
#include "worker/data/encoder.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

// Columns user, item, tags, price, time, y.
Config ShopConfig() {
  return ConfigFromText(R"pb(
    model { embedding_dim: 4 }
    dataset {
      name: "shop"
      csv { header: true }
      source { path: "*.csv" split: TRAIN }
      feature { name: "user" }
      feature { name: "item" dim: 8 }
      feature { name: "tags" kind: ID_LIST }
      feature { name: "price" kind: DENSE transform: Z_SCORE }
      feature { name: "price_bucket" kind: BUCKET column: "price" buckets: 4 }
      task { name: "buy" label: "y" }
    })pb");
}

std::string ShopRows(int first, int count) {
  std::string text = "user,item,tags,price,time,y\n";
  for (int i = first; i < first + count; ++i) {
    text += std::to_string(i) + ",item" + std::to_string(i % 3) + ",1|2|" + std::to_string(i) +
            "," + std::to_string(i) + "," + std::to_string(1000 - i) + "," + std::to_string(i % 2) +
            "\n";
  }
  return text;
}

TEST(SchemaTest, SharedTablesPerDimAndSlotsPerFeature) {
  const auto schema = MakeDataSchema(ShopConfig());
  ASSERT_TRUE(schema.ok()) << schema.status();
  ASSERT_EQ(schema->tables.size(), 2u);
  EXPECT_EQ(schema->tables[0].name(), "shared_4");
  EXPECT_EQ(schema->tables[0].feature_size(), 3);
  EXPECT_EQ(schema->tables[1].name(), "shared_8");
  const std::vector<EmbeddingFeature>& embeddings = schema->input.embeddings;
  ASSERT_EQ(embeddings.size(), 4u);
  std::vector<uint32_t> slots;
  std::vector<int> offsets;
  for (const EmbeddingFeature& embedding : embeddings) {
    slots.push_back(embedding.slot);
    offsets.push_back(embedding.input_offset);
  }
  EXPECT_EQ(slots, (std::vector<uint32_t>{1, 2, 3, 4}));
  EXPECT_EQ(offsets, (std::vector<int>{0, 4, 12, 16}));
  EXPECT_EQ(schema->input.dense[0].input_offset, 20);
  EXPECT_EQ(schema->input.width, 21);
  EXPECT_TRUE(embeddings[2].is_list);
}

TEST(SchemaTest, FeaturesThatNameOneTableShareItsIds) {
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_feature(0)->set_table("people");
  config.mutable_dataset()->mutable_feature(2)->set_table("people");
  const auto schema = MakeDataSchema(config);
  ASSERT_TRUE(schema.ok()) << schema.status();
  EXPECT_EQ(schema->input.embeddings[0].table, schema->input.embeddings[2].table);
  EXPECT_EQ(schema->input.embeddings[0].slot, 0u);
  EXPECT_EQ(schema->input.embeddings[2].slot, 0u);
}

TEST(SchemaTest, WrongConfigurationsAreNamed) {
  const struct {
    const char* override_text;
    const char* message;
  } cases[] = {
      {"dataset { format: 'cvs' }", "no format \"cvs\""},
      {"dataset { feature { name: 'user' } }", "dataset.feature \"user\" is there twice"},
      {"dataset { task { name: 'buy' label: 'y' } }", "dataset.task \"buy\" is there twice"},
      {"dataset { feature { name: 'leak' column: 'y' } }", "is the label of task \"buy\""},
      {"dataset { feature { name: 'a' table: 't' dim: 4 } feature { name: 'b' table: 't' dim: 2 } "
       "}",
       "table \"t\" has dim 4 by feature \"a\", not 2"},
      {"dataset { feature { name: 'a' table: 'shared_4' } }",
       "are kept for tables shared by default"},
      {"dataset { feature { name: 'a' dim: 0 } }", "dim = 0"},
      {"dataset { feature { name: 'a' kind: DENSE dim: 4 } }", "DENSE"},
      {"dataset { feature { name: 'a' transform: LOG1P } }",
       "transform: is for kind: DENSE, not for ID"},
      {"dataset { feature { name: 'a' buckets: 8 } }", "buckets: is for kind: BUCKET, not for ID"},
      {"dataset { libsvm { range { name: 'a' end: 5 } } }",
       "dataset.libsvm: is for format: libsvm, not for csv; leave it out"},
      {"dataset { slots {} }", "dataset.slots: is for format: slots"},
      {"dataset { planted { rows: 5 } }", "dataset.planted: is for format: planted"},
      {"dataset { format: 'json' }", "dataset.csv: is for format: csv, not for json"},
      {"dataset { csv { list_separator: ',' } }", "dataset.csv.list_separator"},
      {"dataset { bad_rows_cap: 5 }", "dataset.bad_rows_cap: is for bad_rows: SKIP, not for FAIL"},
      {"dataset { feature { name: 'a' kind: DENSE transform: LOG1P transform: LOG1P } }",
       "transform: LOG1P is given twice"},
      {"dataset { feature { name: 'a' vocabulary: 0 } }", "vocabulary"},
      {"dataset { feature { name: 'a' kind: BUCKET buckets: 1 } }", "buckets = 1"},
      {"dataset { task { name: 'a' label: 'y = 1' } }", "task \"a\": label: expression"},
      {"dataset { task { name: 'a' } }", "dataset.task[a].label"},
      {"dataset { funnel: 'bye' }", "dataset.funnel = \"bye\""},
      {"dataset { filter: 'x >' }", "dataset.filter"},
      {"dataset { split { by: TIME } }", "by = TIME: needs dataset.split.column"},
      {"dataset { split { column: 'user' } }", "column: is for by: COLUMN and TIME"},
      {"dataset { split { train: 0 valid: 0 test: 0 } }", "split.train = 0"},
      {"dataset { csv { delimiter: '::' } }", "dataset.csv.delimiter"},
      {"dataset { column: 'x' }", "dataset.column and dataset.csv.header"},
      {"dataset { source {} }", "a source without a path"},
      {"dataset { source { path: 'x' first_row: 5 end_row: 4 } }", "end_row = 4"},
  };
  for (const auto& c : cases) {
    Config config = ShopConfig();
    config.MergeFrom(ConfigFromText(c.override_text));
    const absl::Status status = CheckDataset(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.override_text << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.override_text;
  }
}

// However a label and a feature spell one column.
TEST(SchemaTest, AFeatureNeverReadsALabel) {
  const struct {
    const char* format;
    const char* label;
    const char* feature;
    bool leaks;
  } cases[] = {
      {"csv", "y == 'yes'", "name: 'y'", true},
      {"csv", "if(`y`, log1p(item), 0)", "name: 'a' column: 'y'", true},
      {"csv", "1 - y", "name: 'a' kind: DENSE column: 'y'", true},
      {"csv", "user", "name: 'a' kind: ID_LIST column: 'item' weights_column: 'user'", true},
      {"csv", "y", "name: 'y2'", false},
      {"json", "click[0]", "name: 'click' kind: ID_LIST", true},
      {"json", "click", "name: 'a' column: 'click[2]'", true},
      {"json", "`click[1]` + 0", "name: 'a' column: 'click[3]'", false},
      {"json", "`click[1]` + 0", "name: 'a' column: 'click[01]'", true},
      {"json", "if(`click[0]`, `click[3]`, 0)", "name: 'a' column: 'click[3]'", true},
      {"json", "click[x]", "name: 'a' column: 'click'", false},
      {"json", "click[1]", "name: 'clicks' kind: ID_LIST", false},
      {"tfrecord", "if(`click[0]`, 1, 0)", "name: 'click[0]'", true},
      {"slots", "click", "name: 'a' kind: DENSE column: 'click[0]'", true},
      // No list, but a name.
      {"csv", "`y[0]`", "name: 'y'", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.format, " ", c.label, " ", c.feature));
    Config config = ConfigFromText(absl::StrCat("dataset { format: '", c.format,
                                                "' source { path: 'x' } feature { ", c.feature,
                                                " } task { name: 'buy' } }"));
    config.mutable_dataset()->mutable_task(0)->set_label(c.label);
    if (std::string(c.format) == "csv") config.mutable_dataset()->mutable_csv()->set_header(true);
    const absl::Status status = MakeDataSchema(config).status();
    EXPECT_EQ(status.ok(), !c.leaks) << status;
    if (!c.leaks) continue;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("is the label of task \"buy\""));
  }
}

// "a-b" is a column for all that the configuration says, until the header names a and b.
TEST(SchemaTest, AHeaderShowsWhatALabelReads) {
  Config config = ConfigFromText(R"pb(
    dataset {
      csv { header: true }
      source { path: "a.csv" split: TRAIN }
      feature { name: "a" }
      task { name: "buy" label: "a-b" }
    })pb");
  EXPECT_TRUE(MakeDataSchema(config).ok());
  DataFolder folder;
  folder.Write("a.csv", "a,a-b\n5,1\n");
  EXPECT_TRUE(folder.Open(config).ok());
  folder.Write("a.csv", "a,b\n1,0\n");
  const absl::Status status = folder.Open(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("column \"a\" is the label of task"));
}

TEST(SchemaTest, UnknownColumnsAreUsageErrorsWithNearNames) {
  Config config = ConfigFromText(R"pb(
    dataset {
      column: "user"
      column: "y"
      source { path: "x" }
      feature { name: "uzer" }
      task { name: "t" label: "y" }
    })pb");
  absl::Status status = MakeDataSchema(config).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("no column \"uzer\""));
  EXPECT_THAT(std::string(status.message()), HasSubstr("user"));
  // Where only the file knows its columns, Open says so.
  DataFolder folder;
  folder.Write("a.csv", ShopRows(0, 3));
  config = ShopConfig();
  config.mutable_dataset()->mutable_feature(0)->set_column("uzer");
  status = folder.Open(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no column \"uzer\""));
}

TEST(DatasetTest, FillsWhatTheRowsSay) {
  DataFolder folder;
  folder.Write("a.csv", "user,item,tags,price,time,y\n7,abc,1|2,1,0,1\n,9,,2,0,0\n3,9,5,,0,0\n");
  const auto dataset = folder.Open(ShopConfig());
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  Batch batch;
  ASSERT_TRUE((*dataset)->Fill(TRAIN, {2, 0, 1, 0}, &batch).ok());
  EXPECT_EQ(batch.rows, 4);
  EXPECT_EQ(batch.record, (std::vector<int64_t>{2, 0, 1, 0}));
  EXPECT_EQ(batch.ids[0].ids, (std::vector<uint64_t>{SaltId(1, 3), SaltId(1, 7),
                                                     SaltId(1, MissingId(1)), SaltId(1, 7)}));
  EXPECT_EQ(batch.ids[1].ids[0], SaltId(2, 9));
  EXPECT_EQ(batch.ids[1].ids[1], SaltId(2, HashBytes("abc") & kSaltedIdMask));
  EXPECT_EQ(batch.ids[2].offsets, (std::vector<uint32_t>{0, 1, 3, 3, 5}));
  EXPECT_EQ(batch.ids[2].ids, (std::vector<uint64_t>{SaltId(3, 5), SaltId(3, 1), SaltId(3, 2),
                                                     SaltId(3, 1), SaltId(3, 2)}));
  EXPECT_EQ(batch.dense, (std::vector<float>{0, -1, 1, -1}));  // Mean 1.5, deviation 0.5.
  EXPECT_EQ(batch.labels, (std::vector<float>{0, 1, 0, 1}));
  // Boundaries of {1, 2} cut in four: 2 only; a missing value is a bucket of its own.
  EXPECT_EQ(batch.ids[3].ids,
            (std::vector<uint64_t>{SaltId(4, 2), SaltId(4, 0), SaltId(4, 1), SaltId(4, 0)}));
  ASSERT_TRUE((*dataset)->Fill(TRAIN, {}, &batch).ok());
  EXPECT_EQ(batch.rows, 0);
  EXPECT_EQ(batch.ids[2].offsets, (std::vector<uint32_t>{0}));
}

TEST(DatasetTest, LargeIdsWantATableOfTheirOwn) {
  DataFolder folder;
  folder.Write("a.csv", "user,item,tags,price,time,y\n281474976710656,1,1,1,1,1\n");
  Config config = ShopConfig();
  EXPECT_THAT(std::string(folder.Open(config).status().message()),
              HasSubstr("a.csv:2:1: user: \"281474976710656\" does not fit the 48 bits"));
  config.mutable_dataset()->mutable_feature(0)->set_table("user");
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(FillAll(**dataset, TRAIN).ids[0].ids[0], uint64_t{1} << 48);
}

TEST(DatasetTest, VocabularyIsChecked) {
  DataFolder folder;
  folder.Write("a.csv", ShopRows(0, 10));
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_feature(0)->set_vocabulary(10);
  EXPECT_TRUE(folder.Open(config).ok());
  config.mutable_dataset()->mutable_feature(0)->set_vocabulary(9);
  EXPECT_THAT(std::string(folder.Open(config).status().message()),
              HasSubstr("a.csv:11:1: user: \"9\" is not an integer in [0, 9)"));
  config.mutable_dataset()->mutable_feature(1)->set_vocabulary(9);
  EXPECT_THAT(std::string(folder.Open(config).status().message()),
              HasSubstr("\"item0\" is not an"));
}

TEST(DatasetTest, SampleSpacesFiltersAndWeights) {
  DataFolder folder;
  folder.Write("a.csv", "click,seconds,w\n1,10,2\n0,,3\n1,0,0\n5,1,1\n");
  const Config config = ConfigFromText(R"pb(
    dataset {
      csv { header: true }
      source { path: "a.csv" split: TRAIN }
      filter: "click in {0, 1}"
      feature { name: "w" }
      task { name: "stay" loss: MSE label: "seconds" sample_space: "click == 1" sample_weight: "w" }
      task { name: "long" label: "seconds > 5" sample_space: "click == 1" }
    })pb");
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.labels, (std::vector<float>{10, 0, 0, 1, 0, 0}));
  EXPECT_EQ(batch.weights, (std::vector<float>{2, 0, 0, 1, 0, 1}));
  EXPECT_EQ((*dataset)->positives()[1], 1);
}

TEST(SplitTest, ByRowRange) {
  DataFolder folder;
  folder.Write("a.csv", ShopRows(0, 10));
  folder.Write("b.csv", ShopRows(10, 10));
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_source(0)->set_end_row(12);  // Over both files of the glob.
  SourceConfig* rest = config.mutable_dataset()->add_source();
  rest->add_path("*.csv");
  rest->set_split(TEST);
  rest->set_first_row(15);
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 12);
  EXPECT_EQ((*dataset)->rows(VALID), 0);
  EXPECT_EQ((*dataset)->rows(TEST), 5);
  EXPECT_EQ(FillAll(**dataset, TEST).ids[0].ids[0], SaltId(1, 15));
}

// A command is run once for all of its neighbouring sources, even where their rows overlap.
TEST(SplitTest, SourcesOfOneFileShareOneReading) {
  DataFolder folder;
  folder.Write("rows", ShopRows(0, 10));
  Config config = ShopConfig();
  const std::string log = folder.root() + "/log";
  config.mutable_dataset()->clear_source();
  const struct {
    Split split;
    int first, end;
  } ranges[] = {{VALID, 0, 4}, {TEST, 4, 7}, {TRAIN, 2, 9}};
  for (const auto& range : ranges) {
    SourceConfig* source = config.mutable_dataset()->add_source();
    source->add_path("echo read >> " + log + "; cat " + folder.root() + "/rows |");
    source->set_split(range.split);
    source->set_first_row(range.first);
    source->set_end_row(range.end);
  }
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(*ReadFile(log), "read\n");
  EXPECT_EQ((*dataset)->sources().size(), 3u);
  for (const auto& range : ranges) {
    std::vector<uint64_t> users;
    for (int i = range.first; i < range.end; ++i) users.push_back(SaltId(1, i));
    EXPECT_EQ(FillAll(**dataset, range.split).ids[0].ids, users);
  }
}

// A pipe's output is not its command's to tell: only a run that goes on may take the records of the
// one before it.
TEST(CacheTest, APipeIsReadAgainWhenAskedTo) {
  DataFolder folder;
  folder.Write("rows", ShopRows(0, 4));
  Config config = ShopConfig();
  SourceConfig* source = config.mutable_dataset()->mutable_source(0);
  source->set_path(0, "cat " + folder.root() + "/rows |");
  DatasetOptions fresh = folder.options();
  fresh.reads_pipes_again = true;
  const auto first = Dataset::Open(config, fresh, nullptr);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->rows(TRAIN), 4);

  folder.Write("rows", ShopRows(10, 7));
  const auto kept = folder.Open(config);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ((*kept)->rows(TRAIN), 4);
  const auto anew = Dataset::Open(config, fresh, nullptr);
  ASSERT_TRUE(anew.ok()) << anew.status();
  EXPECT_EQ((*anew)->rows(TRAIN), 7);
  EXPECT_EQ(FillAll(**anew, TRAIN).ids[0].ids[0], SaltId(1, 10));
  // Who has the older records open keeps them.
  EXPECT_EQ(FillAll(**first, TRAIN).ids[0].ids[0], SaltId(1, 0));
}

// What a command gave is known by the records: a run that lost them learns whether it can go on.
TEST(CacheTest, APipesStampIsThatOfItsRecords) {
  DataFolder folder;
  Config config = ShopConfig();
  SourceConfig* source = config.mutable_dataset()->mutable_source(0);
  source->set_path(0, "cat " + folder.root() + "/rows |");
  const auto stamp_of = [&](const std::string& rows) {
    folder.Write("rows", rows);
    DatasetOptions again = folder.options();
    again.reads_pipes_again = true;
    const auto dataset = Dataset::Open(config, again, nullptr);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return (*dataset)->sources()[0].SerializeAsString();
  };
  const std::string first = stamp_of(ShopRows(0, 4));
  EXPECT_EQ((*folder.Open(config))->sources()[0].SerializeAsString(), first);
  EXPECT_NE(stamp_of(ShopRows(1, 4)), first);  // As many bytes.
  EXPECT_NE(stamp_of(ShopRows(0, 5)), first);
  EXPECT_EQ(stamp_of(ShopRows(0, 4)), first);
}

// The bar need not be the last byte.
TEST(CacheTest, APipeMayEndInBlanks) {
  DataFolder folder;
  folder.Write("rows", ShopRows(0, 4));
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_source(0)->set_path(0, "cat " + folder.root() + "/rows | ");
  EXPECT_TRUE(ReadsPipe(config.dataset()));
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 4);
}

// A cross reads no id of its own, so the records differ from those of an id feature of its name.
TEST(CacheTest, AnIdAndACrossOfOneNameHaveRecordsOfTheirOwn) {
  DataFolder folder;
  folder.Write("a.csv", "user,item,both,y\n1,2,3,1\n4,5,6,0\n");
  const std::string text = R"pb(
    model { embedding_dim: 4 }
    dataset {
      name: "shop"
      csv { header: true }
      source { path: "a.csv" split: TRAIN }
      feature { name: "user" }
      feature { name: "item" }
      feature { name: "both" }
      task { name: "buy" label: "y" }
    })pb";
  Config config = ConfigFromText(text);
  const auto ids = folder.Open(config);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(FillAll(**ids, TRAIN).ids[2].ids, (std::vector<uint64_t>{SaltId(3, 3), SaltId(3, 6)}));
  CrossConfig* cross = config.mutable_dataset()->mutable_feature(2)->mutable_cross();
  cross->add_feature("user");
  cross->add_feature("item");
  const auto crossed = folder.Open(config);
  ASSERT_TRUE(crossed.ok()) << crossed.status();
  const std::vector<uint64_t> both = FillAll(**crossed, TRAIN).ids[2].ids;
  // Other members make other ids of the same records.
  cross->set_feature(1, "user");
  const auto other = folder.Open(config);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(FillAll(**other, TRAIN).ids[2].ids, both);
  EXPECT_EQ(FillAll(**crossed, TRAIN).ids[0].ids, FillAll(**ids, TRAIN).ids[0].ids);
}

TEST(SplitTest, ByRowHashColumnAndTime) {
  DataFolder folder;
  folder.Write("a.csv", ShopRows(0, 900));
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_source(0)->clear_split();
  SplitConfig* split = config.mutable_dataset()->mutable_split();
  split->set_train(7);
  split->set_valid(1);
  split->set_test(2);
  for (const auto& [by, column] :
       {std::pair{SplitConfig::ROW_HASH, ""}, std::pair{SplitConfig::COLUMN, "user"},
        std::pair{SplitConfig::TIME, "time"}}) {
    split->set_by(by);
    split->clear_column();
    if (*column != '\0') split->set_column(column);
    const auto dataset = folder.Open(config);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    const int64_t train = (*dataset)->rows(TRAIN), test = (*dataset)->rows(TEST);
    EXPECT_EQ(train + (*dataset)->rows(VALID) + test, 900);
    // Five standard deviations of a binomial count are below 70.
    EXPECT_NEAR(train, 630, by == SplitConfig::TIME ? 0 : 70);
    EXPECT_NEAR(test, 180, by == SplitConfig::TIME ? 0 : 60);
    if (by == SplitConfig::TIME) {
      // The time falls with the user's number: the last users are the oldest rows, still in file
      // order.
      EXPECT_EQ(FillAll(**dataset, TRAIN).ids[0].ids[0], SaltId(1, 270));
      EXPECT_EQ(FillAll(**dataset, TEST).ids[0].ids[0], SaltId(1, 0));
      EXPECT_EQ(FillAll(**dataset, TEST).ids[2].ids[5], SaltId(3, 1));
    }
  }
  // All rows with one value land in one split.
  split->set_by(SplitConfig::COLUMN);
  split->set_column("item");
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  std::set<uint64_t> seen;
  size_t distinct = 0;
  for (const Split part : {TRAIN, VALID, TEST}) {
    const Batch batch = FillAll(**dataset, part);
    const std::set<uint64_t> items(batch.ids[1].ids.begin(), batch.ids[1].ids.end());
    distinct += items.size();
    seen.insert(items.begin(), items.end());
  }
  EXPECT_EQ(distinct, seen.size());
}

TEST(StatisticsTest, OfTrainingRowsOnlyOrAsGiven) {
  DataFolder folder;
  folder.Write("a.csv", ShopRows(0, 8));
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_source(0)->set_path(0, "a.csv");
  const auto alone = folder.Open(config);
  ASSERT_TRUE(alone.ok()) << alone.status();
  folder.Write("b.csv", ShopRows(1000, 8));
  SourceConfig* test = config.mutable_dataset()->add_source();
  test->add_path("b.csv");
  test->set_split(TEST);
  const auto both = folder.Open(config);
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ((*both)->statistics().SerializeAsString(), (*alone)->statistics().SerializeAsString());
  const FeatureStatistics& price = (*both)->statistics().feature(0);
  EXPECT_DOUBLE_EQ(price.mean(), 3.5);
  EXPECT_DOUBLE_EQ(price.standard_deviation(), std::sqrt(5.25));
  const FeatureStatistics& bucket = (*both)->statistics().feature(1);
  EXPECT_EQ(std::vector<double>(bucket.boundary().begin(), bucket.boundary().end()),
            (std::vector<double>{2, 4, 6}));
  Statistics given = (*both)->statistics();
  given.mutable_feature(0)->set_mean(0);
  given.mutable_feature(0)->set_standard_deviation(2);
  const auto used = folder.Open(config, &given);
  ASSERT_TRUE(used.ok()) << used.status();
  EXPECT_EQ(FillAll(**used, TRAIN).dense[3], 1.5f);
  given.mutable_feature(0)->set_name("other");
  EXPECT_EQ(folder.Open(config, &given).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CacheTest, IsReusedAndReadAgainWhenASourceOrItsReadingChanges) {
  DataFolder folder;
  folder.Write("a.csv", ShopRows(0, 10));
  Config config = ShopConfig();
  const auto folders = [&] { return ListDirectory(folder.options().cache_dir)->size(); };
  ASSERT_TRUE(folder.Open(config).ok());
  EXPECT_EQ(folders(), 1u);
  // Statistics, dims and weights are not in the records.
  config.mutable_dataset()->mutable_feature(3)->clear_transform();
  config.mutable_dataset()->mutable_feature(4)->set_buckets(3);
  config.mutable_model()->set_embedding_dim(16);
  config.mutable_dataset()->mutable_task(0)->set_weight(2);
  ASSERT_TRUE(folder.Open(config).ok());
  EXPECT_EQ(folders(), 1u);
  config.mutable_dataset()->mutable_task(0)->set_label("y == 0");
  ASSERT_TRUE(folder.Open(config).ok());
  EXPECT_EQ(folders(), 2u);
  // Same size, other bytes.
  std::string text = ShopRows(0, 10);
  text.replace(text.find("item0"), 5, "item7");
  folder.Write("a.csv", text);
  const auto changed = folder.Open(config);
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(folders(), 3u);
  EXPECT_EQ(FillAll(**changed, TRAIN).ids[1].ids[0], SaltId(2, HashBytes("item7") & kSaltedIdMask));
  EXPECT_EQ((*changed)->sources()[0].path(), "a.csv");
}

TEST(CacheTest, ACutRecordFileIsAnErrorThatNamesIt) {
  DataFolder folder;
  folder.Write("a.csv", ShopRows(0, 10));
  ASSERT_TRUE(folder.Open(ShopConfig()).ok());
  const std::string cache = folder.options().cache_dir;
  const std::string records = cache + "/" + ListDirectory(cache)->at(0) + "/train.records";
  const std::string bytes = *ReadFile(records);
  ASSERT_TRUE(WriteFileAtomically(records, bytes.substr(0, bytes.size() - 1)).ok());
  const absl::Status status = folder.Open(ShopConfig()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("train.records"));
}

TEST(PlantedTest, IsLearnableAndTheSameEachTime) {
  const std::string path = std::string(PAGODA_SOURCE_DIR) + "/configs/datasets/planted.textproto";
  Config config = ConfigFromText(*ReadFile(path));
  config.mutable_dataset()->mutable_planted()->set_rows(5000);
  config.mutable_dataset()->mutable_planted()->set_ids(50);
  DataFolder folder;
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN) + (*dataset)->rows(VALID) + (*dataset)->rows(TEST), 5000);
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.ids.size(), 16u);
  EXPECT_EQ(batch.dense.size(), size_t(8 * batch.rows));
  // The most frequent id of a column shifts the label's rate: by more than chance in some column.
  double largest = 0;
  const double rate = double((*dataset)->positives()[0]) / batch.rows;
  EXPECT_GT(rate, 0.2);
  EXPECT_LT(rate, 0.5);
  for (const Batch::IdColumn& column : batch.ids) {
    int rows = 0, positives = 0;
    for (int b = 0; b < batch.rows; ++b) {
      EXPECT_LT(ValueOfSalted(column.ids[b]), 50u);
      if (ValueOfSalted(column.ids[b]) != 0) continue;
      ++rows;
      positives += batch.labels[b] == 1;
    }
    EXPECT_GT(rows, batch.rows / 10);  // Zipf: the first id is far above 1 / 50.
    largest = std::max(largest, std::fabs(double(positives) / rows - rate));
  }
  EXPECT_GT(largest, 0.05);
}

}  // namespace
}  // namespace pagoda
