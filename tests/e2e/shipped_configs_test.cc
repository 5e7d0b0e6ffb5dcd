// Every configuration under configs/ trains a few steps with the real worker. They are found by
// listing their folders, so that a newcomer is covered unasked.
//
// A model trains on the head of Census-Income, or of the bundled set that has the features which it
// names. A data set that needs no download trains on its own head; one of files that are not here
// on rows that the test makes up in its layout, and, where samples of the public files are at hand
// (PAGODA_DATA), on these.
#include <google/protobuf/text_format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

constexpr int kSteps = 3, kBatch = 64;
constexpr int64_t kRows = 2000;     // Of a source, at most.
constexpr int64_t kMadeRows = 400;  // Of a file that a test writes.

std::string FolderOf(const std::string& kind) {
  return absl::StrCat(PAGODA_SOURCE_DIR, "/configs/", kind);
}

// Of configs/KIND/NAME.textproto, sorted.
std::vector<std::string> NamesIn(const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(FolderOf(kind))) {
    if (entry.path().extension() == ".textproto") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Config ShippedConfig(const std::string& kind, const std::string& name) {
  const std::string path = absl::StrCat(FolderOf(kind), "/", name, ".textproto");
  absl::StatusOr<Config> config = ParseConfig(ReadText(path), path);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *std::move(config) : Config();
}

// ---- data sets whose rows are here

bool IsHere(const DatasetConfig& dataset) {
  if (dataset.format() == "planted") return true;
  for (const SourceConfig& source : dataset.source()) {
    for (const std::string& path : source.path()) {
      if (!std::filesystem::exists(FolderOf("datasets") + "/" + path)) return false;
    }
  }
  return dataset.source_size() > 0;
}

// Each source's first rows: the whole files are other tests' matter.
void KeepHead(DatasetConfig* dataset) {
  const bool is_planted = dataset->format() == "planted";
  const double share = is_planted ? std::min(1.0, 1.0 * kRows / dataset->planted().rows()) : 1.0;
  if (is_planted) dataset->mutable_planted()->set_rows(dataset->planted().rows() * share);
  for (SourceConfig& source : *dataset->mutable_source()) {
    for (std::string& path : *source.mutable_path()) path = FolderOf("datasets") + "/" + path;
    if (source.has_first_row()) source.set_first_row(source.first_row() * share);
    const int64_t most = source.first_row() + kRows;
    if (source.has_end_row()) source.set_end_row(std::min<int64_t>(source.end_row() * share, most));
    if (!source.has_end_row() && !is_planted) source.set_end_row(most);
  }
}

// ---- rows in the layout of a data set whose files are not here

// Row r's value of a column. Of a funnel's later tasks only rows that passed the earlier ones are
// positive.
std::string ValueOf(const DatasetConfig& dataset, const std::string& column, int64_t r) {
  std::vector<std::string> tasks(dataset.funnel().begin(), dataset.funnel().end());
  if (tasks.empty()) {
    for (const TaskConfig& task : dataset.task()) tasks.push_back(task.name());
  }
  for (const TaskConfig& task : dataset.task()) {
    if (task.label() != column) continue;
    const auto place = std::find(tasks.begin(), tasks.end(), task.name()) - tasks.begin();
    return r % (int64_t{2} << place) == 0 ? "1" : "0";
  }
  const int64_t salt = std::hash<std::string>()(column) % 7;
  return absl::StrCat((r * (salt + 3) + salt) % 11);
}

// The column that a feature reads; empty: a cross reads others' columns.
std::string ColumnOf(const FeatureConfig& feature) {
  if (feature.has_cross()) return "";
  return feature.has_column() ? feature.column() : feature.name();
}

// What the configuration reads, in the order of its files where they have no header.
std::vector<std::string> ColumnsOf(const DatasetConfig& dataset) {
  if (dataset.column_size() > 0) return {dataset.column().begin(), dataset.column().end()};
  std::vector<std::string> columns;
  const auto add = [&columns](const std::string& column) {
    const bool is_new = std::find(columns.begin(), columns.end(), column) == columns.end();
    if (!column.empty() && is_new) columns.push_back(column);
  };
  if (dataset.split().has_column()) add(dataset.split().column());
  for (const TaskConfig& task : dataset.task()) add(task.label());
  for (const FeatureConfig& feature : dataset.feature()) add(ColumnOf(feature));
  return columns;
}

// Every 10th value of a feature is missing.
std::string CsvRows(const DatasetConfig& dataset) {
  const std::vector<std::string> columns = ColumnsOf(dataset);
  std::set<std::string> features;
  for (const FeatureConfig& feature : dataset.feature()) features.insert(ColumnOf(feature));
  std::string rows;
  if (dataset.csv().header()) {
    rows = absl::StrJoin(columns, dataset.csv().delimiter()) + "\n";
  }
  for (int64_t r = 0; r < kMadeRows; ++r) {
    std::vector<std::string> values;
    for (const std::string& column : columns) {
      const bool is_missing = features.contains(column) && (r + values.size()) % 10 == 0;
      values.push_back(is_missing ? "" : ValueOf(dataset, column, r));
    }
    absl::StrAppend(&rows, absl::StrJoin(values, dataset.csv().delimiter()), "\n");
  }
  return rows;
}

// Each feature once, twice or not at all in a row.
std::string SlotRows(const DatasetConfig& dataset) {
  std::string rows;
  for (int64_t r = 0; r < kMadeRows; ++r) {
    std::vector<std::string> parts;
    for (const std::string& column : dataset.slots().leading()) {
      parts.push_back(ValueOf(dataset, column, r));
    }
    for (const FeatureConfig& feature : dataset.feature()) {
      const std::string column = ColumnOf(feature);
      for (size_t i = 0; i < (r + parts.size()) % 3; ++i) {
        parts.push_back(absl::StrCat(column, ":", ValueOf(dataset, column, r + i)));
      }
    }
    absl::StrAppend(&rows, absl::StrJoin(parts, dataset.slots().delimiter()), "\n");
  }
  return rows;
}

// One index of each range.
std::string LibsvmRows(const DatasetConfig& dataset) {
  std::string rows;
  for (int64_t r = 0; r < kMadeRows; ++r) {
    absl::StrAppend(&rows, ValueOf(dataset, "label", r));
    for (const LibsvmConfig::Range& range : dataset.libsvm().range()) {
      absl::StrAppend(&rows, " ", range.first() + r * 7 % (range.end() - range.first()), ":1");
    }
    absl::StrAppend(&rows, "\n");
  }
  return rows;
}

// Puts a file of made-up rows in the place of each source.
void MakeRows(DatasetConfig* dataset, const TemporaryDirectory& folder) {
  std::string rows;
  if (dataset->format() == "csv") rows = CsvRows(*dataset);
  if (dataset->format() == "slots") rows = SlotRows(*dataset);
  if (dataset->format() == "libsvm") rows = LibsvmRows(*dataset);
  ASSERT_NE(rows, "") << "no rows of format " << dataset->format()
                      << ": make some here as in SlotRows()";
  const std::string path = folder.File("rows.txt");
  WriteCarelessly(path, rows);
  for (SourceConfig& source : *dataset->mutable_source()) {
    source.clear_path();
    source.add_path(path);
    source.clear_first_row();
    source.clear_end_row();
  }
}

// ---- runs

void ExpectTrains(const std::string& model, const Config& dataset,
                  const TemporaryDirectory& folder) {
  std::string text;
  ASSERT_TRUE(google::protobuf::TextFormat::PrintToString(dataset, &text));
  WriteCarelessly(folder.File("dataset.textproto"), text);
  const std::string run_dir = folder.File("run");
  const Finished run = RunProcess(
      {Binary("worker"), "--model=" + model, "--dataset=" + folder.File("dataset.textproto"),
       "--run_dir=" + run_dir, absl::StrCat("--batch_size=", kBatch),
       absl::StrCat("--max_steps=", kSteps), "--log_every=1", "--threads=1"},
      /*limit_seconds=*/240);
  ASSERT_EQ(run.exit_code, 0) << run.output;
  EXPECT_EQ(Field(LastEvent(run_dir, "done"), "steps"), std::to_string(kSteps));
  const std::string step = LastEvent(run_dir, "step");
  for (const TaskConfig& task : dataset.dataset().task()) {
    double loss = 0;
    EXPECT_TRUE(absl::SimpleAtod(Field(step.substr(step.find("\"loss\"")), task.name()), &loss))
        << step;
    EXPECT_TRUE(std::isfinite(loss) && loss != 0) << step;
  }
}

// What a model names of a data set's features.
std::set<std::string> FeaturesOf(const ModelConfig& model) {
  std::set<std::string> names;
  for (const SequenceConfig& sequence : model.sequence()) {
    names.insert(sequence.feature());
    if (sequence.has_target()) names.insert(sequence.target());
  }
  for (const ReadsConfig& reads : model.reads()) {
    names.insert(reads.feature().begin(), reads.feature().end());
  }
  return names;
}

// Census-Income, unless the model names features that another bundled set has.
std::string DatasetFor(const ModelConfig& model) {
  std::vector<std::string> names = NamesIn("datasets");
  names.insert(names.begin(), "census_income");
  for (const std::string& name : names) {
    const DatasetConfig dataset = ShippedConfig("datasets", name).dataset();
    std::set<std::string> wanted = FeaturesOf(model);
    for (const FeatureConfig& feature : dataset.feature()) wanted.erase(feature.name());
    if (wanted.empty() && IsHere(dataset)) return name;
  }
  return "";
}

class ShippedModelTest : public testing::TestWithParam<std::string> {};

TEST_P(ShippedModelTest, TrainsAFewSteps) {
  const std::string name = DatasetFor(ShippedConfig("models", GetParam()).model());
  ASSERT_NE(name, "") << "no bundled data set has the features that the model names";
  Config dataset = ShippedConfig("datasets", name);
  KeepHead(dataset.mutable_dataset());
  ExpectTrains(GetParam(), dataset, TemporaryDirectory());
}

INSTANTIATE_TEST_SUITE_P(All, ShippedModelTest, testing::ValuesIn(NamesIn("models")),
                         [](const auto& info) { return info.param; });

class ShippedDatasetTest : public testing::TestWithParam<std::string> {};

TEST_P(ShippedDatasetTest, TrainsAFewSteps) {
  Config dataset = ShippedConfig("datasets", GetParam());
  const TemporaryDirectory folder;
  if (IsHere(dataset.dataset())) {
    KeepHead(dataset.mutable_dataset());
  } else {
    ASSERT_NO_FATAL_FAILURE(MakeRows(dataset.mutable_dataset(), folder));
  }
  ExpectTrains("shared_bottom", dataset, folder);
}

INSTANTIATE_TEST_SUITE_P(All, ShippedDatasetTest, testing::ValuesIn(NamesIn("datasets")),
                         [](const auto& info) { return info.param; });

// ---- samples of the public files

struct Sample {
  const char* name;
  // What stands in place of the configuration's sources, "%" being the samples' folder, and a file
  // that must be there.
  std::string sources;
  const char* needs;
};

void PrintTo(const Sample& sample, std::ostream* out) { *out << sample.name; }

class PublicSampleTest : public testing::TestWithParam<Sample> {};

TEST_P(PublicSampleTest, TrainsAFewSteps) {
  const std::string samples = PAGODA_DATA;
  struct stat found;
  if (stat(absl::StrCat(samples, "/", GetParam().needs).c_str(), &found) != 0) {
    GTEST_SKIP() << "no " << samples << "/" << GetParam().needs;
  }
  std::string sources = GetParam().sources;
  for (size_t at; (at = sources.find('%')) != std::string::npos;) sources.replace(at, 1, samples);
  const TemporaryDirectory folder;
  // No run takes more than the steps below; patience and evaluation are other tests' matter.
  const Finished run = RunProcess(
      {Binary("worker"), "--model=shared_bottom", absl::StrCat("--dataset=", GetParam().name),
       "--run_dir=" + folder.File("run"), "--batch_size=16", "--max_steps=3",
       absl::StrCat("--override=dataset { ", sources, " }")},
      /*limit_seconds=*/240);
  EXPECT_EQ(run.exit_code, 0) << run.output;
}

INSTANTIATE_TEST_SUITE_P(
    All, PublicSampleTest,
    testing::Values(
        Sample{"criteo_csv", "source { path: '%/criteo-tiny/train.tiny.csv.gz' }",
               "criteo-tiny/train.tiny.csv.gz"},
        Sample{"ali_ccp",
               "source { path: '%/mtl-format-samples/ali_ccp_train_sample.csv.gz' split: TRAIN }"
               "source { path: '%/mtl-format-samples/ali_ccp_val_sample.csv.gz' split: VALID }"
               "source { path: '%/mtl-format-samples/ali_ccp_test_sample.csv.gz' split: TEST }",
               "mtl-format-samples/ali_ccp_train_sample.csv.gz"},
        Sample{"ali_ccp_esmm",
               "source { path: '%/mtl-format-samples/paddlerec_esmm_aliccp_train_small.txt.gz' "
               "split: TRAIN }",
               "mtl-format-samples/paddlerec_esmm_aliccp_train_small.txt.gz"},
        Sample{"aliexpress",
               "source { path: '%/mtl-format-samples/aliexpress_train_sample.csv.gz' split: TRAIN }"
               "source { path: '%/mtl-format-samples/aliexpress_test_sample.csv.gz' split: TEST }",
               "mtl-format-samples/aliexpress_train_sample.csv.gz"},
        Sample{"ipinyou", "source { path: 'xz -dc %/ipinyou-tiny/train.fm.txt.xz |' split: TRAIN }",
               "ipinyou-tiny/train.fm.txt.xz"}),
    [](const testing::TestParamInfo<Sample>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace pagoda::test
