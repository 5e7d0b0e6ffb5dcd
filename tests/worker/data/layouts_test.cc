// Public data sets as their publishers lay them out: samples beside the source tree, which may be
// absent (they must not be passed on). Counts were made with awk.
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/worker/data/support.h"
#include "worker/data/dataset.h"

namespace pagoda {
namespace {

std::string Samples() { return std::string(PAGODA_SOURCE_DIR) + "/../shared/data"; }

void AddFeatures(const std::string& prefix, int first, int last, FeatureConfig::Kind kind,
                 Config* config) {
  for (int i = first; i <= last; ++i) {
    FeatureConfig* feature = config->mutable_dataset()->add_feature();
    feature->set_name(absl::StrCat(prefix, i));
    feature->set_kind(kind);
  }
}

void AddFeature(const std::string& name, FeatureConfig::Kind kind, Config* config) {
  FeatureConfig* feature = config->mutable_dataset()->add_feature();
  feature->set_name(name);
  feature->set_kind(kind);
}

class LayoutTest : public testing::Test {
 protected:
  // Opens the data set in samples/FOLDER; null when the samples are not there.
  std::unique_ptr<Dataset> Open(const std::string& folder, const Config& config) {
    const auto dataset_dir = JoinPath(Samples(), folder);
    if (!FileExists(dataset_dir)) return nullptr;
    DatasetOptions options = folder_.options();
    options.config_dir = dataset_dir;
    auto dataset = Dataset::Open(config, options, nullptr);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset.ok() ? *std::move(dataset) : nullptr;
  }

  DataFolder folder_;
};

// Kaggle's Criteo: a header, 13 counts that may be missing, 26 hashed categories.
TEST_F(LayoutTest, Criteo) {
  Config config = ConfigFromText(R"pb(
    dataset {
      csv { header: true }
      source { path: "train.tiny.csv.gz" split: TRAIN }
      task { name: "click" label: "Label" }
    })pb");
  AddFeatures("I", 1, 13, FeatureConfig::DENSE, &config);
  AddFeatures("C", 1, 26, FeatureConfig::ID, &config);
  for (FeatureConfig& feature : *config.mutable_dataset()->mutable_feature()) {
    if (feature.kind() != FeatureConfig::DENSE) continue;
    feature.add_transform(FeatureConfig::LOG1P);
    feature.add_transform(FeatureConfig::Z_SCORE);
  }
  const auto dataset = Open("criteo-tiny", config);
  if (dataset == nullptr) GTEST_SKIP() << "no " << Samples();
  EXPECT_EQ(dataset->rows(TRAIN), 1999);
  EXPECT_EQ(dataset->bad_rows(), 0);
  EXPECT_EQ(dataset->positives()[0], 418);
  const Batch batch = FillAll(*dataset, TRAIN);
  const std::set<uint64_t> first(batch.ids[0].ids.begin(), batch.ids[0].ids.end());
  EXPECT_EQ(first.size(), 79u);
  for (const float x : batch.dense) ASSERT_TRUE(std::isfinite(x));
}

// Ali-CCP as MTL code shares it: click, then purchase among clicks; columns named by numbers.
TEST_F(LayoutTest, AliCcp) {
  Config config = ConfigFromText(R"pb(
    dataset {
      csv { header: true }
      source { path: "ali_ccp_train_sample.csv.gz" split: TRAIN }
      source { path: "ali_ccp_val_sample.csv.gz" split: VALID }
      source { path: "ali_ccp_test_sample.csv.gz" split: TEST }
      task { name: "click" label: "click" }
      task { name: "purchase" label: "purchase" sample_space: "click == 1" }
      funnel: "click"
      funnel: "purchase"
    })pb");
  for (const char* name : {"101", "121", "205", "508", "853", "109_14", "150_14"}) {
    AddFeature(name, FeatureConfig::ID, &config);
  }
  for (const char* name : {"D109_14", "D508", "D853"}) {
    AddFeature(name, FeatureConfig::DENSE, &config);
  }
  const auto dataset = Open("mtl-format-samples", config);
  if (dataset == nullptr) GTEST_SKIP() << "no " << Samples();
  EXPECT_EQ(dataset->rows(TRAIN), 100);
  EXPECT_EQ(dataset->rows(VALID), 50);
  EXPECT_EQ(dataset->rows(TEST), 50);
  EXPECT_EQ(dataset->bad_rows(), 0);
  EXPECT_EQ(dataset->positives(), (std::vector<int64_t>{7, 1}));
}

// The same data as AITM's publishers cut it: the test file has no header, the train file has.
TEST_F(LayoutTest, AliCcpWithoutAHeader) {
  Config config = ConfigFromText(R"pb(
    dataset {
      column: "click"
      column: "purchase"
      source { path: "paddlerec_aitm_aliccp_test.csv.gz" split: TEST }
      task { name: "click" label: "click" }
      task { name: "purchase" label: "purchase" }
    })pb");
  for (const char* name : {"101", "121", "122", "124", "125", "126", "127", "128", "129", "205",
                           "206", "207", "210", "216", "508", "509", "702", "853"}) {
    config.mutable_dataset()->add_column(name);
    AddFeature(name, FeatureConfig::ID, &config);
  }
  const auto dataset = Open("mtl-format-samples", config);
  if (dataset == nullptr) GTEST_SKIP() << "no " << Samples();
  EXPECT_EQ(dataset->rows(TEST), 50);
  EXPECT_EQ(dataset->bad_rows(), 0);
}

// AliExpress: 16 categories, 63 numbers, click and conversion.
TEST_F(LayoutTest, AliExpress) {
  Config config = ConfigFromText(R"pb(
    dataset {
      csv { header: true }
      source { path: "aliexpress_train_sample.csv.gz" split: TRAIN }
      source { path: "aliexpress_test_sample.csv.gz" split: TEST }
      task { name: "click" label: "click" }
      task { name: "conversion" label: "conversion" }
    })pb");
  AddFeatures("categorical_", 1, 16, FeatureConfig::ID, &config);
  AddFeatures("numerical_", 1, 63, FeatureConfig::DENSE, &config);
  const auto dataset = Open("mtl-format-samples", config);
  if (dataset == nullptr) GTEST_SKIP() << "no " << Samples();
  EXPECT_EQ(dataset->rows(TRAIN), 100);
  EXPECT_EQ(dataset->rows(TEST), 20);
  EXPECT_EQ(dataset->bad_rows(), 0);
  EXPECT_EQ(dataset->positives(), (std::vector<int64_t>{60, 2}));
}

}  // namespace
}  // namespace pagoda
