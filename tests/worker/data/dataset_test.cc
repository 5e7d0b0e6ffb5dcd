// Rows, splits and statistics, on small files.
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
