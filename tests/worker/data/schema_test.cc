// What a configuration says of tables and columns, and what it must not say.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"
#include "worker/data/dataset.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

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
  config.mutable_dataset()->mutable_feature(0)->clear_column();
  config.mutable_dataset()->mutable_feature(4)->set_column("prize");
  status = folder.Open(config).status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("feature \"price_bucket\": no column \"prize\"; did you mean price?"));
  // A header that nothing cuts.
  config = ShopConfig();
  config.mutable_dataset()->mutable_csv()->set_delimiter("\t");
  status = folder.Open(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("\"user,item,tags,price,time,y\"; is dataset.csv.delimiter right?"));
}

TEST(SchemaTest, AFolderIsNoSource) {
  DataFolder folder;
  Config config = ShopConfig();
  config.mutable_dataset()->mutable_source(0)->set_path(0, folder.root());
  const absl::Status status = folder.Open(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr(folder.root() + " is a folder; name its files: " + folder.root() + "/*.csv"));
}

}  // namespace
}  // namespace pagoda
