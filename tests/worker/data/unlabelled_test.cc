// Rows to be predicted, which have no labels yet.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"
#include "worker/data/columns.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

// Columns user, item, time (which splits), click, paid, w. Half of the negatives are left out.
Config ClickConfig() {
  return ConfigFromText(R"pb(
    model { embedding_dim: 4 }
    dataset {
      name: "clicks"
      csv { header: true }
      source { path: "a.csv" split: TRAIN }
      split { by: TIME column: "time" }
      feature { name: "user" }
      feature { name: "item" table: "item" }
      task { name: "click" label: "click == 1" sample_weight: "w" negative_sampling: 0.5 }
      task { name: "buy" label: "paid" loss: LOG_NORMAL sample_space: "click == 1" }
    })pb");
}

Config WithoutLabels(Config config) {
  LeaveLabelsOut(config.mutable_dataset());
  return config;
}

TEST(UnlabelledTest, ColumnsThatOnlyLabelsReadNeedNotBeThere) {
  DataFolder folder;
  folder.Write("a.csv", "user,item\n1,x\n2,y\n");
  const absl::Status labelled = folder.Open(ClickConfig()).status();
  EXPECT_EQ(labelled.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(labelled.message()), HasSubstr("no column \"click\""));
  const auto dataset = folder.Open(WithoutLabels(ClickConfig()));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.rows, 2);
  EXPECT_EQ(batch.ids[0].ids, (std::vector<uint64_t>{SaltId(1, 1), SaltId(1, 2)}));
  EXPECT_EQ(batch.weights, (std::vector<float>(4, 0.0f)));
  EXPECT_EQ(batch.labels, (std::vector<float>{0, 0, 1, 1}));  // Of a logarithm: above 0.
}

// Neither of the two takes the other's records, and the labels of one may be what no label is.
TEST(UnlabelledTest, RecordsAreNotThoseWithLabels) {
  DataFolder folder;
  std::string text = "user,item,time,click,paid,w\n";
  for (int i = 0; i < 100; ++i) text += std::to_string(i) + ",x,1,0,,2\n";
  folder.Write("a.csv", text);
  const auto labelled = folder.Open(ClickConfig());
  ASSERT_TRUE(labelled.ok()) << labelled.status();
  EXPECT_LT((*labelled)->rows(TRAIN), 80);
  const auto all = folder.Open(WithoutLabels(ClickConfig()));
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ((*all)->rows(TRAIN), 100);
  folder.Write("a.csv", "user,item,time,click,paid,w\n1,x,,?,-1,\n");
  const auto odd = folder.Open(WithoutLabels(ClickConfig()));
  ASSERT_TRUE(odd.ok()) << odd.status();
  EXPECT_EQ((*odd)->rows(TRAIN), 1);
  EXPECT_EQ(folder.Open(ClickConfig()).status().code(), absl::StatusCode::kDataLoss);
}

// Where the configuration names the columns, or rows name their values, too.
TEST(UnlabelledTest, HoldsOfEveryWayToNameColumns) {
  DataFolder folder;
  folder.Write("a.csv", "1,x\n");
  Config config = WithoutLabels(ClickConfig());
  config.mutable_dataset()->clear_csv();
  for (const char* name : {"user", "item"}) config.mutable_dataset()->add_column(name);
  auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 1);

  folder.Write("a.csv", R"({"user": 1, "item": "x"})"
                        "\n");
  config.mutable_dataset()->clear_column();
  config.mutable_dataset()->set_format("json");
  dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 1);
}

// A source that does not say its split needs what splits its rows.
TEST(UnlabelledTest, ASplitThatIsAskedForIsRead) {
  DataFolder folder;
  folder.Write("a.csv", "user,item\n1,x\n2,y\n");
  Config config = ClickConfig();
  config.mutable_dataset()->mutable_source(0)->clear_split();
  EXPECT_THAT(std::string(folder.Open(WithoutLabels(config)).status().message()),
              HasSubstr("no column \"time\""));
}

}  // namespace
}  // namespace pagoda
