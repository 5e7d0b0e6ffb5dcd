// Helpers of this folder's tests: configurations from text, files in a folder of the test's own,
// open data sets, a small shop's.
#ifndef PAGODA_TESTS_WORKER_DATA_SUPPORT_H_
#define PAGODA_TESTS_WORKER_DATA_SUPPORT_H_

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "worker/data/dataset.h"

namespace pagoda {

inline Config ConfigFromText(const std::string& text) {
  Config config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

// A data set's files, cache and quarantine in a fresh folder.
class DataFolder {
 public:
  DataFolder() { EXPECT_TRUE(MakeDirectories(folder_.File("cache")).ok()); }

  void Write(const std::string& name, const std::string& contents) const {
    WriteCarelessly(folder_.File(name), contents);
  }
  DatasetOptions options() const {
    return {root(), folder_.File("cache"), folder_.File("quarantine.txt")};
  }
  absl::StatusOr<std::unique_ptr<Dataset>> Open(const Config& config,
                                                const Statistics* statistics = nullptr) const {
    return Dataset::Open(config, options(), statistics);
  }
  const std::string& root() const { return folder_.path(); }

 private:
  const TemporaryDirectory folder_;
};

// What a job's start finds wrong with the configuration of a data set.
inline absl::Status CheckDataset(const Config& config) {
  const absl::Status valid = ValidateDataset(config.dataset());
  return valid.ok() ? MakeDataSchema(config).status() : valid;
}

// All records of a split in one batch.
inline Batch FillAll(const Dataset& dataset, Split split) {
  std::vector<int64_t> records(dataset.rows(split));
  std::iota(records.begin(), records.end(), 0);
  Batch batch;
  const absl::Status filled = dataset.Fill(split, records, &batch);
  EXPECT_TRUE(filled.ok()) << filled;
  return batch;
}

// A small data set, of columns user, item, tags, price, time, y.
inline Config ShopConfig() {
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

// Of users [first, first + count), behind a header.
inline std::string ShopRows(int first, int count) {
  std::string text = "user,item,tags,price,time,y\n";
  for (int i = first; i < first + count; ++i) {
    text += std::to_string(i) + ",item" + std::to_string(i % 3) + ",1|2|" + std::to_string(i) +
            "," + std::to_string(i) + "," + std::to_string(1000 - i) + "," + std::to_string(i % 2) +
            "\n";
  }
  return text;
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_WORKER_DATA_SUPPORT_H_
