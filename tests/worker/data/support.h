// Helpers of this folder's tests: configurations from text, files in a folder of the test's own,
// open data sets.
#ifndef PAGODA_TESTS_WORKER_DATA_SUPPORT_H_
#define PAGODA_TESTS_WORKER_DATA_SUPPORT_H_

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "common/hash.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
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
  DataFolder() {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string(test->test_suite_name()) + "." + test->name();
    for (char& c : name) c = c == '/' ? '_' : c;
    root_ = testing::TempDir() + "pagoda_data/" + name;
    EXPECT_TRUE(RemoveTree(root_).ok());
    EXPECT_TRUE(MakeDirectories(root_ + "/cache").ok());
  }
  ~DataFolder() { EXPECT_TRUE(RemoveTree(root_).ok()); }

  void Write(const std::string& name, const std::string& contents) const {
    const absl::Status written = WriteFileAtomically(root_ + "/" + name, contents);
    EXPECT_TRUE(written.ok()) << written;
  }
  DatasetOptions options() const { return {root_, root_ + "/cache", root_ + "/quarantine.txt"}; }
  absl::StatusOr<std::unique_ptr<Dataset>> Open(const Config& config,
                                                const Statistics* statistics = nullptr) const {
    return Dataset::Open(config, options(), statistics);
  }
  const std::string& root() const { return root_; }

 private:
  std::string root_;
};

// All records of a split in one batch.
inline Batch FillAll(const Dataset& dataset, Split split) {
  std::vector<int64_t> records(dataset.rows(split));
  std::iota(records.begin(), records.end(), 0);
  Batch batch;
  const absl::Status filled = dataset.Fill(split, records, &batch);
  EXPECT_TRUE(filled.ok()) << filled;
  return batch;
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_WORKER_DATA_SUPPORT_H_
