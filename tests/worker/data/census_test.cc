// The bundled Census-Income data as its configuration opens it, against counts made with other
// tools.
#include <algorithm>
#include <chrono>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/worker/data/support.h"
#include "worker/data/dataset.h"

namespace pagoda {
namespace {

class CensusTest : public testing::Test {
 protected:
  // Read once for all tests: it is 300,000 rows.
  static void SetUpTestSuite() {
    const std::string folder = std::string(PAGODA_SOURCE_DIR) + "/configs/datasets";
    config_ = new Config(ConfigFromText(*ReadFile(folder + "/census_income.textproto")));
    cache_ = new TemporaryDirectory;
    const auto start = std::chrono::steady_clock::now();
    absl::StatusOr<std::unique_ptr<Dataset>> opened =
        Dataset::Open(*config_, {folder, cache_->path(), ""}, nullptr);
    ASSERT_TRUE(opened.ok()) << opened.status();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    RecordProperty("open_ms", static_cast<int>(seconds.count() * 1000));
    dataset_ = opened->release();
  }
  static void TearDownTestSuite() {
    delete dataset_;
    delete cache_;
    delete config_;
  }

  static Config* config_;
  static TemporaryDirectory* cache_;
  static Dataset* dataset_;
};
Config* CensusTest::config_ = nullptr;
TemporaryDirectory* CensusTest::cache_ = nullptr;
Dataset* CensusTest::dataset_ = nullptr;

TEST_F(CensusTest, RowsAndLabelRates) {
  EXPECT_EQ(dataset_->rows(TRAIN), 199523);
  EXPECT_EQ(dataset_->rows(VALID), 49881);
  EXPECT_EQ(dataset_->rows(TEST), 49881);
  EXPECT_EQ(dataset_->bad_rows(), 0);
  // 6.2058 % and 43.3459 %.
  EXPECT_EQ(dataset_->positives(), (std::vector<int64_t>{12382, 86485}));
  const Batch valid = FillAll(*dataset_, VALID), test = FillAll(*dataset_, TEST);
  int64_t income = 0, marital = 0, both = 0;
  for (const Batch* batch : {&valid, &test}) {
    for (int b = 0; b < batch->rows; ++b) {
      income += batch->labels[b] == 1;
      marital += batch->labels[batch->rows + b] == 1;
      both += batch->labels[b] == 1 && batch->labels[batch->rows + b] == 1;
    }
  }
  EXPECT_EQ(income, 6186);
  EXPECT_EQ(marital, 43143);
  EXPECT_EQ(both, 545);
}

TEST_F(CensusTest, NoFeatureReadsALabelOrTheSurveyWeight) {
  std::set<std::string> read;
  for (const FeatureConfig& feature : config_->dataset().feature()) {
    read.insert(feature.has_column() ? feature.column() : feature.name());
  }
  EXPECT_EQ(read.size(), 39u);  // 42 columns without 7, 24, 41.
  for (const char* column : {"marital_stat", "instance_weight", "income_50k"}) {
    EXPECT_EQ(read.count(column), 0u) << column;
  }
}

TEST_F(CensusTest, InputIsThirtyTwoCategoriesSevenBucketsSevenNumbers) {
  const InputLayout& input = dataset_->schema().input;
  EXPECT_EQ(input.embeddings.size(), 32u + 7u);
  EXPECT_EQ(input.dense.size(), 7u);
  EXPECT_EQ(input.width, 39 * 8 + 7);
  ASSERT_EQ(dataset_->schema().tables.size(), 1u);
  EXPECT_EQ(dataset_->schema().tables[0].name(), "shared_8");
}

// 528 category values with one slot for "unseen" per field (32 fields): 496 distinct ones, "?"
// among them.
TEST_F(CensusTest, CategoriesAreThoseOfTheFile) {
  const Batch train = FillAll(*dataset_, TRAIN), test = FillAll(*dataset_, TEST);
  size_t distinct = 0;
  for (size_t f = 0; f < 32; ++f) {
    std::set<uint64_t> ids(train.ids[f].ids.begin(), train.ids[f].ids.end());
    distinct += ids.size();
    for (const uint64_t id : test.ids[f].ids) ASSERT_EQ(ids.count(id), 1u) << "feature " << f;
  }
  EXPECT_EQ(distinct, 496u);
}

TEST_F(CensusTest, StandardisedNumbersHaveMeanZeroAndDeviationOne) {
  const Batch train = FillAll(*dataset_, TRAIN);
  for (size_t d = 0; d < 7; ++d) {
    double sum = 0, squares = 0;
    for (int b = 0; b < train.rows; ++b) {
      const double x = train.dense[b * 7 + d];
      sum += x;
      squares += x * x;
    }
    EXPECT_NEAR(sum / train.rows, 0, 1e-5) << d;
    EXPECT_NEAR(squares / train.rows, 1, 1e-5) << d;
  }
}

}  // namespace
}  // namespace pagoda
