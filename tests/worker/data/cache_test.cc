// The record cache: what is read again, and when.
#include <string>
#include <vector>

#include "common/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"
#include "worker/data/dataset.h"
#include "worker/data/ingest.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

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

// To open records is to map them: the stamp was taken when they were written, and none is read.
TEST(CacheTest, APipesStampIsTakenOnce) {
  DataFolder folder;
  folder.Write("rows", ShopRows(0, 4));
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_source(0)->set_path(0, "cat " + folder.root() + "/rows |");
  const std::string first = (*folder.Open(config))->sources()[0].SerializeAsString();
  const std::string cache = folder.options().cache_dir;
  const std::string records = cache + "/" + ListDirectory(cache)->at(0) + "/train.records";
  std::string bytes = *ReadFile(records);
  bytes[0] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(records, bytes).ok());
  EXPECT_EQ((*folder.Open(config))->sources()[0].SerializeAsString(), first);
}

TEST(CacheTest, ASummaryIsReadAsItWasWritten) {
  RecordSummary summary;
  summary.rows = {5, 6, 7};
  summary.bad_rows = 8;
  summary.positives = {1, 2};
  summary.negatives = {4, 4};
  summary.bytes = uint64_t{1} << 40;
  summary.checksum = ~uint64_t{0};
  const std::string text = summary.ToText();
  const auto read = RecordSummary::FromText(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->ToText(), text);
  EXPECT_EQ(read->checksum, summary.checksum);
  // One of version 2, one that was cut, one with a word for a number.
  for (const std::string& other :
       {"pagoda-records 2" + text.substr(text.find('\n')), text.substr(0, text.find("stamp")),
        text.substr(0, text.find("stamp")) + "stamp 1\n",
        text.substr(0, text.find("stamp")) + "stamp 1 x\n"}) {
    EXPECT_EQ(RecordSummary::FromText(other).status().code(), absl::StatusCode::kDataLoss) << other;
  }
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

}  // namespace
}  // namespace pagoda
