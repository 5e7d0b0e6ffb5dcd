// Input that is not what it claims to be: which rows are refused, where and why.
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

// Columns id, x, y, w; ids in a table of their own; y a BCE label.
Config SmallConfig() {
  return ConfigFromText(R"pb(
    dataset {
      name: "small"
      csv { missing: "?" }
      column: "id"
      column: "x"
      column: "y"
      column: "w"
      source { path: "a.csv" split: TRAIN }
      feature { name: "id" table: "id" }
      feature { name: "x" kind: DENSE }
      task { name: "t" label: "y" sample_weight: "w" }
    })pb");
}

struct Case {
  const char* name;
  std::string text;     // The second row is the bad one, unless it says otherwise.
  const char* message;  // Of FAIL.
};

void PrintTo(const Case& row, std::ostream* out) { *out << row.name; }

class HostileRowTest : public testing::TestWithParam<Case> {};

TEST_P(HostileRowTest, FailsWithPlaceAndReason) {
  DataFolder folder;
  folder.Write("a.csv", GetParam().text);
  const absl::Status status = folder.Open(SmallConfig()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
  EXPECT_THAT(std::string(status.message()), HasSubstr("bad_rows: SKIP"));
}

TEST_P(HostileRowTest, IsSkippedAloneIntoTheQuarantine) {
  DataFolder folder;
  folder.Write("a.csv", GetParam().text);
  Config config = SmallConfig();
  config.mutable_dataset()->set_bad_rows(SKIP);
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->bad_rows(), 1);
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.ids[0].ids, (std::vector<uint64_t>{1, 3}));
  EXPECT_THAT(*ReadFile(folder.options().quarantine_path), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, HostileRowTest,
    testing::Values(
        Case{"TooFewFields", "1,1,1,1\n2,1,1\n3,1,1,1\n", "a.csv:2:1: 3 fields, not 4"},
        Case{"TooManyFields", "1,1,1,1\n2,1,1,1,1\n3,1,1,1\n", "a.csv:2:1: 5 fields, not 4"},
        Case{"CrLf", "1,1,1,1\r\n2,1,1\r\n3,1,1,1\r\n", "a.csv:2:1: 3 fields, not 4"},
        Case{"Nul", std::string("1,1,1,1\n2,1\0,1,1\n3,1,1,1\n", 25),
             "a.csv:2:2: x: byte 4 of the row is NUL"},
        Case{"BadUtf8", "1,1,1,1\n2,1,\xC3(,1\n3,1,1,1\n",
             "a.csv:2:3: y: byte 5 of the row is not UTF-8"},
        Case{"OverlongUtf8", "1,1,1,1\n\xC0\xAF,1,1,1\n3,1,1,1\n", "a.csv:2:1: id: byte 1"},
        Case{"CutUtf8AtTheEnd", "1,1,1,1\n3,1,1,1\n2,1,1,\xE2\x82", "a.csv:3:4: w: byte 7"},
        Case{"HugeLine", "1,1,1,1\n2," + std::string(5 << 20, '7') + ",1,1\n3,1,1,1\n",
             "a.csv:2:1: a line of more than 4194304 bytes"},
        Case{"HugeLastLine", "1,1,1,1\n3,1,1,1\n2," + std::string(5 << 20, '7'),
             "a.csv:3:1: a line of more than 4194304 bytes"},
        Case{"QuoteNeverCloses", "1,1,1,1\n2,\"1,1,1\n3,1,1,1\n",
             "a.csv:2:1: a quote that opens here never closes"},
        Case{"TextAfterQuote", "1,1,1,1\n2,\"1\"7,1,1\n3,1,1,1\n",
             "a.csv:2:2: x: text after a closing quote"},
        Case{"NotANumber", "1,1,1,1\n2,abc,1,1\n3,1,1,1\n",
             "a.csv:2:2: x: \"abc\" is not a finite number"},
        Case{"NaN", "1,1,1,1\n2,nan,1,1\n3,1,1,1\n",
             "a.csv:2:2: x: \"nan\" is not a finite number"},
        Case{"Infinite", "1,1,1,1\n2,-inf,1,1\n3,1,1,1\n",
             "a.csv:2:2: x: \"-inf\" is not a finite"},
        Case{"TooLargeForAFloat", "1,1,1,1\n2,1e39,1,1\n3,1,1,1\n", "does not fit a 32-bit float"},
        Case{"LabelNotZeroOrOne", "1,1,1,1\n2,1,2,1\n3,1,1,1\n",
             "a.csv:2:3: y: \"2\" is not 0 or 1"},
        Case{"LabelMissing", "1,1,1,1\n2,1,?,1\n3,1,1,1\n", "a.csv:2:3: y: the label is missing"},
        Case{"NegativeWeight", "1,1,1,1\n2,1,1,-1\n3,1,1,1\n",
             "a.csv:2:4: w: \"-1\" is a negative sample weight"},
        Case{"InfiniteWeight", "1,1,1,1\n2,1,1,inf\n3,1,1,1\n",
             "a.csv:2:4: w: \"inf\" is not a finite"},
        Case{"IdKeptForMissing", "1,1,1,1\n18446744073709551615,1,1,1\n3,1,1,1\n",
             "a.csv:2:1: id: \"18446744073709551615\" is the id kept for missing values"}),
    [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

// Rows that look odd and are fine: the ids and numbers read.
TEST(OddRowsTest, AreReadAsRfc4180Says) {
  DataFolder folder;
  folder.Write("a.csv",
               "\xEF\xBB\xBF"
               "1, 0.5 ,1,1\r\n"
               "\n"
               "\"2\",\"1\",0 , \"1\" \n"
               "\"a \"\"b\"\"\n,c\",?,1,1\n"
               "x\"y,,1,1");
  Config config = SmallConfig();
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const Batch batch = FillAll(**dataset, TRAIN);
  EXPECT_EQ(batch.ids[0].ids,
            (std::vector<uint64_t>{1, 2, HashBytes("a \"b\"\n,c"), HashBytes("x\"y")}));
  EXPECT_EQ(batch.dense, (std::vector<float>{0.5, 1, 0, 0}));
  EXPECT_EQ(batch.labels, (std::vector<float>{1, 0, 1, 1}));
}

TEST(OddRowsTest, LinesAreCountedThroughQuotes) {
  DataFolder folder;
  folder.Write("a.csv", "\"1\n\n\",1,1,1\n2,1,1\n");
  EXPECT_THAT(std::string(folder.Open(SmallConfig()).status().message()),
              HasSubstr("a.csv:4:1: 3 f"));
}

TEST(BadRowsTest, SkipGivesUpAtTheCap) {
  DataFolder folder;
  std::string text;
  for (int i = 0; i < 10; ++i) text += "broken\n";
  folder.Write("a.csv", text);
  Config config = SmallConfig();
  config.mutable_dataset()->set_bad_rows(SKIP);
  config.mutable_dataset()->set_bad_rows_cap(5);
  const absl::Status status = folder.Open(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a.csv:6:1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 5 bad rows"));
  config.mutable_dataset()->set_bad_rows_cap(10);
  EXPECT_TRUE(folder.Open(config).ok());
}

TEST(BadStreamTest, TruncatedGzipIsNeverSkipped) {
  DataFolder folder;
  folder.Write("plain.csv", "1,1,1,1\n2,1,1,1\n");
  const std::string base = folder.root() + "/";
  ASSERT_EQ(std::system(("gzip -c " + base + "plain.csv > " + base + "whole.csv.gz").c_str()), 0);
  const std::string whole = *ReadFile(base + "whole.csv.gz");
  folder.Write("a.csv.gz", whole.substr(0, whole.size() - 6));
  Config config = SmallConfig();
  config.mutable_dataset()->set_bad_rows(SKIP);
  config.mutable_dataset()->mutable_source(0)->set_path(0, "a.csv.gz");
  const absl::Status status = folder.Open(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("a.csv.gz"));
  config.mutable_dataset()->mutable_source(0)->set_path(0, "whole.csv.gz");
  EXPECT_TRUE(folder.Open(config).ok());
}

TEST(BadStreamTest, MissingFileAndFailingCommand) {
  DataFolder folder;
  Config config = SmallConfig();
  EXPECT_THAT(std::string(folder.Open(config).status().message()), HasSubstr("a.csv"));
  config.mutable_dataset()->mutable_source(0)->set_path(0, "echo 1,1,1,1; exit 3 |");
  EXPECT_THAT(std::string(folder.Open(config).status().message()), HasSubstr("3"));
  config.mutable_dataset()->mutable_source(0)->set_path(0, "echo 1,1,1,1 |");
  const auto dataset = folder.Open(config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 1);
  EXPECT_GT((*dataset)->sources()[0].bytes(), 0u);
}

TEST(HeaderTest, OfTwoColumnsOfOneNameIsRefused) {
  DataFolder folder;
  folder.Write("a.csv", "id,x,y,w,x\n1,1,1,1,1\n");
  Config config = SmallConfig();
  config.mutable_dataset()->clear_column();
  config.mutable_dataset()->mutable_csv()->set_header(true);
  const absl::Status status = folder.Open(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("a.csv:1: the header has two columns"));
}

TEST(EmptyFileTest, HasNoRows) {
  DataFolder folder;
  folder.Write("a.csv", "");
  const auto dataset = folder.Open(SmallConfig());
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->rows(TRAIN), 0);
  EXPECT_EQ((*dataset)->positives(), (std::vector<int64_t>{0}));
}

}  // namespace
}  // namespace pagoda
